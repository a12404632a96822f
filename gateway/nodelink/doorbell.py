# SPDX-License-Identifier: Apache-2.0
"""Lets requests of nodes wait for commands: one look at the database serves all who wait.

A node waits with one request, however many guests it has, and a waiting request costs a thread
and no query. The one thread here is woken by whoever writes a command (:mod:`gateway.wake`) and
looks by itself every second, because a command may come from another machine's endpoint.
"""

from __future__ import annotations

import logging
import select
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from gateway import wake
from gateway.cloud import errands
from gateway.store import commands, database, prefetches

if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket

    from sqlalchemy import Engine

    from gateway.config import Settings

T = TypeVar("T")

LOOK_ANYWAY = 1.0
_log = logging.getLogger(__name__)


class Doorbell:
    """One for each process; its thread begins with the first who waits, after any fork."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        """Watch the commands in ``engine``'s database."""
        self._settings = settings
        self._engine = engine
        self._rung = threading.Condition()
        self._newest = (0, 0, 0)
        self._rings = 0
        self._closed = False
        self._thread: threading.Thread | None = None

    def wait(self, look: Callable[[], T], seconds: float) -> T:
        """Return what ``look`` finds as soon as that is true, or what it is after ``seconds``."""
        self._begin()
        deadline = time.monotonic() + seconds
        while True:
            rings = self._rings
            found = look()
            left = deadline - time.monotonic()
            if found or left <= 0 or self._closed:
                return found
            with self._rung:
                if self._rings == rings and not self._closed:
                    self._rung.wait(left)

    def close(self) -> None:
        """Let everybody who waits go: the process is to end.

        Only flags are set here, because a signal's handler calls this: the thread tells.
        """
        self._closed = True

    def _begin(self) -> None:
        with self._rung:
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="doorbell", daemon=True)
                self._thread.start()

    def _watch(self) -> None:
        with wake.listen(self._settings, "nodelink") as receiver:
            self._look_for_commands(receiver)
        self._ring()

    def _look_for_commands(self, receiver: socket) -> None:
        while not self._closed:
            # In slices, so that the end of the process is not held up.
            for _ in range(int(LOOK_ANYWAY / 0.1)):
                if self._closed or select.select([receiver], [], [], 0.1)[0]:
                    break
            wake.drain(receiver)
            try:
                with database.reading(self._engine) as db:
                    newest = commands.newest(db), prefetches.newest(db), errands.newest(db)
            except Exception:  # noqa: BLE001 - whoever waits is told of the next command
                _log.exception("Looking for commands failed; trying again")
                continue
            if any(new > old for new, old in zip(newest, self._newest, strict=True)):
                self._newest = newest
                self._ring()

    def _ring(self) -> None:
        with self._rung:
            self._rings += 1
            self._rung.notify_all()
