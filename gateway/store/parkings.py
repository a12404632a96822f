# SPDX-License-Identifier: Apache-2.0
"""Rows of ``parkings``: disks of stopped instances that the store gets or has, or a node has."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete as sql_delete
from sqlalchemy import exists, func
from sqlalchemy import select as sql_select

from gateway.store.schema import captures, instances, parkings

if TYPE_CHECKING:
    from sqlalchemy import Connection

WANTED, HERE, PARKED, FAILED, LEFT = "wanted", "here", "parked", "failed", "left"
"""The node shall send it; it is the importer's; the store has it; it stays on its node; the store
has it and the node shall remove what is left of it."""


class Parking(NamedTuple):
    """A disk; ``size``, ``nvram_bytes`` (the last of them) and ``sha256`` are of what came."""

    number: int
    instance_id: str
    run: int
    node: str
    state: str
    size: int | None = None
    nvram_bytes: int | None = None
    sha256: str | None = None
    reason: str | None = None


def insert(db: Connection, parking: Parking) -> None:
    """Add one."""
    db.execute(parkings.insert(), parking._asdict())


def get(db: Connection, number: int) -> Parking | None:
    """Return the one with that number."""
    row = db.execute(sql_select(parkings).where(parkings.c.number == number)).first()
    return None if row is None else Parking._make(row)


def get_of_instance(db: Connection, instance_id: str) -> Parking | None:
    """Return an instance's own, whatever is left of it on nodes beside that."""
    query = sql_select(parkings).where(
        parkings.c.instance_id == instance_id, parkings.c.state != LEFT
    )
    row = db.execute(query).first()
    return None if row is None else Parking._make(row)


def select_of_node(db: Connection, node: str) -> list[Parking]:
    """Return those that a node has something to do for, oldest first."""
    query = sql_select(parkings).where(
        parkings.c.node == node, parkings.c.state.in_([WANTED, LEFT])
    )
    return [Parking._make(row) for row in db.execute(query.order_by(parkings.c.number))]


def select_here(db: Connection) -> list[Parking]:
    """Return those that wait for the importer, oldest first."""
    query = sql_select(parkings).where(parkings.c.state == HERE).order_by(parkings.c.number)
    return [Parking._make(row) for row in db.execute(query)]


def select_arriving(db: Connection) -> set[int]:
    """Return the numbers of those of which something may be among the arrivals."""
    query = sql_select(parkings.c.number).where(parkings.c.state.in_([WANTED, HERE]))
    return set(db.execute(query).scalars())


def select_contents(db: Connection) -> set[str]:
    """Return the SHA-256 of every one that the store has or is about to have."""
    query = sql_select(parkings.c.sha256).where(parkings.c.sha256.is_not(None))
    return {str(one) for one in db.execute(query).scalars()}


def select_unparked(db: Connection) -> list[tuple[str, int, str]]:
    """Return id, run and node of the stopped instances of which nobody has been asked for the disk.

    Not those whose disks are being copied for an image.
    """
    asked = exists().where(parkings.c.instance_id == instances.c.id, parkings.c.state != LEFT)
    copied = exists().where(
        captures.c.instance_id == instances.c.id, captures.c.stopped, captures.c.sha256.is_(None)
    )
    query = sql_select(instances.c.id, instances.c.run, instances.c.claimed_by).where(
        instances.c.state == "stopped",
        instances.c.home.is_not(None),
        instances.c.claimed_by.is_not(None),
        ~asked,
        ~copied,
    )
    return [(name, run, node) for name, run, node in db.execute(query)]


def newest(db: Connection) -> int:
    """Return the highest number; 0 where there is none."""
    return db.execute(sql_select(func.max(parkings.c.number))).scalar() or 0


def update(db: Connection, number: int, **values: object) -> None:
    """Change columns of one."""
    db.execute(parkings.update().where(parkings.c.number == number).values(values))


def delete(db: Connection, number: int) -> None:
    """Forget one."""
    db.execute(sql_delete(parkings).where(parkings.c.number == number))


def delete_wanted(db: Connection) -> None:
    """Forget those that no node has sent yet."""
    db.execute(sql_delete(parkings).where(parkings.c.state == WANTED))


def count_wanted(db: Connection) -> int:
    """Return how many :func:`delete_wanted` would forget."""
    query = sql_select(func.count()).select_from(parkings).where(parkings.c.state == WANTED)
    return db.execute(query).scalar_one()


def delete_left(db: Connection, instance_id: str, node: str) -> None:
    """Forget what a node was to remove of an instance."""
    db.execute(
        sql_delete(parkings).where(
            parkings.c.instance_id == instance_id,
            parkings.c.node == node,
            parkings.c.state == LEFT,
        )
    )


def delete_of_ended(db: Connection) -> None:
    """Forget those of instances that are terminated, or not even that."""
    alive = exists().where(
        instances.c.id == parkings.c.instance_id, instances.c.state != "terminated"
    )
    db.execute(sql_delete(parkings).where(~alive))


def count_of_ended(db: Connection) -> int:
    """Return how many :func:`delete_of_ended` would forget."""
    alive = exists().where(
        instances.c.id == parkings.c.instance_id, instances.c.state != "terminated"
    )
    return db.execute(sql_select(func.count()).select_from(parkings).where(~alive)).scalar_one()
