# SPDX-License-Identifier: Apache-2.0
"""What is reckoned from ``instances`` without reading the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import case, func
from sqlalchemy import select as sql_select

from gateway.store.schema import instances

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


def count(db: Connection, account_id: str) -> tuple[int, int]:
    """Return how many instances an account has, and the vCPUs of those that take any.

    All that are not terminated are counted; those that are pending or running take vCPUs.
    """
    vcpus = case((instances.c.state.in_(("pending", "running")), instances.c.vcpus), else_=0)
    query = sql_select(func.count(), func.coalesce(func.sum(vcpus), 0)).where(
        instances.c.account_id == account_id, instances.c.state != "terminated"
    )
    has, has_vcpus = db.execute(query).one()
    return has, has_vcpus


def count_addresses(db: Connection) -> int:
    """Return how many addresses all accounts' instances have together."""
    query = sql_select(func.count(instances.c.private_ip.distinct())).where(
        instances.c.state != "terminated"
    )
    return db.execute(query).scalar_one()


def last_launch(db: Connection, image_id: str) -> datetime | None:
    """Return when an image was launched last, of the launches that are still known."""
    query = sql_select(func.max(instances.c.launched_at)).where(instances.c.image_id == image_id)
    found: datetime | None = db.execute(query).scalar_one()
    return found
