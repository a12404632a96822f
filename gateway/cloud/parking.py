# SPDX-License-Identifier: Apache-2.0
"""Disks of stopped instances in the store, so that any node can start them.

An instance is *parked* when the store has its whole disk and the database says so, and is not any
more when the supervisor of its next run has said that it has the whole disk. At each moment one of
the two is what counts, and neither is removed before the other does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.store import commands, instances, parkings
from gateway.store.parkings import FAILED, HERE, LEFT, PARKED, WANTED, Parking

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from gateway.store.instances import Instance

_MAX_REASON = 500
_SETTLED = "settled "


class Arrived(NamedTuple):
    """What a node has sent: bytes in all, how many of them are the variables, and the SHA-256."""

    size: int
    nvram_bytes: int
    sha256: str


def ask(db: Connection, now: datetime) -> int:
    """Want the disk of every stopped instance that nobody was asked for; return how many."""
    found = parkings.select_unparked(db)
    for instance_id, run, node in found:
        number = commands.reserve(db, instance_id, now)
        parkings.insert(db, Parking(number, instance_id, run, node, WANTED))
    return len(found)


def cancel(db: Connection, instance_id: str) -> None:
    """Leave a disk that the store does not have yet where it is, because it is needed there."""
    parking = parkings.get_of_instance(db, instance_id)
    if parking is not None and parking.state != PARKED:
        parkings.delete(db, parking.number)


def expected(db: Connection, number: int, node: str) -> Parking | None:
    """Return what a node may send; None where nobody wants it (any more)."""
    parking = parkings.get(db, number)
    if parking is None or (parking.node, parking.state) != (node, WANTED):
        return None
    return parking if _is_still(db, parking) else None


def arrived(db: Connection, parking: Parking, what: Arrived) -> None:
    """Note that all of a disk is here: from now on it is the importer's."""
    parkings.update(db, parking.number, state=HERE, **what._asdict())


def fail(db: Connection, number: int, reason: str) -> None:
    """Note why a disk stays on its node, until the instance's next stop."""
    parking = parkings.get(db, number)
    if parking is not None and parking.state in {WANTED, HERE}:
        parkings.update(db, number, state=FAILED, reason=reason[:_MAX_REASON], sha256=None)


def parked(db: Connection, number: int, now: datetime) -> bool:
    """Record that the store has a disk; False where it is not wanted there any more.

    From now on the node's own is not needed, and it is asked to remove it.
    """
    parking = parkings.get(db, number)
    if parking is None or parking.state != HERE or not _is_still(db, parking):
        return False
    parkings.update(db, number, state=PARKED)
    instances.update_attributes(db, parking.instance_id, {"parked": True, "home": None})
    _leave(db, parking.instance_id, parking.run, parking.node, now)
    return True


def get(db: Connection, instance: Instance) -> Parking | None:
    """Return what the store has of an instance; None where its disk is elsewhere."""
    return parkings.get_of_instance(db, instance.id) if instance.parked else None


def claimed(db: Connection, instance: Instance, node: str) -> None:
    """Note that a run has a node: what it was to remove there is the run's to replace."""
    parkings.delete_left(db, instance.id, node)


def taken(db: Connection, instance: Instance) -> bool:
    """Note that the node of an instance's run has its whole disk: the store need not keep it.

    False for a run that is over: what is left of it on its node may be removed already.
    """
    if instance.state in {"stopped", "terminated"}:
        return False
    parking = get(db, instance)
    if parking is not None:
        parkings.delete(db, parking.number)
        if instance.claimed_by is not None:
            parkings.delete_left(db, instance.id, instance.claimed_by)
        instances.update_attributes(db, instance.id, {"parked": False, "home": instance.node})
    return True


def settled(db: Connection, instance: Instance) -> None:
    """Note that a run was told to remove its disk, because the store has it.

    What its supervisor may yet say of having the disk comes too late.
    """
    nonce = instance.claim_nonce or ""
    if not nonce.startswith(_SETTLED):
        instances.update_attributes(db, instance.id, {"claim_nonce": f"{_SETTLED}{nonce}"})


def is_settled(instance: Instance, nonce: str) -> bool:
    """Whether the supervisor with that nonce was told so."""
    return instance.parked and instance.claim_nonce == f"{_SETTLED}{nonce}"


def run_ended(db: Connection, instance: Instance, now: datetime) -> None:
    """Have a node remove what a run that ended before it had the whole disk has left there."""
    if instance.parked and instance.claim_nonce is not None and instance.claimed_by is not None:
        settled(db, instance)
        _leave(db, instance.id, instance.run, instance.claimed_by, now)


def may_remove(db: Connection, number: int, node: str) -> bool:
    """Whether a node that keeps everybody from what is left of a disk shall remove it."""
    parking = parkings.get(db, number)
    if parking is None or (parking.node, parking.state) != (node, LEFT):
        return False
    # Whatever else is written down: never the disk that counts.
    instance = instances.get(db, parking.instance_id)
    counts = instance is not None and instance.home is not None and instance.claimed_by == node
    return not counts


def removed(db: Connection, number: int) -> None:
    """Note that nothing of a disk is left on its node."""
    parkings.delete(db, number)


def _leave(db: Connection, instance_id: str, run: int, node: str, now: datetime) -> None:
    parkings.delete_left(db, instance_id, node)
    number = commands.reserve(db, instance_id, now)
    parkings.insert(db, Parking(number, instance_id, run, node, LEFT))


def _is_still(db: Connection, parking: Parking) -> bool:
    """Whether the disk is as it was when it was asked for, and the instance has no use for it."""
    instance = instances.get(db, parking.instance_id)
    return (
        instance is not None
        and (instance.state, instance.run) == ("stopped", parking.run)
        and not instance.parked
    )
