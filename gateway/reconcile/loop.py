# SPDX-License-Identifier: Apache-2.0
"""The reconciler's loop: submits what is wanted, removes what is not, looks at the whole queue.

A launch reaches the queue once. Before a cluster is submitted its instances are marked
``submitting``; whatever happens after that, an instance so marked is looked for in the queue by
its reservation before anything is submitted again. Should a submission that was given up take
effect later after all, the node link refuses the second claim of a run, and the next full look
removes the job that is not its instance's.
"""

from __future__ import annotations

import itertools
import json
import logging
import secrets
import select
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gateway import wake
from gateway.cloud import boot_modes, observed, pool_report, prefetches, spot, zones
from gateway.cloud import instances as rules
from gateway.cloud.states import Reason
from gateway.reconcile import waiting as reasons
from gateway.reconcile.bereft import bereft
from gateway.reconcile.spot import PRIORITY, RoomMaker
from gateway.scheduler.protocol import (
    HELD,
    CallTimeoutError,
    LaunchRequest,
    SchedulerError,
    Zoning,
)
from gateway.store import cursors, database, images, instances

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable
    from socket import socket

    from sqlalchemy import Connection, Engine

    from gateway.config import Settings
    from gateway.reconcile.follower import Follower
    from gateway.scheduler.protocol import Job, NodeSize, Scheduler
    from gateway.store.instances import Instance

LOOK_ANYWAY = 1.0
LONGEST_PAUSE = 2.0
# So many times a launch is offered that HTCondor answers with an error.
MOST_REFUSALS = 20
# A removal that took no effect is asked for again after this many seconds.
REMOVE_AGAIN = 5.0
NODES_FRESH = 5.0
# An instance that waits longer than this is given another chance to be matched.
HURRY = 0.4
# An instance that waits longer is compared with what the nodes have at all.
PATIENCE = timedelta(seconds=2)
GATEWAY_ID = "gateway-id"
REFUSED = Reason(
    "Server.InternalError", "Server.InternalError: HTCondor does not take the instance's job"
)
REMOVAL = "Condor Cloud: the instance shall not run"
_log = logging.getLogger(__name__)


class Reconciler:
    """One for each database; :meth:`run` is the process's main thread."""

    def __init__(
        self, settings: Settings, engine: Engine, scheduler: Scheduler, follower: Follower
    ) -> None:
        """Reconcile ``engine``'s database with ``scheduler``'s queue."""
        self.settings = settings
        self.engine = engine
        self.scheduler = scheduler
        self.follower = follower
        self._asked_to_remove: dict[str, float] = {}
        self._nodes: tuple[float, list[NodeSize]] = (float("-inf"), [])
        self._next_look = 0.0
        self._pause = 0.0
        self._rest = LOOK_ANYWAY
        self._hurried = 0.0
        self._refusals: dict[tuple[str, int], int] = {}
        self.gateway_id = gateway_id(engine)
        self._rooms = RoomMaker(
            settings, engine, self._nodes_now, lambda: scheduler.jobs(self.gateway_id)
        )

    def run(self, receiver: socket, stopping: threading.Event) -> None:
        """Work whenever ``receiver`` is notified, and every second, until ``stopping``."""
        while not stopping.is_set():
            wake.drain(receiver)
            pause = self._rest
            try:
                self.step()
                self._pause = 0.0
            except SchedulerError as error:
                pause = self._pause = min(LONGEST_PAUSE, max(0.25, self._pause * 2))
                _log.warning("HTCondor: %s; next try in %.2f s", error, pause)
            except Exception:  # noqa: BLE001 - one bad row must not stop everybody's launches
                _log.exception("Reconciling failed; trying again")
            if not self.follower.is_alive():
                raise RuntimeError("The thread that follows the event log has ended.")
            select.select([receiver], [], [], pause)

    def step(self) -> None:
        """Do all there is to do now.

        Terminations come first, and what HTCondor refuses of one thing does not hold up the
        others. Raises :class:`SchedulerError` when it does not answer, or the last refusal.
        """
        refusal: SchedulerError | None = None
        works = (
            self._rooms.work,
            self.remove_unwanted,
            self.find_again,
            self.submit_wanted,
            self.mind_waiting,
            self._fulfil,
        )
        for work in works:
            try:
                work()
            except CallTimeoutError:
                raise
            except SchedulerError as error:
                refusal = error
        if time.monotonic() >= self._next_look:
            self.look()
            self._next_look = time.monotonic() + self.settings.reconcile_interval
        if refusal is not None:
            raise refusal

    def _fulfil(self) -> None:
        if self._rooms.fulfil(self._known_nodes):
            self.submit_wanted()

    def submit_wanted(self) -> None:
        """Submit each reservation that waits, as one cluster."""
        with database.writing(self.engine) as db:
            waiting = instances.select_submit_state(db, "wanted")
            ids = [instance.id for instance in waiting]
            if ids:
                instances.update_submission(db, ids, "submitting")
        refusal: SchedulerError | None = None
        for group in _clusters(waiting):
            try:
                self._submit(group)
            except CallTimeoutError:
                raise
            except SchedulerError as error:
                refusal = error
                self._refused(group, error)
        if refusal is not None:
            raise refusal

    def _submit(self, group: list[Instance]) -> None:
        first = group[0]
        with database.reading(self.engine) as db:
            image = images.get(db, first.image_id)
        request = LaunchRequest(
            gateway_id=self.gateway_id,
            reservation_id=first.reservation_id,
            account_id=first.account_id,
            image_sha256=(image and image.sha256) or "",
            vcpus=first.vcpus,
            memory_mib=first.memory_mib,
            run=first.run,
            architecture=first.architecture,
            instance_ids=tuple(instance.id for instance in group),
            disk_bytes=first.disk_bytes or (image and image.virtual_size) or 0,
            home=first.home,
            uefi=boot_modes.current(first.boot_mode, first.architecture) == boot_modes.UEFI,
            zone=self._zoning(first),
            priority=PRIORITY if first.is_spot else 0,
        )
        cluster = self.scheduler.submit(request)
        with database.writing(self.engine) as db:
            for proc, instance in enumerate(group):
                observed.job_submitted(db, instance.id, instance.run, cluster, proc)
        self._refusals.pop((first.reservation_id, first.run), None)
        _log.info("%s is cluster %d: %s", first.reservation_id, cluster, request.instance_ids)

    def _zoning(self, instance: Instance) -> Zoning | None:
        # The node that has the disk is where it is, whatever became of its zone's name.
        if instance.home is not None:
            return None
        name = instance.availability_zone
        default = name == self.settings.availability_zone
        return Zoning(name, required=instance.zone_required, default=default)

    def _refused(self, group: list[Instance], error: SchedulerError) -> None:
        """Count how often HTCondor has refused a launch: one that it never takes shall end."""
        launch = group[0].reservation_id, group[0].run
        tries = self._refusals.get(launch, 0) + 1
        self._refusals[launch] = tries
        _log.warning("%s, run %d, is refused (%d): %s", *launch, tries, error)

    def find_again(self) -> None:
        """Settle submissions of which it is not known whether they took effect."""
        with database.reading(self.engine) as db:
            unsure = instances.select_submit_state(db, "submitting")
        for group in _clusters(unsure):
            found = self.scheduler.jobs(self.gateway_id, group[0].reservation_id)
            # A job that came and went meanwhile is in the event log by now.
            self.follower.catch_up()
            with database.writing(self.engine) as db:
                self._settle(db, group, {(job.instance_id, job.run): job for job in found})

    def _settle(
        self, db: Connection, group: list[Instance], jobs: dict[tuple[str, int], Job]
    ) -> None:
        now = datetime.now(UTC)
        launch = group[0].reservation_id, group[0].run
        hopeless = self._refusals.get(launch, 0) >= MOST_REFUSALS
        for instance in group:
            current = instances.get(db, instance.id)
            if current is None or current.submit_state != "submitting":
                continue
            if job := jobs.get((instance.id, instance.run)):
                observed.job_submitted(db, instance.id, instance.run, job.cluster, job.proc)
            elif current.wanted == "terminated" or hopeless:
                instances.update_submission(db, [instance.id], "none")
                reason = rules.USER_INITIATED if not hopeless else REFUSED
                observed.run_ended(db, instance.id, instance.run, reason, now)
            else:
                instances.update_submission(db, [instance.id], "wanted")

    def remove_unwanted(self) -> None:
        """Remove the jobs of instances that shall end."""
        with database.reading(self.engine) as db:
            ending = instances.select_to_terminate(db)
        now = time.monotonic()
        alive = {instance.id for instance in ending}
        self._asked_to_remove = {
            name: at for name, at in self._asked_to_remove.items() if name in alive
        }
        due = [
            instance
            for instance in ending
            if instance.cluster is not None
            and now - self._asked_to_remove.get(instance.id, float("-inf")) > REMOVE_AGAIN
        ]
        if not due:
            return
        if any(instance.id in self._asked_to_remove for instance in due):
            self._next_look = 0.0
        # When the starter is killed, HTCondor's shadow learns from the node that the job is not
        # there and then keeps it for the rest of its lease, removed or not.
        for nowhere in (False, True):
            jobs = [
                (instance.cluster or 0, instance.proc or 0)
                for instance in due
                if (instance.submit_state == "lost") is nowhere
            ]
            if jobs:
                self.scheduler.remove(jobs, REMOVAL, nowhere=nowhere)
        self._asked_to_remove |= {instance.id: now for instance in due}

    def mind_waiting(self) -> None:
        """Hurry instances that wait for a node; end those that wait for one that is not there."""
        with database.reading(self.engine) as db:
            waiting = instances.select_unclaimed(db)
        self._rest = LOOK_ANYWAY
        if not waiting:
            return
        now = datetime.now(UTC)
        youngest = min(now - instance.begun_at for instance in waiting).total_seconds()
        if (made := self._rooms.is_new()) is not None:
            youngest = min(youngest, max(made, 2 * HURRY))
        # A match on an ad that was out of date is refused by the node, and HTCondor tries again
        # only with its next regular cycle. The longer something waits, the less a hurry helps.
        if youngest > HURRY and time.monotonic() - self._hurried > max(HURRY, youngest / 4):
            self.scheduler.hurry()
            self._hurried = time.monotonic()
        self._rest = min(LOOK_ANYWAY, max(HURRY, youngest / 4))
        impatient = [one for one in waiting if now - one.begun_at > PATIENCE]
        if impatient:
            self._mind_impatient(impatient, now)

    def _mind_impatient(self, waiting: list[Instance], now: datetime) -> None:
        """Give up those that wait in vain; tell of the others what they wait for."""
        helped = self._rooms.make(waiting, now)
        nodes = self._known_nodes()
        patience = timedelta(seconds=self.settings.capacity_patience)
        # Room that has just been made is there, but not yet theirs for whom it was.
        made = self._rooms.is_new() is not None
        given_up = False
        with database.writing(self.engine) as db:
            for instance in waiting:
                late = now - instance.begun_at > patience
                late = late and not made and instance.id not in helped
                reason = reasons.in_vain(instance, nodes) or (
                    reasons.too_long(instance, nodes) if late else None
                )
                if reason is not None:
                    given_up |= observed.job_lost(db, instance.id, instance.run, reason, now)
                else:
                    of = instance.id in helped
                    told = reasons.helped(instance) if of else reasons.waiting(instance, nodes)
                    if told.message != instance.reason_message:
                        instances.update_attributes(
                            db, instance.id, {"reason_message": told.message}
                        )
        if given_up:
            self.remove_unwanted()

    def _known_nodes(self) -> list[NodeSize]:
        at, nodes = self._nodes
        if time.monotonic() - at > NODES_FRESH:
            nodes = self._nodes_now()
        return nodes

    def _nodes_now(self) -> list[NodeSize]:
        default = self.settings.availability_zone
        nodes = [
            replace(node, zone=zones.of_node(node.zone, default)) for node in self.scheduler.nodes()
        ]
        self._nodes = (time.monotonic(), nodes)
        now = datetime.now(UTC)
        with database.writing(self.engine) as db:
            zones.record(db, (reasons.machine(one, now) for one in nodes), now)
        return nodes

    def look(self) -> None:
        """Compare the whole queue with the database; what the event log lost comes to light."""
        with database.reading(self.engine) as db:
            before = [
                instance
                for instance in instances.select_alive(db)
                if instance.submit_state in {"submitted", "unwanted", "lost"}
            ]
        jobs = self.scheduler.jobs(self.gateway_id)
        nodes = self._known_nodes()
        self.follower.catch_up()
        self._end_bereft(bereft(jobs, nodes))
        strays = self._check_jobs(jobs)
        if strays:
            self.scheduler.remove(strays, "Condor Cloud: not the job of any instance")
        present = {(job.instance_id, job.run) for job in jobs}
        with database.writing(self.engine) as db:
            now = datetime.now(UTC)
            for instance in before:
                if (instance.id, instance.run) not in present:
                    observed.run_ended(db, instance.id, instance.run, observed.VANISHED, now)
            rules.forget(db, now, timedelta(seconds=self.settings.terminated_kept))
            pool_report.looked(db, now)
            spot.forget(db, now)
            prefetches.forget(db, now)

    def _end_bereft(self, jobs: list[Job]) -> None:
        if not jobs:
            return
        now = datetime.now(UTC)
        with database.writing(self.engine) as db:
            for job in jobs:
                if observed.is_its_job(db, job.instance_id, job.run, job.cluster, job.proc):
                    observed.node_denies(db, job.instance_id, job.run, now)
        self.remove_unwanted()

    def _check_jobs(self, jobs: Iterable[Job]) -> list[tuple[int, int]]:
        strays = []
        with database.writing(self.engine) as db:
            for job in jobs:
                instance = instances.get(db, job.instance_id)
                ours = observed.job_seen(db, job.instance_id, job.run, job.cluster, job.proc)
                if not ours or instance is None or instance.state in observed.OVER:
                    strays.append((job.cluster, job.proc))
                elif job.status == HELD:
                    text = f"Server.InternalError: HTCondor: {job.hold_reason}"
                    reason = Reason("Server.InternalError", text)
                    observed.job_lost(db, job.instance_id, job.run, reason, datetime.now(UTC))
        return strays


def gateway_id(engine: Engine) -> str:
    """Return what tells this database's jobs from another gateway's; made at the first call."""
    with database.writing(engine) as db:
        kept = cursors.get(db, GATEWAY_ID)
        if kept is None:
            kept = json.dumps(secrets.token_hex(8))
            cursors.put(db, GATEWAY_ID, kept)
    return str(json.loads(kept))


def _clusters(found: Iterable[Instance]) -> list[list[Instance]]:
    """Return the instances in groups that are, or were to be, one cluster each."""

    def alike(instance: Instance) -> tuple[object, ...]:
        # The instances of a launch are started again one by one, each on its own node.
        size = (instance.vcpus, instance.memory_mib, instance.architecture)
        where = (instance.home or "", instance.availability_zone)
        return (instance.reservation_id, instance.run, *where, *size)

    return [list(group) for _, group in itertools.groupby(sorted(found, key=alike), key=alike)]
