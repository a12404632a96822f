# SPDX-License-Identifier: Apache-2.0
"""Tells another process of the gateway that there is something to do in the database.

A datagram without content: losing one costs a second, because every listener also looks by
itself now and then.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.config import Settings


def notify(settings: Settings, listener: str) -> None:
    """Wake ``listener`` ("reconciler", "importer"); nothing happens when it does not listen."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender,
        _short_address(settings.run_dir, f"{listener}.sock") as address,
        contextlib.suppress(OSError),
    ):
        sender.sendto(b"", address)


def listen(settings: Settings, listener: str) -> socket.socket:
    """Return the non-blocking socket that becomes readable when ``listener`` is notified."""
    settings.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = settings.run_dir / f"{listener}.sock"
    path.unlink(missing_ok=True)
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    with _short_address(settings.run_dir, path.name) as address:
        receiver.bind(address)
    path.chmod(0o600)
    return receiver


def drain(receiver: socket.socket) -> None:
    """Take every notification that is waiting."""
    with contextlib.suppress(BlockingIOError):
        while True:
            receiver.recv(1)


@contextlib.contextmanager
def _short_address(directory: Path, name: str) -> Iterator[str]:
    # A unix socket's path has at most 107 bytes; /proc/self/fd gives any directory a short one.
    try:
        descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        yield str(directory / name)
        return
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)
