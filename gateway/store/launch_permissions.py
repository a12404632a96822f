# SPDX-License-Identifier: Apache-2.0
"""Rows of ``launch_permissions``: which account may launch another account's image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select as sql_select

from gateway.store.schema import launch_permissions

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection


def select(db: Connection, image_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the accounts that are named for each of the images that have any, in order."""
    own = launch_permissions.c
    query = (
        sql_select(own.image_id, own.account_id)
        .where(own.image_id.in_(image_ids))
        .order_by(own.image_id, own.account_id)
    )
    found: dict[str, list[str]] = {}
    for image_id, account_id in db.execute(query):
        found.setdefault(image_id, []).append(account_id)
    return found


def insert(db: Connection, image_id: str, account_ids: Collection[str]) -> None:
    """Name further accounts, none of which is named yet."""
    if account_ids:
        rows = [{"image_id": image_id, "account_id": one} for one in sorted(account_ids)]
        db.execute(launch_permissions.insert(), rows)


def delete(db: Connection, image_id: str, account_ids: Collection[str] | None = None) -> None:
    """Take these accounts' permission back, or everybody's."""
    statement = launch_permissions.delete().where(launch_permissions.c.image_id == image_id)
    if account_ids is not None:
        statement = statement.where(launch_permissions.c.account_id.in_(sorted(account_ids)))
    db.execute(statement)
