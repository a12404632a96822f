# SPDX-License-Identifier: Apache-2.0
"""Rows of ``access_keys``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select as sql_select

from gateway.store.schema import access_keys

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


class AccessKey(NamedTuple):
    """What a client signs its requests with."""

    id: str
    secret: str
    account_id: str
    description: str
    created_at: datetime
    revoked_at: datetime | None


def insert(db: Connection, key: AccessKey) -> None:
    """Add an access key."""
    db.execute(access_keys.insert(), key._asdict())


def get(db: Connection, key_id: str) -> AccessKey | None:
    """Return the access key with that id, revoked or not."""
    row = db.execute(sql_select(access_keys).where(access_keys.c.id == key_id)).first()
    return None if row is None else AccessKey._make(row)


def select(db: Connection, account_id: str) -> list[AccessKey]:
    """Return an account's access keys, oldest first."""
    query = (
        sql_select(access_keys)
        .where(access_keys.c.account_id == account_id)
        .order_by(access_keys.c.created_at, access_keys.c.id)
    )
    return [AccessKey._make(row) for row in db.execute(query)]


def update_revoked(db: Connection, key_id: str, at: datetime) -> None:
    """Record that a key is no longer accepted."""
    db.execute(access_keys.update().where(access_keys.c.id == key_id).values(revoked_at=at))
