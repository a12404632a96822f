# SPDX-License-Identifier: Apache-2.0
"""Takes disks of stopped instances into the store; their nodes have them until that is done."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway import wake
from gateway.cloud import parking
from gateway.imagestore import arrivals
from gateway.imagestore.held_back import HeldBack
from gateway.imagestore.store import MissingError, StoreError, StoreFullError
from gateway.store import database, parkings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from gateway.config import Settings
    from gateway.imagestore.store import ImageStore
    from gateway.store.parkings import Parking

IN_STORE = "store"
"""The value of the setting ``stopped_disks`` with which they are asked for."""
WRONG = "What came is not what was sent: its checksum is wrong."
_BLOCK = 2**20

log = logging.getLogger(__name__)


class Parker:
    """Asks for disks and takes in what has come, as a part of the importer."""

    def __init__(self, settings: Settings, engine: Engine, store: ImageStore) -> None:
        self._settings = settings
        self._engine = engine
        self._store = store
        self._under_way: set[int] = set()
        self._held_back: HeldBack[int] = HeldBack()
        self._lock = threading.Lock()

    def tend(self) -> None:
        """Ask for the disks that shall be in the store; forget those of instances that ended."""
        asks = self._settings.stopped_disks == IN_STORE
        with database.reading(self._engine) as db:
            news = parkings.select_unparked(db) if asks else parkings.count_wanted(db)
            due = news or parkings.count_of_ended(db)
        if not due:
            return
        with database.writing(self._engine) as db:
            parkings.delete_of_ended(db)
            asked = 0
            if asks:
                asked = parking.ask(db, _now())
            else:
                parkings.delete_wanted(db)
        if asked:
            wake.notify(self._settings, "nodelink")

    def next(self) -> list[Parking]:
        """Return the disks that have come and nobody is at, and count them as under way."""
        with database.reading(self._engine) as db:
            here = parkings.select_here(db)
        with self._lock:
            self._held_back.forget_others({one.number for one in here})
            found = [
                one
                for one in here
                if one.number not in self._under_way and self._held_back.is_due(one.number)
            ]
            self._under_way |= {one.number for one in found}
        return found

    def take(self, one: Parking) -> None:
        """Take one disk in, or record why it stays on its node."""
        try:
            self._take(one)
        except StoreFullError as error:
            self._fail(one, str(error))
        except StoreError as error:
            self._hold_back(one, str(error))
        except OSError as error:
            self._fail(one, f"What came cannot be read: {error.strerror}.")
        except Exception:
            log.exception("the disk of %s stays on its node", one.instance_id)
            self._fail(one, "It could not be taken in because of an internal error.")
        finally:
            with self._lock:
                self._under_way.discard(one.number)
        wake.notify(self._settings, "nodelink")

    def _take(self, one: Parking) -> None:
        file = arrivals.path(self._settings, one.number)
        if not file.exists() and self._has(one):
            # Taken in by an importer that ended before the database said so.
            with self._store.keeping(), database.writing(self._engine, durably=True) as db:
                parking.parked(db, one.number, _now())
            return
        with file.open("rb") as source, self._store.upload(one.size) as upload:
            while data := source.read(_BLOCK):
                upload.write(data)
            upload.flush()
            if (upload.size, upload.digest()) != (one.size, one.sha256):
                self._fail(one, WRONG)
                return
            # Not removed as unneeded before the database says what it is.
            with self._store.keeping():
                upload.commit()
                # The node removes its own upon it.
                with database.writing(self._engine, durably=True) as db:
                    done = parking.parked(db, one.number, _now())
        if done:
            log.info("the store has the disk of %s", one.instance_id)
        arrivals.remove(self._settings, one.number)

    def _has(self, one: Parking) -> bool:
        try:
            return one.sha256 is not None and self._store.size(one.sha256) == one.size
        except MissingError:
            return False

    def _hold_back(self, one: Parking, reason: str) -> None:
        """Offer it to the store again later: its node has the disk, and what was sent is here."""
        with self._lock:
            wait = self._held_back.hold(one.number)
        told = "the disk of %s stays on its node for another %.0f s: %s"
        log.warning(told, one.instance_id, wait, reason)

    def _fail(self, one: Parking, reason: str) -> None:
        log.warning("the disk of %s stays on its node: %s", one.instance_id, reason)
        with database.writing(self._engine) as db:
            parking.fail(db, one.number, reason)
        arrivals.remove(self._settings, one.number)


def _now() -> datetime:
    return datetime.now(UTC)
