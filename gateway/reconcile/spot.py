# SPDX-License-Identifier: Apache-2.0
"""Makes room for what waits by interrupting spot instances.

HTCondor's own preemption would take a machine from its job without the two minutes' notice that
a spot instance has; so whose room is taken is decided here (docs/adr/0016).
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from gateway import wake
from gateway.cloud import flavors, spot, spot_fulfilment
from gateway.reconcile import room
from gateway.scheduler.protocol import RUNNING
from gateway.store import database, instances, spot_requests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Engine

    from gateway.cloud.flavors import Flavor
    from gateway.config import Settings
    from gateway.scheduler.protocol import Job, NodeSize
    from gateway.store.instances import Instance

PRIORITY = -10
"""JobPrio of spot instances; all others have 0."""

BEFORE_INTERRUPTING = timedelta(seconds=4)
"""So long HTCondor has to find room before anybody is interrupted."""

# A node's ad may be older than the end of what ran there: what is counted as free already, and
# what is counted for this long as about to be free, errs towards interrupting nobody.
AD_MAY_BE_OLD = timedelta(seconds=20)
ROOM_IS_NEW = 10.0
LOOK_FOR_ROOM = 3.0
"""Seconds between two looks whether there is room for requests that wait for some."""

_log = logging.getLogger(__name__)


class RoomMaker:
    """Gives notice, and interrupts when it is over; all that it has to remember is in the database.

    ``nodes`` and ``jobs`` ask HTCondor, for the nodes as they are now and this gateway's jobs.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        nodes: Callable[[], Sequence[NodeSize]],
        jobs: Callable[[], Sequence[Job]],
    ) -> None:
        """Make room in ``engine``'s database."""
        self._settings = settings
        self._engine = engine
        self._nodes = nodes
        self._jobs = jobs
        self._made_at = float("-inf")
        self._next_look = 0.0

    def work(self) -> None:
        """Interrupt those whose notice is over; tell in the requests what became of instances."""
        now = datetime.now(UTC)
        with database.reading(self._engine) as db:
            if not spot_requests.select_due(db, now) and not spot.untold(db):
                return
        with database.writing(self._engine) as db:
            done = spot.interrupt_due(db, now, self._settings.shutdown_grace)
            ended = spot.follow(db, now)
        if done:
            _log.info("Interrupted: %s", ", ".join(done))
            wake.notify(self._settings, "nodelink")
        if ended:
            self._made_at = time.monotonic()

    def is_new(self) -> float | None:
        """Return for how many seconds there has been room that was made, None where there is none.

        What waits for it is to be matched as soon as what has just begun to wait.
        """
        age = time.monotonic() - self._made_at
        return age if age < ROOM_IS_NEW else None

    def make(self, waiting: Sequence[Instance], now: datetime) -> set[str]:
        """Give notice where that helps those who wait; return whom it helps.

        Spot instances wait themselves. Raises :class:`SchedulerError`.
        """
        first = [one for one in waiting if not one.is_spot and _waits_long(one, now)]
        if not first:
            return set()
        with database.reading(self._engine) as db:
            found = instances.select_on_nodes(db, now - AD_MAY_BE_OLD)
            marked = spot_requests.select_marked(db)
        leaving = [one for one in found if one.id in marked or one.state not in _STAYING]
        victims = [one for one in found if _may_go(one) and one.id not in marked]
        if not victims and not leaving:
            return set()
        nodes = self._nodes()
        made = room.plan(first, nodes, leaving, victims)
        if made.interrupted:
            # One whose job has begun has its room already and is about to claim its run.
            begun = {job.instance_id for job in self._jobs() if job.status == RUNNING}
            first = [one for one in first if one.id not in begun]
            made = room.plan(first, nodes, leaving, victims)
        if made.interrupted:
            self._give_notice(made.interrupted, now)
        return made.helped

    def fulfil(self, nodes: Callable[[], Sequence[NodeSize]]) -> bool:
        """Launch for the requests that wait what there is room for; whether anything was.

        ``nodes`` may be some seconds old. Raises :class:`SchedulerError`.
        """
        with database.reading(self._engine) as db:
            requests = spot_fulfilment.waiting(db)
            if not requests or time.monotonic() < self._next_look:
                return False
            before = instances.select_submit_state(db, "wanted", "submitting")
            before += instances.select_unclaimed(db)
        self._next_look = time.monotonic() + LOOK_FOR_ROOM
        rooms = room.Rooms(nodes())
        for instance in before:
            rooms.place(instance)
        now = datetime.now(UTC)
        short: dict[tuple[str, str], str] = {}
        with database.writing(self._engine) as db:
            made = [
                spot_fulfilment.fulfil(
                    db,
                    request,
                    now,
                    settings=self._settings,
                    flavors=self._flavors,
                    has_room=rooms.place_now,
                    short=short,
                )
                for request in spot_fulfilment.waiting(db)
            ]
        return any(made)

    @cached_property
    def _flavors(self) -> Mapping[str, Flavor]:
        return flavors.load(self._settings.types_file)

    def _give_notice(self, chosen: Sequence[Instance], now: datetime) -> None:
        at = now + timedelta(seconds=self._settings.spot_notice)
        with database.writing(self._engine) as db:
            for instance in chosen:
                spot.mark(db, instance, at, now)
                _log.info("%s is interrupted at %s: its room is needed", instance.id, at)
        wake.notify(self._settings, "nodelink")


_STAYING = frozenset({"pending", "running"})


def _waits_long(instance: Instance, now: datetime) -> bool:
    return now - instance.begun_at > BEFORE_INTERRUPTING


def _may_go(instance: Instance) -> bool:
    return instance.is_spot and instance.state == "running"
