# SPDX-License-Identifier: Apache-2.0
"""Rows of ``import_tasks``: images that are made out of other programs' disks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select as sql_select

from gateway.store.schema import import_tasks

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection


class ImportTask(NamedTuple):
    """One import. ``format`` is what its owner says that the file has, None for whatever it has.

    ``state`` is active, completed, deleting or deleted; ``progress`` a percentage.
    """

    id: str
    account_id: str
    image_id: str
    description: str
    disk_description: str
    location: str
    format: str | None
    platform: str | None
    state: str
    status_message: str | None
    progress: int
    size: int | None
    created_at: datetime
    ended_at: datetime | None


def insert(db: Connection, task: ImportTask) -> None:
    """Add a task."""
    db.execute(import_tasks.insert(), task._asdict())


def get(db: Connection, task_id: str) -> ImportTask | None:
    """Return the task with that id, whoever owns it."""
    return _first(db, import_tasks.c.id == task_id)


def get_by_image(db: Connection, image_id: str) -> ImportTask | None:
    """Return the task that makes an image; None for one that is no import."""
    return _first(db, import_tasks.c.image_id == image_id)


def select(db: Connection, account_id: str, ids: Iterable[str] | None = None) -> list[ImportTask]:
    """Return an account's tasks, or those of them that are named, oldest first."""
    query = sql_select(import_tasks).where(import_tasks.c.account_id == account_id)
    if ids is not None:
        query = query.where(import_tasks.c.id.in_(list(ids)))
    query = query.order_by(import_tasks.c.created_at, import_tasks.c.id)
    return [ImportTask._make(row) for row in db.execute(query)]


def select_state(db: Connection, state: str) -> list[ImportTask]:
    """Return every account's tasks in that state, oldest first."""
    query = sql_select(import_tasks).where(import_tasks.c.state == state)
    query = query.order_by(import_tasks.c.created_at, import_tasks.c.id)
    return [ImportTask._make(row) for row in db.execute(query)]


def select_ended_before(db: Connection, before: datetime) -> list[str]:
    """Return the ids of the tasks that ended before then."""
    query = sql_select(import_tasks.c.id).where(import_tasks.c.ended_at < before)
    return list(db.execute(query).scalars())


def update(db: Connection, task_id: str, expected: str, **values: object) -> bool:
    """Change a task; False where its state is not as expected any more."""
    statement = import_tasks.update().where(
        import_tasks.c.id == task_id, import_tasks.c.state == expected
    )
    return db.execute(statement.values(values)).rowcount == 1


def delete(db: Connection, ids: Iterable[str]) -> None:
    """Remove tasks; their tags must be gone."""
    db.execute(import_tasks.delete().where(import_tasks.c.id.in_(list(ids))))


def _first(db: Connection, condition: ColumnElement[bool]) -> ImportTask | None:
    row = db.execute(sql_select(import_tasks).where(condition)).first()
    return None if row is None else ImportTask._make(row)
