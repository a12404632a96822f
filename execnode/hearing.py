# SPDX-License-Identifier: Apache-2.0
"""Hears a guest's first word: a frame that it sends through its network card.

A BIOS has no driver for the card (it is given no ROM), and UEFI firmware that starts a system from
the disk does not use its own, so that word is the guest system's. The kernel counts the frames;
their content is not looked at.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DEVICES = Path("/sys/class/net")
PAUSE = 0.5


class Ear:
    """Waits beside a run for the guest's first frame; ``tell`` is called once."""

    def __init__(self, port: str, tell: Callable[[], None], devices: Path = DEVICES) -> None:
        # What the guest sends comes in by the host's end of the cable.
        self._counter = devices / port / "statistics" / "rx_packets"
        self._tell = tell
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="hearing", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        self._thread.join()

    def _listen(self) -> None:
        while not self._closed.is_set():
            if self._frames():
                self._tell()
                return
            self._closed.wait(PAUSE)

    def _frames(self) -> int:
        try:
            return int(self._counter.read_text())
        except (OSError, ValueError):
            return 0  # the device goes with the guest
