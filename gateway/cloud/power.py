# SPDX-License-Identifier: Apache-2.0
"""Instances' power: stopping, starting and rebooting them.

What a running guest shall do becomes a command to the supervisor of its run. A start is a new run
of the instance, with the number that follows, for the node that has its disk, or any where the
store has it (:mod:`gateway.cloud.parking`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cloud import instances as rules
from gateway.cloud import parking, quotas, spot, states
from gateway.cloud.errors import Protected, WrongState
from gateway.cloud.instances import USER_INITIATED, Change
from gateway.cloud.states import Reason
from gateway.store import commands, instances

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from gateway.store.instances import Instance

STARTING = Reason("pending", "pending")


def stop(  # noqa: PLR0913 - whose, which, when, how
    db: Connection,
    account_id: str,
    instance_ids: Sequence[str],
    now: datetime,
    terminated_after: datetime,
    *,
    grace: float,
    force: bool,
) -> list[Change]:
    """Want the guests to shut down, all of them or, with a refusal, none; the disks are kept.

    A guest that has not shut down after ``grace`` seconds is ended, with ``force`` at once. One
    that stops or is stopped stays so. Raises :class:`NotFound`, :class:`WrongState`,
    :class:`Protected`.
    """
    found = rules.find(db, account_id, instance_ids, terminated_after)
    for instance in found:
        if instance.state not in {"running", "stopping", "stopped"}:
            raise WrongState("instance", instance.id, "stopped")
        spot.check_stop(db, instance)
        if instance.state == "running" and instance.disable_api_stop:
            raise Protected("instance", instance.id, "stopped")
    given = 0.0 if force else grace

    def work(instance: Instance) -> str:
        if instance.state == "running":
            told = states.initiated("User initiated", now)
            states.change(db, instance, "stopping", now, reason=USER_INITIATED, transition=told)
            instances.update_wanted(db, instance.id, "stopped")
            commands.insert(db, instance.id, instance.run, "stop", grace=given, at=now)
            return "stopping"
        if instance.state == "stopping" and force:
            commands.insert(db, instance.id, instance.run, "stop", grace=given, at=now)
        return instance.state

    return _each(found, instance_ids, work)


def start(  # noqa: PLR0913 - whose, which, when, within what
    db: Connection,
    account_id: str,
    instance_ids: Sequence[str],
    now: datetime,
    terminated_after: datetime,
    *,
    limits: Mapping[str, int],
) -> list[Change]:
    """Want stopped instances to run again, all of them or, with a refusal, none.

    One that runs or is about to stays so. Raises :class:`NotFound`, :class:`WrongState`,
    :class:`LimitReached`.
    """
    found = rules.find(db, account_id, instance_ids, terminated_after)
    for instance in found:
        if instance.state not in {"stopped", "pending", "running"}:
            raise WrongState("instance", instance.id, "started")
        if instance.state == "stopped":
            spot.check_start(db, instance)
    more = sum(instance.vcpus for instance in found if instance.state == "stopped")
    if more:
        quotas.check(db, account_id, "vcpus", more, limits)

    def work(instance: Instance) -> str:
        if instance.state != "stopped":
            return instance.state
        states.change(db, instance, "pending", now, reason=STARTING, transition="")
        parking.cancel(db, instance.id)
        instances.update_start(db, instance.id, instance.run + 1, now)
        return "pending"

    return _each(found, instance_ids, work)


def reboot(  # noqa: PLR0913 - whose, which, when, how
    db: Connection,
    account_id: str,
    instance_ids: Sequence[str],
    now: datetime,
    terminated_after: datetime,
    *,
    grace: float,
) -> None:
    """Want the guests to boot anew, all of them or, with a refusal, none.

    A guest that has not shut down after ``grace`` seconds is reset. One that is not there yet is
    rebooted when it is; for an instance that ends nothing is done. Raises :class:`NotFound`,
    :class:`WrongState`.
    """
    found = rules.find(db, account_id, instance_ids, terminated_after)
    for instance in found:
        if instance.state in {"stopping", "stopped"}:
            raise WrongState("instance", instance.id, "rebooted")
    for instance in found:
        if instance.state in {"pending", "running"}:
            commands.insert(db, instance.id, instance.run, "reboot", grace=grace, at=now)


def _each(
    found: Sequence[Instance], instance_ids: Sequence[str], work: Callable[[Instance], str]
) -> list[Change]:
    """Do the work for each instance once, in the order of asking."""
    by_id = {instance.id: instance for instance in found}
    chosen = [by_id[name] for name in dict.fromkeys(instance_ids)]
    return [Change(instance.id, instance.state, work(instance)) for instance in chosen]
