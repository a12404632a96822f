# SPDX-License-Identifier: Apache-2.0
"""The availability zones in ``instances``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func
from sqlalchemy import select as sql_select

from gateway.store.schema import instances

if TYPE_CHECKING:
    from sqlalchemy import Connection


def select(db: Connection, account_id: str) -> list[str]:
    """Return the zones of an account's instances by name, terminated ones' too until forgotten."""
    # From one to the next in the index: there are few zones, and may be thousands of instances.
    zone = instances.c.availability_zone
    least = sql_select(func.min(zone)).where(instances.c.account_id == account_id)
    found: list[str] = []
    name = db.execute(least).scalar()
    while name is not None:
        found.append(name)
        name = db.execute(least.where(zone > name)).scalar()
    return found
