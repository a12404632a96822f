# SPDX-License-Identifier: Apache-2.0
"""A domain's display, as libvirt gives it; what it raises is its caller's to translate."""

from __future__ import annotations

import time
from typing import Any

PART = 65536
SHIFT = 42  # KEY_LEFTSHIFT of linux/input-event-codes.h
PRESS_MS = 50
WAKE_SECONDS = 0.3  # a guest that was asleep needs a moment to draw


def picture(connection: Any, domain: Any, most: int) -> bytes:
    """Return the display as a PNG or PPM; nothing if it has more than ``most`` bytes."""
    stream = connection.newStream()
    domain.screenshot(stream, 0)
    whole = b""
    while part := stream.recv(PART):
        whole += part
        if len(whole) > most:
            stream.abort()
            return b""
    stream.finish()
    return whole


def press_key(libvirt: Any, domain: Any) -> None:
    """Press and release a key that means nothing by itself, and let the guest hear it."""
    domain.sendKey(libvirt.VIR_KEYCODE_SET_LINUX, PRESS_MS, [SHIFT], 1, 0)
    time.sleep(WAKE_SECONDS)
