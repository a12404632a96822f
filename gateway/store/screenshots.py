# SPDX-License-Identifier: Apache-2.0
"""Rows of ``screenshots``: pictures of displays that were asked for, empty until they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select as sql_select

from gateway.store.schema import screenshots

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection


def insert(db: Connection, command_id: int, instance_id: str, *, at: datetime) -> None:
    """Expect the picture that answers a command."""
    values = {"command_id": command_id, "instance_id": instance_id, "created_at": at}
    db.execute(screenshots.insert(), values)


def get(db: Connection, command_id: int) -> bytes | None:
    """Return the picture that answers a command; None until it is there."""
    query = sql_select(screenshots.c.jpeg).where(screenshots.c.command_id == command_id)
    return db.execute(query).scalar()


def update(db: Connection, command_id: int, instance_id: str, jpeg: bytes) -> bool:
    """Keep a picture; false where the instance's owner expects none by that number."""
    expected = screenshots.update().where(
        screenshots.c.command_id == command_id,
        screenshots.c.instance_id == instance_id,
        screenshots.c.jpeg.is_(None),
    )
    return db.execute(expected.values(jpeg=jpeg)).rowcount > 0


def delete_before(db: Connection, instance_id: str, before: datetime) -> None:
    """Remove an instance's pictures that were asked for before."""
    db.execute(
        screenshots.delete().where(
            screenshots.c.instance_id == instance_id, screenshots.c.created_at < before
        )
    )


def delete(db: Connection, instance_ids: Sequence[str]) -> None:
    """Remove all pictures of the instances."""
    db.execute(screenshots.delete().where(screenshots.c.instance_id.in_(instance_ids)))
