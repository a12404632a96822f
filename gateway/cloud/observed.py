# SPDX-License-Identifier: Apache-2.0
"""Facts about runs, as the pool and the nodes tell them, written into the instances.

Only the reconciler calls these. A fact may come late, twice or after a later one; what it would
change is looked at first, so that repeating the log from any point gives the same end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cloud import ends, parking, states
from gateway.cloud.states import Reason
from gateway.store import commands, instances

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from gateway.store.instances import Instance, Whereabouts

OVER = frozenset({"stopped", "terminated"})
"""States in which there is no run."""

MOST_LOST_RUNS = 3
"""So many runs in a row may be lost before a node claims one; then the instance ends."""

LOST_NODE = Reason(
    "Server.InternalError",
    "Server.InternalError: The node stopped running the instance; it is not started again",
)
REMOVED = Reason(
    "Server.InternalError", "Server.InternalError: The instance's job was removed from the pool"
)
VANISHED = Reason(
    "Server.InternalError", "Server.InternalError: The instance's job is no longer in the queue"
)
POOL_STOPPED = Reason(
    "Server.InternalError", "Server.InternalError: The pool that ran the instance was stopped"
)


def guest_runs(
    db: Connection, instance_id: str, run: int, found: Whereabouts, now: datetime
) -> None:
    """Record that an instance's guest runs, and where."""
    instance = _current(db, instance_id, run)
    if instance is None:
        return
    instances.update_whereabouts(db, instance_id, found)
    if instance.state == "pending":
        states.change(db, instance, "running", now)


def guest_heard(db: Connection, instance_id: str, run: int) -> None:
    """Record that the guest of a run has sent something on its network."""
    if _current(db, instance_id, run) is not None:
        instances.update_heard(db, instance_id, run)


def run_ended(  # noqa: PLR0913 - which run, why, how, when
    db: Connection,
    instance_id: str,
    run: int,
    reason: Reason,
    now: datetime,
    *,
    how: str | None = None,
    disk_removed: bool = False,
) -> None:
    """Record that a run is over for ``reason``; the user's own wish keeps its reason.

    ``how`` is the name of the run's exit where the node told it.
    """
    instance = _current(db, instance_id, run)
    if instance is None:
        return
    if _can_begin_anew(instance) and instance.submit_state in {"unwanted", "lost"}:
        commands.delete(db, [instance_id])
        began, lost = instance.begun_at, instance.lost_runs + 1
        instances.update_start(db, instance_id, run + 1, began, lost_runs=lost)
        return
    after = ends.becomes(instance, how, disk_removed=disk_removed)
    if instance.wanted == after and instance.reason_code is not None:
        states.change(db, instance, after, now)
    else:
        told = states.initiated(reason.code, now)
        states.change(db, instance, after, now, reason=reason, transition=told)
    instances.update_wanted(db, instance_id, after)
    commands.delete(db, [instance_id])
    if after == "stopped":
        instances.update_over(db, instance_id, None if instance.parked else instance.node)
        parking.run_ended(db, instance, now)


def node_lost(db: Connection, instance_id: str, run: int, now: datetime) -> bool:
    """Record that no node runs the job any more; return whether it shall be removed now.

    A run that nobody had claimed has booted nothing: when its job is gone, the next one begins.
    """
    instance = _current(db, instance_id, run)
    if instance is not None and _can_begin_anew(instance):
        instances.update_submission(db, [instance_id], "unwanted")
        return True
    return job_lost(db, instance_id, run, LOST_NODE, now)


def job_lost(db: Connection, instance_id: str, run: int, reason: Reason, now: datetime) -> bool:
    """Record that an instance cannot go on, though its job is still in the queue.

    Returns whether that job shall be removed now.
    """
    instance = _current(db, instance_id, run)
    if instance is None or instance.state == "shutting-down":
        return False
    if instance.state != "stopping":
        after = ends.becomes(instance, None)
        on_the_way = "stopping" if after == "stopped" else "shutting-down"
        told = states.initiated(reason.code, now)
        states.change(db, instance, on_the_way, now, reason=reason, transition=told)
        instances.update_wanted(db, instance_id, after)
    instances.update_submission(db, [instance_id], "unwanted")
    return True


def node_denies(db: Connection, instance_id: str, run: int, now: datetime) -> bool:
    """Record that no node runs the job, as the node said or as follows from the lease's end.

    Returns whether the job shall be removed, which need not wait for the node any more.
    """
    instance = _current(db, instance_id, run)
    if instance is None:
        return False
    node_lost(db, instance_id, run, now)
    instances.update_submission(db, [instance_id], "lost")
    return True


def job_seen(db: Connection, instance_id: str, run: int, cluster: int, proc: int) -> bool:
    """Record the job of an instance's run; False where that run has another one already."""
    instance = instances.get(db, instance_id)
    if instance is None or instance.run != run:
        return False
    if instance.cluster is None:
        instances.update_job(db, instance_id, cluster, proc)
        return True
    return (instance.cluster, instance.proc) == (cluster, proc)


def is_its_job(db: Connection, instance_id: str, run: int, cluster: int, proc: int) -> bool:
    """Tell whether this job is known to be the one of the instance's run."""
    instance = instances.get(db, instance_id)
    if instance is None or instance.run != run:
        return False
    return (instance.cluster, instance.proc) == (cluster, proc)


def job_submitted(db: Connection, instance_id: str, run: int, cluster: int, proc: int) -> None:
    """Record the job that a submission returned, unless a claim has settled which one it is."""
    instance = instances.get(db, instance_id)
    if instance is not None and instance.run == run and instance.claimed_at is None:
        instances.update_job(db, instance_id, cluster, proc)


def pool_stopped(db: Connection, now: datetime) -> int:
    """Record the end of every run that there may have been in a pool that is gone; how many."""
    ended = 0
    for instance in instances.select_alive(db):
        if instance.claimed_at is not None and instance.state != "stopped":
            run_ended(db, instance.id, instance.run, POOL_STOPPED, now)
            ended += 1
    return ended


def kept_disks(db: Connection) -> set[str]:
    """Return the instances of which there is a disk though no guest runs."""
    return {instance.id for instance in instances.select_alive(db) if instance.home is not None}


def _can_begin_anew(instance: Instance) -> bool:
    """Tell whether the loss of an instance's run is no loss to its owner.

    The node link refuses the claim of a run that was lost or is not the latest.
    """
    return (
        instance.state == "pending"
        and instance.wanted == "running"
        and instance.claimed_at is None
        and instance.lost_runs < MOST_LOST_RUNS
    )


def _current(db: Connection, instance_id: str, run: int) -> Instance | None:
    instance = instances.get(db, instance_id)
    if instance is None or instance.run != run or instance.state in OVER:
        return None
    return instance
