# SPDX-License-Identifier: Apache-2.0
"""Rows of ``prefetches``: images that nodes shall have in their caches, and how far they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import func
from sqlalchemy import select as sql_select

from gateway.store.schema import prefetches

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

STATES = ("wanted", "taken", "fetching", "cached", "failed")
ENDED = ("cached", "failed")


class Prefetch(NamedTuple):
    """One image for one node; ``done`` is in bytes, ``state`` one of :data:`STATES`."""

    id: int
    node: str
    image_id: str
    state: str
    done: int
    message: str | None
    created_at: datetime
    told_at: datetime


def insert(db: Connection, node: str, image_id: str, at: datetime) -> int:
    """Want an image in a node's cache; return the number."""
    values = {"node": node, "image_id": image_id, "state": "wanted", "done": 0}
    result = db.execute(prefetches.insert(), values | {"created_at": at, "told_at": at})
    [number] = result.inserted_primary_key or (0,)
    return int(number)


def select(db: Connection, ids: Sequence[int]) -> list[Prefetch]:
    """Return those with these numbers, by node."""
    query = sql_select(prefetches).where(prefetches.c.id.in_(ids))
    query = query.order_by(prefetches.c.node, prefetches.c.id)
    return [Prefetch._make(row) for row in db.execute(query)]


def select_open(db: Connection, node: str) -> list[Prefetch]:
    """Return what a node has not brought to an end, oldest first."""
    query = sql_select(prefetches).where(
        prefetches.c.node == node, prefetches.c.state.not_in(ENDED)
    )
    return [Prefetch._make(row) for row in db.execute(query.order_by(prefetches.c.id))]


def newest(db: Connection) -> int:
    """Return the highest number; 0 where there is none."""
    return db.execute(sql_select(func.max(prefetches.c.id))).scalar() or 0


def update(db: Connection, number: int, at: datetime, **values: object) -> None:
    """Write down what was told of one, and when."""
    statement = prefetches.update().where(prefetches.c.id == number)
    db.execute(statement.values(values | {"told_at": at}))


def select_open_before(db: Connection, before: datetime) -> list[int]:
    """Return the numbers of those that have no end and of which nothing was told since then."""
    query = sql_select(prefetches.c.id).where(
        prefetches.c.told_at < before, prefetches.c.state.not_in(ENDED)
    )
    return list(db.execute(query.order_by(prefetches.c.id)).scalars())


def delete_ended_before(db: Connection, before: datetime) -> None:
    """Forget those that ended before then."""
    ended = prefetches.c.state.in_(ENDED)
    db.execute(prefetches.delete().where(prefetches.c.told_at < before, ended))
