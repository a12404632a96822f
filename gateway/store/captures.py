# SPDX-License-Identifier: Apache-2.0
"""Rows of ``captures``: images of instances, until the importer has what nodes send."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete as sql_delete
from sqlalchemy import func
from sqlalchemy import select as sql_select

from gateway.store.schema import captures, instances

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


class Capture(NamedTuple):
    """One image on its way; ``size`` and ``sha256`` are known when it is here.

    ``command_id`` is the number under which the node knows it, ``how`` the state of the guest's
    file systems in a word (docs/reference/node-link.md), ``heard_at`` when the node was heard of.
    One of a ``stopped`` instance has ``how`` from when the copy is begun, ``size`` from when it is
    made: the instance's disk may be written again then.

    One of a disk that the store has is here from the beginning: ``sha256`` is the store's file,
    ``size`` how many of its first bytes are the disk, ``disk_bytes`` what a guest sees of it.
    """

    command_id: int
    image_id: str
    instance_id: str
    run: int
    how: str | None
    size: int | None
    sha256: str | None
    heard_at: datetime
    stopped: bool = False
    disk_bytes: int | None = None

    @property
    def is_here(self) -> bool:
        """Whether all of it is here."""
        return self.sha256 is not None

    @property
    def is_stored(self) -> bool:
        """Whether it is of a disk that the store has."""
        return self.disk_bytes is not None


def insert(db: Connection, capture: Capture) -> None:
    """Expect what a node is going to send."""
    db.execute(captures.insert(), capture._asdict())


def get(db: Connection, command_id: int) -> Capture | None:
    """Return the capture that a command asks for."""
    row = db.execute(sql_select(captures).where(captures.c.command_id == command_id)).first()
    return None if row is None else Capture._make(row)


def get_by_image(db: Connection, image_id: str) -> Capture | None:
    """Return the capture that becomes an image; None for one that is of no instance."""
    row = db.execute(sql_select(captures).where(captures.c.image_id == image_id)).first()
    return None if row is None else Capture._make(row)


def select(db: Connection) -> list[Capture]:
    """Return all of them, oldest first."""
    query = sql_select(captures).order_by(captures.c.command_id)
    return [Capture._make(row) for row in db.execute(query)]


def select_stopped(db: Connection, node: str) -> list[Capture]:
    """Return those of stopped instances that a node shall send, oldest first."""
    query = (
        sql_select(captures)
        .join(instances, instances.c.id == captures.c.instance_id)
        .where(captures.c.stopped, captures.c.sha256.is_(None), instances.c.claimed_by == node)
    )
    return [Capture._make(row) for row in db.execute(query.order_by(captures.c.command_id))]


def newest_stopped(db: Connection) -> int:
    """Return the highest number of those that nodes shall send so; 0 where there is none."""
    query = sql_select(func.max(captures.c.command_id)).where(
        captures.c.stopped, captures.c.disk_bytes.is_(None)
    )
    return db.execute(query).scalar() or 0


def select_contents(db: Connection) -> set[str]:
    """Return the SHA-256 of every disk in the store that becomes an image."""
    query = sql_select(captures.c.sha256).where(captures.c.disk_bytes.is_not(None))
    return {str(one) for one in db.execute(query).scalars()}


def update_copied(db: Connection, command_id: int, size: int) -> None:
    """Note that a stopped instance's disk is copied, to a file of so many bytes."""
    db.execute(captures.update().where(captures.c.command_id == command_id).values(size=size))


def update_heard(db: Connection, command_id: int, how: str | None, at: datetime) -> None:
    """Note that the node was heard of, and what it said of the file systems if it said it."""
    values = {"heard_at": at} | ({} if how is None else {"how": how})
    db.execute(captures.update().where(captures.c.command_id == command_id).values(values))


def update_here(db: Connection, command_id: int, size: int, sha256: str) -> None:
    """Note that all of it is here, and what its node says that it is."""
    db.execute(
        captures.update()
        .where(captures.c.command_id == command_id)
        .values(size=size, sha256=sha256)
    )


def delete(db: Connection, command_id: int) -> None:
    """Forget one."""
    db.execute(sql_delete(captures).where(captures.c.command_id == command_id))
