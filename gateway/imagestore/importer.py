# SPDX-License-Identifier: Apache-2.0
"""Takes images into the store: ``python -m gateway.imagestore.importer``.

The process may die at any line. A pending image stays pending in the database and is taken in by
the next process; what was copied so far is swept. It needs no signal handler for that.
"""

from __future__ import annotations

import fcntl
import logging
import select
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway import config, wake
from gateway.cloud import captures as capture_rules
from gateway.cloud import image_imports, quotas
from gateway.cloud import images as rules
from gateway.cloud.errors import LimitReached
from gateway.cloud.image_imports import CancelledError
from gateway.cloud.image_sources import ImageSources
from gateway.imagestore import arrivals, stores
from gateway.imagestore.flattening import StoredDisk
from gateway.imagestore.held_back import HeldBack
from gateway.imagestore.networks import Networks
from gateway.imagestore.parker import Parker
from gateway.imagestore.progress import ImageWatcher, TaskWatcher
from gateway.imagestore.sources import ANYTHING, Allowed
from gateway.imagestore.store import StoreError
from gateway.imagestore.taker import (
    ImportFailedError,
    StoreTroubleError,
    Taker,
    Wanted,
    Watcher,
)
from gateway.store import captures, database, images, import_tasks, parkings

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from gateway.cloud.images import NewImage
    from gateway.config import Settings
    from gateway.store.captures import Capture
    from gateway.store.images import Content, Image
    from gateway.store.import_tasks import ImportTask


AT_ONCE = 4
INTERVAL = 5.0  # seconds between looks without a wake
PATIENCE = 900.0  # seconds for which a store that fails is offered an image again
SWEEP_SECONDS = 3600.0  # what an administrator's command left is of use for a day only

log = logging.getLogger(__name__)


def add_file(
    settings: Settings, account_id: str, new: NewImage, watcher: Watcher
) -> tuple[Image, Content]:
    """Register an image for an administrator and take it in at once.

    ``new.location`` may be any readable file or an address. Returns the image and what it is.
    Raises :class:`ImportFailedError` and what :func:`gateway.cloud.images.register` does; then
    nothing is registered.
    """
    engine = database.engine(settings.database)
    try:
        store = stores.of(settings)
    except StoreError as error:
        raise ImportFailedError(str(error)) from error
    with database.rehearsing(engine) as db:
        # For the refusals alone, before much is copied.
        rules.register(db, account_id, new, tagged={}, now=_now(), sources=None)
    made: list[tuple[Image, Content]] = []

    def keep(content: Content) -> None:
        with database.writing(engine) as db:
            image = rules.register(db, account_id, new, tagged={}, now=_now(), sources=None)
            rules.imported(db, image.id, content)
            made.append((images.get(db, image.id) or image, content))

    wanted = Wanted(new.location, ANYTHING, converts=True, resumes=new.location, stays=True)
    Taker(settings, store).take(wanted, watcher, keep)
    return made[0]


class Importer:
    """Takes in every pending image, several at once, and removes bytes that nobody needs."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._store = stores.of(settings)
        self._taker = Taker(settings, self._store)
        self.parker = Parker(settings, engine, self._store)
        self._under_way: dict[str, str] = {}  # images and their accounts
        self._held_back: HeldBack[str] = HeldBack()
        self._lock = threading.Lock()

    def run(self, wait: Callable[[], None]) -> None:
        """Work for ever; `wait` returns when there may be something to do."""
        due = 0.0
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while True:
                if time.monotonic() >= due:
                    due = time.monotonic() + SWEEP_SECONDS
                    self._tidy(self._store.sweep)
                self.end_tasks()
                self.end_captures()
                self.parker.tend()
                for image in self.next():
                    pool.submit(self.take, image)
                for disk in self.parker.next():
                    pool.submit(self.parker.take, disk)
                self._tidy(self.remove_unneeded)
                wait()

    def _tidy(self, remove: Callable[[], None]) -> None:
        try:
            remove()
        except StoreError as error:
            log.warning("unneeded files stay for now: %s", error)

    def next(self) -> list[Image]:
        """Return the pending images to begin with now, and count them as under way.

        An account gets a second one when no other account waits for its first, and never the
        last place: whoever comes next does not wait for one account's slow servers.
        """
        with database.reading(self._engine) as db:
            waiting = images.select_pending(db)
        with self._lock:
            chosen: list[Image] = []
            self._held_back.forget_others({image.id for image in waiting})
            waiting = [
                image
                for image in waiting
                if image.id not in self._under_way and self._held_back.is_due(image.id)
            ]
            while waiting and len(self._under_way) < AT_ONCE:
                running = Counter(self._under_way.values())
                # The oldest of those whose account has the fewest under way.
                image = min(waiting, key=lambda one: running[one.account_id])
                if running[image.account_id] >= AT_ONCE - 1:
                    break
                waiting.remove(image)
                self._under_way[image.id] = image.account_id
                chosen.append(image)
        return chosen

    def take(self, image: Image) -> None:
        """Take one image in, or record why that cannot be."""
        began = time.monotonic()
        with database.reading(self._engine) as db:
            task = import_tasks.get_by_image(db, image.id)
            capture = captures.get_by_image(db, image.id)
        allowed = Allowed(
            ImageSources.of(self._settings.image_sources, self._settings.image_source_buckets),
            Networks(self._settings.source_networks),
        )
        converts, said = task is not None, task and task.format
        wanted = Wanted(image.location, allowed, converts, said, resumes=image.id)
        if capture is not None:
            file = arrivals.path(self._settings, capture.command_id)
            wanted = Wanted(str(file.resolve()), ANYTHING, sha256=capture.sha256)
        watcher: Watcher = (
            ImageWatcher(self._engine, image) if task is None else TaskWatcher(self._engine, task)
        )

        def keep(content: Content) -> None:
            self._imported(image, task, content)

        try:
            if capture is not None and capture.is_stored:
                self._taker.take_disk(self._stored(image, capture), watcher, keep)
            else:
                self._taker.take(wanted, watcher, keep)
            log.info("%s is available after %.1f s", image.id, time.monotonic() - began)
        except CancelledError:
            log.info("%s is not wanted any more", image.id)
        except StoreTroubleError as error:
            if not self._hold_back(image, str(error)):
                self._fail(image, task, str(error))
        except (ImportFailedError, LimitReached) as error:
            self._fail(image, task, str(error))
        except Exception:
            # Its owner must not wait for ever because of a fault of ours.
            log.exception("%s failed", image.id)
            told = f"{rules.INTERNAL_ERROR}."
            self._failed(image, task, told)
        finally:
            with self._lock:
                del self._under_way[image.id]
            wake.notify(self._settings, "importer")  # there is a place for another one

    def remove_unneeded(self) -> None:
        """Remove the rows of images that are gone for good, then bytes that no row names."""
        with self._store.removing() as now:
            if not now:
                return  # something comes into the store: the next time, then
            held = self._store.digests()
            with database.writing(self._engine) as db:
                images.delete_unused(db)
                needed = images.select_contents(db) | parkings.select_contents(db)
                needed |= captures.select_contents(db)
            for digest in held - needed:
                log.info("removing %s: no image and no instance needs it", digest)
                self._store.delete(digest)

    def end_tasks(self) -> None:
        """End the import tasks that were cancelled, and forget old ones."""
        with self._lock:
            busy = set(self._under_way)
        with database.reading(self._engine) as db:
            idle = not image_imports.to_end(db, busy, _now())
        if not idle:
            with database.writing(self._engine) as db:
                image_imports.end(db, busy, _now())

    def end_captures(self) -> None:
        """End the captures of which nothing will come, and remove what is of no use any more."""
        with self._lock:
            busy = set(self._under_way)
        with database.reading(self._engine) as db:
            idle = not capture_rules.hopeless(db, _now())
        if not idle:
            with database.writing(self._engine) as db:
                for capture, reason in capture_rules.hopeless(db, _now()):
                    if capture.image_id not in busy:
                        capture_rules.fail(db, capture, reason)
        found = arrivals.numbers(self._settings)
        if found:
            # Looked at after the files were: one that comes meanwhile has its row.
            with database.reading(self._engine) as db:
                found -= {capture.command_id for capture in captures.select(db)}
                found -= parkings.select_arriving(db)
        for number in found:
            arrivals.remove(self._settings, number)

    def _stored(self, image: Image, capture: Capture) -> StoredDisk:
        """Return where the disk is that an image is made of, and what it stands on."""
        with database.reading(self._engine) as db:
            base = images.get(db, image.source_image_id or "")
        if base is None or not (base.sha256 and base.format and capture.sha256):
            raise ImportFailedError("The image that the instance's disk stands on is gone.")
        size, disk_bytes = capture.size or 0, capture.disk_bytes or 0
        return StoredDisk(capture.sha256, size, disk_bytes, base.sha256, base.format)

    def _imported(self, image: Image, task: ImportTask | None, content: Content) -> None:
        with database.writing(self._engine) as db:
            limits = quotas.binding(db, image.account_id, self._settings)
            if task is None:
                capture = captures.get_by_image(db, image.id)
                note = None if capture is None else capture_rules.NOTES.get(capture.how or "")
                rules.imported(db, image.id, content, limits, note)
            else:
                image_imports.complete(db, task, content, _now(), limits)

    def _hold_back(self, image: Image, reason: str) -> bool:
        """Offer an image to the store again later; False where that has been tried for long."""
        with self._lock:
            if self._held_back.seconds(image.id) > PATIENCE:
                return False
            wait = self._held_back.hold(image.id)
        log.warning("%s waits for another %.0f s: %s", image.id, wait, reason)
        return True

    def _fail(self, image: Image, task: ImportTask | None, reason: str) -> None:
        log.warning("%s failed: %s", image.id, reason)
        self._failed(image, task, reason)

    def _failed(self, image: Image, task: ImportTask | None, reason: str) -> None:
        with database.writing(self._engine) as db:
            if task is None:
                rules.import_failed(db, image.id, reason)
            else:
                image_imports.fail(db, task, reason, _now())


def main() -> None:
    """Run until the process is ended."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s importer %(message)s")
    settings = config.load()
    settings.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    one = (settings.run_dir / "importer.lock").open("w")
    fcntl.flock(one, fcntl.LOCK_EX)  # waits for an earlier one to end; the kernel frees it
    receiver = wake.listen(settings, "importer")

    def wait() -> None:
        select.select([receiver], [], [], INTERVAL)
        wake.drain(receiver)

    try:
        importer = Importer(settings, database.engine(settings.database))
    except StoreError as error:
        raise SystemExit(f"importer: {error}") from error
    importer.run(wait)


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    main()
