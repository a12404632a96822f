# SPDX-License-Identifier: Apache-2.0
"""Rows of ``quotas``: what an account may have where that differs from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select as sql_select

from gateway.store.schema import accounts, quotas

if TYPE_CHECKING:
    from sqlalchemy import Connection


def select(db: Connection, account_id: str, *, lock: bool = False) -> dict[str, int]:
    """Return an account's own quotas by kind.

    With ``lock`` whoever else asks so for the same account waits until this transaction has
    ended, so that what is counted stays true until something is added. (SQLite has one writer
    anyway and ignores it.)
    """
    query = (
        sql_select(quotas.c.kind, quotas.c.value)
        .select_from(accounts.outerjoin(quotas))
        .where(accounts.c.id == account_id)
    )
    if lock:
        query = query.with_for_update(of=accounts, key_share=True)
    return {kind: value for kind, value in db.execute(query) if kind is not None}


def put(db: Connection, account_id: str, kind: str, value: int) -> None:
    """Set an account's own quota of that kind."""
    delete(db, account_id, kind)
    db.execute(quotas.insert().values(account_id=account_id, kind=kind, value=value))


def delete(db: Connection, account_id: str, kind: str) -> None:
    """Take an account's own quota of that kind away."""
    db.execute(quotas.delete().where(quotas.c.account_id == account_id, quotas.c.kind == kind))
