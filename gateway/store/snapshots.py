# SPDX-License-Identifier: Apache-2.0
"""Rows of ``gone_snapshots``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.store.schema import gone_snapshots

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


def insert(db: Connection, account_id: str, snapshot_id: str, gone_at: datetime) -> None:
    """Remember a snapshot that is gone."""
    values = {"id": snapshot_id, "account_id": account_id, "gone_at": gone_at}
    db.execute(gone_snapshots.insert(), values)


def take(db: Connection, account_id: str, snapshot_id: str) -> bool:
    """Forget a snapshot that is gone; return whether it is known and was the account's."""
    found = gone_snapshots.c.id == snapshot_id, gone_snapshots.c.account_id == account_id
    return db.execute(gone_snapshots.delete().where(*found)).rowcount > 0


def delete_before(db: Connection, time: datetime) -> None:
    """Forget the snapshots that went before."""
    db.execute(gone_snapshots.delete().where(gone_snapshots.c.gone_at < time))
