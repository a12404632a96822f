# SPDX-License-Identifier: Apache-2.0
"""Rows of ``accounts``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select as sql_select

from gateway.store.schema import accounts

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


class Account(NamedTuple):
    """A tenant; ``id`` is twelve digits."""

    id: str
    name: str
    created_at: datetime


def insert(db: Connection, account: Account) -> None:
    """Add an account."""
    db.execute(accounts.insert(), account._asdict())


def get_by_name(db: Connection, name: str) -> Account | None:
    """Return the account of that name."""
    row = db.execute(sql_select(accounts).where(accounts.c.name == name)).first()
    return None if row is None else Account._make(row)


def get(db: Connection, account_id: str) -> Account | None:
    """Return the account with that id."""
    row = db.execute(sql_select(accounts).where(accounts.c.id == account_id)).first()
    return None if row is None else Account._make(row)


def select(db: Connection) -> list[Account]:
    """Return every account, oldest first."""
    query = sql_select(accounts).order_by(accounts.c.created_at, accounts.c.id)
    return [Account._make(row) for row in db.execute(query)]
