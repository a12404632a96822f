# SPDX-License-Identifier: Apache-2.0
"""Rows of ``cursors``: how far a reader of something outside has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select as sql_select

from gateway.store.schema import cursors

if TYPE_CHECKING:
    from sqlalchemy import Connection


def get(db: Connection, name: str) -> str | None:
    """Return the cursor's JSON text."""
    return db.execute(sql_select(cursors.c.value).where(cursors.c.name == name)).scalar()


def put(db: Connection, name: str, value: str) -> None:
    """Set the cursor to a JSON text."""
    changed = db.execute(cursors.update().where(cursors.c.name == name).values(value=value))
    if changed.rowcount == 0:
        db.execute(cursors.insert(), {"name": name, "value": value})
