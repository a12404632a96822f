# SPDX-License-Identifier: Apache-2.0
"""Rows of ``key_pairs``: public keys only."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import func
from sqlalchemy import select as sql_select

from gateway.store.schema import key_pairs

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


class KeyPair(NamedTuple):
    """An SSH public key under a name; ``public_key`` is one OpenSSH line without a comment."""

    id: str
    account_id: str
    name: str
    key_type: str
    fingerprint: str
    public_key: str
    created_at: datetime


def insert(db: Connection, pair: KeyPair) -> None:
    """Add a key pair."""
    db.execute(key_pairs.insert(), pair._asdict())


def get(db: Connection, account_id: str, name: str) -> KeyPair | None:
    """Return an account's key pair of that name."""
    query = sql_select(key_pairs).where(
        key_pairs.c.account_id == account_id, key_pairs.c.name == name
    )
    row = db.execute(query).first()
    return None if row is None else KeyPair._make(row)


def get_by_id(db: Connection, account_id: str, pair_id: str) -> KeyPair | None:
    """Return an account's key pair with that id."""
    query = sql_select(key_pairs).where(
        key_pairs.c.account_id == account_id, key_pairs.c.id == pair_id
    )
    row = db.execute(query).first()
    return None if row is None else KeyPair._make(row)


def select(db: Connection, account_id: str) -> list[KeyPair]:
    """Return an account's key pairs by name."""
    query = (
        sql_select(key_pairs).where(key_pairs.c.account_id == account_id).order_by(key_pairs.c.name)
    )
    return [KeyPair._make(row) for row in db.execute(query)]


def count(db: Connection, account_id: str) -> int:
    """Return how many key pairs an account has."""
    query = sql_select(func.count()).where(key_pairs.c.account_id == account_id)
    return db.execute(query).scalar_one()


def delete(db: Connection, pair_id: str) -> None:
    """Remove a key pair."""
    db.execute(key_pairs.delete().where(key_pairs.c.id == pair_id))
