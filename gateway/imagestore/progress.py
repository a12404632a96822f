# SPDX-License-Identifier: Apache-2.0
"""Writes down how far an import task is, and notices when it shall stop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.cloud import image_imports
from gateway.store import database

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from gateway.store.import_tasks import ImportTask

INTERVAL = 1.0  # seconds between two writes
_COPIED, _CONVERTED = 50.0, 95.0  # where the percentages of the two parts end


class TaskWatcher:
    """A :class:`~gateway.imagestore.taker.Watcher` of one task."""

    def __init__(self, engine: Engine, task: ImportTask) -> None:
        self._engine = engine
        self._task = task
        self._size: int | None = None
        self._said = ""
        self._due = 0.0

    def copied(self, done: int, total: int | None) -> None:
        """Write down how much is copied; raises CancelledError when the task is not active."""
        self._size = total or done
        self._tell("downloading", _COPIED * done / total if total else 1.0)

    def converted(self, percent: float) -> None:
        """Write down how much is converted; raises CancelledError as well."""
        self._tell("converting", _COPIED + (_CONVERTED - _COPIED) * percent / 100)

    def _tell(self, message: str, progress: float) -> None:
        now = time.monotonic()
        if message == self._said and now < self._due:
            return
        self._said, self._due = message, now + INTERVAL
        with database.writing(self._engine) as db:
            image_imports.advance(db, self._task, message, progress, self._size)
