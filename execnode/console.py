# SPDX-License-Identifier: Apache-2.0
"""The guest's serial console: the supervisor listens, QEMU connects and writes.

What the guest writes goes to a bounded file on the node and, a second at a time at most, to the
gateway. Neither a slow disk nor an absent gateway ever holds the guest up: what cannot be passed
on in time is dropped from the oldest end.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, BinaryIO

from execnode.link import LinkError, NoSuchError
from execnode.workspace import FILE_MODE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEPT = 64 * 1024  # bytes waiting for the gateway, and kept in the file
GATHER_SECONDS = 0.1  # output comes in drops; the first push waits this long for more
PUSH_SECONDS = 1.0
RETRY_SECONDS = 0.2  # beside PUSH_SECONDS, which a closing console no longer waits for


class Console:
    """Listens on a unix socket and keeps what arrives, for one guest."""

    def __init__(self, socket_path: Path, log_path: Path) -> None:
        self._log_path = log_path
        self._pending = bytearray()
        self._total = 0
        self._changed = threading.Condition()
        self.hung_up = threading.Event()
        """set while no QEMU is connected: once it was, the machine is gone"""
        self.hung_up.set()
        socket_path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(socket_path))
        socket_path.chmod(FILE_MODE)
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._work, name="console", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        with contextlib.suppress(OSError), self._log_path.open("ab") as log:
            while True:
                peer, _ = self._listener.accept()
                self.hung_up.clear()
                with peer:
                    while data := peer.recv(16384):
                        self._keep(data)
                        self._write(log, data)
                self.hung_up.set()

    def _keep(self, data: bytes) -> None:
        with self._changed:
            self._total += len(data)
            self._pending += data
            del self._pending[:-KEPT]
            self._changed.notify_all()

    def _write(self, log: BinaryIO, data: bytes) -> None:
        with contextlib.suppress(OSError):
            if log.tell() + len(data) > 2 * KEPT:
                tail = self._log_path.read_bytes()[-KEPT:]
                log.truncate(0)
                log.write(tail)
            log.write(data)
            log.flush()

    def peek(self) -> tuple[int, bytes]:
        """Return the offset and bytes of what nobody has consumed."""
        with self._changed:
            return self._total - len(self._pending), bytes(self._pending)

    def wait(self, stop: threading.Event) -> None:
        """Wait for output, or until stop is set and wake was called."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._pending) or stop.is_set())

    def wake(self) -> None:
        """Let whoever waits look at its stop again."""
        with self._changed:
            self._changed.notify_all()

    def consume(self, offset: int) -> None:
        """Forget everything before offset."""
        with self._changed:
            behind = offset - (self._total - len(self._pending))
            if behind > 0:
                del self._pending[:behind]

    def close(self) -> None:
        """Stop listening; what arrived stays readable."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Pusher:
    """Passes a console's output on from a thread; push(offset, data) raises LinkError."""

    def __init__(self, console: Console, push: Callable[[int, bytes], None]) -> None:
        self._console = console
        self._push = push
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="console push", daemon=True)
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Pass on what is left, within so many seconds."""
        self._closing.set()
        self._console.wake()
        self._thread.join(seconds)

    def _work(self) -> None:
        last = time.monotonic() - PUSH_SECONDS
        while True:
            self._console.wait(self._closing)
            self._closing.wait(max(GATHER_SECONDS, last + PUSH_SECONDS - time.monotonic()))
            last = time.monotonic()
            offset, data = self._console.peek()
            if not data:
                return
            try:
                self._push(offset, data)
                self._console.consume(offset + len(data))
            except NoSuchError:
                return
            except LinkError:
                time.sleep(RETRY_SECONDS)
