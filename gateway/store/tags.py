# SPDX-License-Identifier: Apache-2.0
"""Rows of ``tags``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import or_, tuple_
from sqlalchemy import select as sql_select

from gateway.store.schema import instances, tags

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

Tags = dict[str, str]


class Tag(NamedTuple):
    """One tag of one resource."""

    resource_id: str
    key: str
    value: str


def insert(
    db: Connection, account_id: str, resource_ids: Sequence[str], values: Mapping[str, str]
) -> None:
    """Give each of the new resources all of the tags."""
    rows = [
        {"account_id": account_id, "resource_id": resource_id, "key": key, "value": value}
        for resource_id in resource_ids
        for key, value in values.items()
    ]
    if rows:
        db.execute(tags.insert(), rows)


def select(db: Connection, resource_ids: Sequence[str]) -> dict[str, Tags]:
    """Return the tags of the resources that have any."""
    query = (
        sql_select(tags.c.resource_id, tags.c.key, tags.c.value)
        .where(tags.c.resource_id.in_(resource_ids))
        .order_by(tags.c.resource_id, tags.c.key)
    )
    found: dict[str, Tags] = {}
    for resource_id, key, value in db.execute(query):
        found.setdefault(resource_id, {})[key] = value
    return found


def select_described(
    db: Connection,
    account_id: str,
    *,
    terminated_after: datetime,
    after: tuple[str, str] | None = None,
    among: Sequence[str] | None = None,
) -> Iterator[Tag]:
    """Yield an account's tags by resource id and key.

    Those of instances that were terminated before ``terminated_after`` are left out, and with
    ``after`` all up to that resource id and key; with ``among`` those of all other resources.
    """
    query = (
        sql_select(tags.c.resource_id, tags.c.key, tags.c.value)
        .select_from(tags.outerjoin(instances, instances.c.id == tags.c.resource_id))
        .where(
            tags.c.account_id == account_id,
            or_(
                instances.c.id.is_(None),
                instances.c.state != "terminated",
                instances.c.state_changed_at > terminated_after,
            ),
        )
        .order_by(tags.c.resource_id, tags.c.key)
    )
    if among is not None:
        query = query.where(tags.c.resource_id.in_(among))
    if after is not None:
        query = query.where(tuple_(tags.c.resource_id, tags.c.key) > after)
    for row in db.execution_options(yield_per=1000).execute(query):
        yield Tag._make(row)


def put(
    db: Connection, account_id: str, resource_ids: Sequence[str], values: Mapping[str, str]
) -> None:
    """Give each of the resources all of the tags, in the place of those with the same keys."""
    db.execute(
        tags.delete().where(tags.c.resource_id.in_(resource_ids), tags.c.key.in_(list(values)))
    )
    insert(db, account_id, resource_ids, values)


def delete_key(
    db: Connection, resource_ids: Sequence[str], key: str, value: str | None = None
) -> None:
    """Remove the tag with that key from the resources; with ``value`` only where it has it."""
    statement = tags.delete().where(tags.c.resource_id.in_(resource_ids), tags.c.key == key)
    if value is not None:
        statement = statement.where(tags.c.value == value)
    db.execute(statement)


def delete(db: Connection, resource_ids: Sequence[str]) -> None:
    """Remove all tags of the resources."""
    db.execute(tags.delete().where(tags.c.resource_id.in_(resource_ids)))
