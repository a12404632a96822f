# SPDX-License-Identifier: Apache-2.0
"""Rows of ``reservations``: one for each launch that was answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete as sql_delete
from sqlalchemy import exists

from gateway.store.schema import instances, reservations

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


class Reservation(NamedTuple):
    """One launch, with the client token that it came with (``client_tokens``)."""

    id: str
    account_id: str
    client_token: str | None
    created_at: datetime


def insert(db: Connection, reservation: Reservation) -> None:
    """Add a launch."""
    db.execute(reservations.insert(), reservation._asdict())


def delete_empty(db: Connection, created_before: datetime) -> None:
    """Remove old launches of which no instance is left."""
    used = exists().where(instances.c.reservation_id == reservations.c.id)
    db.execute(sql_delete(reservations).where(reservations.c.created_at < created_before, ~used))
