# SPDX-License-Identifier: Apache-2.0
"""Rows of ``commands``: what running guests shall do, until their supervisors have taken it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import func
from sqlalchemy import select as sql_select

from gateway.store.schema import commands, instances

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection


VERBS = (
    *("reboot", "stop", "metadata", "screenshot", "wake-screenshot"),
    *("capture", "reboot-capture"),
)


class Command(NamedTuple):
    """``verb`` is for one run of the instance; ``grace`` is in seconds."""

    id: int
    instance_id: str
    run: int
    verb: str
    grace: float
    created_at: datetime


def insert(  # noqa: PLR0913 - a command is all of these
    db: Connection, instance_id: str, run: int, verb: str, *, grace: float, at: datetime
) -> int:
    """Add a command and return its number, which is the highest."""
    values = {"instance_id": instance_id, "run": run, "verb": verb, "grace": grace}
    adding = commands.insert().returning(commands.c.id)
    return int(db.execute(adding, values | {"created_at": at}).scalar_one())


def reserve(db: Connection, instance_id: str, at: datetime) -> int:
    """Return a number that no command has or will have, for what is asked of nobody who runs."""
    number = insert(db, instance_id, 0, "", grace=0.0, at=at)
    db.execute(commands.delete().where(commands.c.id == number))
    return number


def select(db: Connection, instance_id: str, run: int) -> list[Command]:
    """Return what this run has not taken yet, oldest first."""
    query = sql_select(commands).where(commands.c.instance_id == instance_id, commands.c.run == run)
    return [Command._make(row) for row in db.execute(query.order_by(commands.c.id))]


def select_of_node(db: Connection, node: str, after: int) -> list[tuple[int, str]]:
    """Return number and instance of a node's commands above ``after`` that are not taken."""
    query = (
        sql_select(commands.c.id, commands.c.instance_id)
        .select_from(commands.join(instances))
        .where(
            commands.c.id > after,
            commands.c.run == instances.c.run,
            instances.c.claimed_by == node,
        )
    )
    return [(number, instance_id) for number, instance_id in db.execute(query)]


def newest(db: Connection) -> int:
    """Return the highest number of a command that waits; 0 where none does."""
    return db.execute(sql_select(func.max(commands.c.id))).scalar() or 0


def delete_taken(db: Connection, instance_id: str, run: int, ids: Sequence[int]) -> None:
    """Remove those of a run's commands that its supervisor has taken."""
    db.execute(
        commands.delete().where(
            commands.c.id.in_(ids),
            commands.c.instance_id == instance_id,
            commands.c.run == run,
        )
    )


def delete(db: Connection, instance_ids: Sequence[str]) -> None:
    """Remove all commands of the instances."""
    db.execute(commands.delete().where(commands.c.instance_id.in_(instance_ids)))
