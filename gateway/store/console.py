# SPDX-License-Identifier: Apache-2.0
"""Rows of ``console``: the end of what each instance wrote on its serial console."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select as sql_select

from gateway.store.schema import console

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection


class Console(NamedTuple):
    """``data`` is the end of ``total`` bytes that the instance's run has written."""

    instance_id: str
    run: int
    total: int
    data: bytes
    updated_at: datetime


def get(db: Connection, instance_id: str) -> Console | None:
    """Return an instance's console."""
    row = db.execute(sql_select(console).where(console.c.instance_id == instance_id)).first()
    return None if row is None else Console._make(row)


def insert(db: Connection, kept: Console) -> None:
    """Begin an instance's console."""
    db.execute(console.insert(), kept._asdict())


def update(db: Connection, kept: Console) -> None:
    """Replace what is kept of an instance's console."""
    db.execute(
        console.update().where(console.c.instance_id == kept.instance_id).values(kept._asdict())
    )


def delete(db: Connection, instance_ids: Sequence[str]) -> None:
    """Remove the consoles of the instances."""
    db.execute(console.delete().where(console.c.instance_id.in_(instance_ids)))
