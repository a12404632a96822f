# SPDX-License-Identifier: Apache-2.0
"""Writes down how far an import task is, and notices when work shall stop."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from gateway.cloud import image_imports
from gateway.store import database, images

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from gateway.store.images import Image
    from gateway.store.import_tasks import ImportTask

INTERVAL = 1.0  # seconds between two writes, or looks
_COPIED, _CONVERTED, _STORED = 50.0, 95.0, 99.0  # where the percentages of the parts end

log = logging.getLogger(__name__)


class ImageWatcher:
    """A :class:`~gateway.imagestore.taker.Watcher` that stops the work on what nobody wants."""

    def __init__(self, engine: Engine, image: Image) -> None:
        self._engine = engine
        self._image = image
        self._due = 0.0

    def copied(self, done: int, total: int | None) -> None:
        """Raise CancelledError when the image was deregistered."""
        self._look(f"{done} of {total or 'unknown'} bytes copied")

    def converted(self, percent: float) -> None:
        """Raise CancelledError as well."""
        self._look(f"{percent:.0f} % converted")

    def inspected(self) -> None:
        """Raise CancelledError as well."""
        self._look("looked at")

    def stored(self, percent: float) -> None:
        """Raise CancelledError as well."""
        self._look(f"{percent:.0f} % stored")

    def _look(self, progress: str) -> None:
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + INTERVAL
        log.debug("%s: %s", self._image.id, progress)
        with database.reading(self._engine) as db:
            image = images.get(db, self._image.id)
        if image is None or not image.registered:
            raise image_imports.CancelledError


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
        self._size = total or done or None
        self._tell("downloading", _COPIED * done / total if total else 1.0)

    def converted(self, percent: float) -> None:
        """Write down how much is converted; raises CancelledError as well."""
        self._tell("converting", _COPIED + (_CONVERTED - _COPIED) * percent / 100)

    def inspected(self) -> None:
        """Write down that it is looked at; raises CancelledError as well."""
        self._tell("validating", _CONVERTED)

    def stored(self, percent: float) -> None:
        """Write down how much is in the store; raises CancelledError as well."""
        self._tell("storing", _CONVERTED + (_STORED - _CONVERTED) * percent / 100)

    def _tell(self, message: str, progress: float) -> None:
        now = time.monotonic()
        if message == self._said and now < self._due:
            return
        self._said, self._due = message, now + INTERVAL
        with database.writing(self._engine) as db:
            image_imports.advance(db, self._task, message, progress, self._size)
