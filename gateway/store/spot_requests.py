# SPDX-License-Identifier: Apache-2.0
"""Rows of ``spot_requests``: each asks for one instance that makes room when it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import or_
from sqlalchemy import select as sql_select

from gateway.store.schema import instances, spot_requests

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Select

ENDED = ("closed", "cancelled", "failed")
"""States of requests that launch nothing any more."""


class SpotRequest(NamedTuple):
    """One request. ``launch`` is what it launches, as ``gateway.cloud.spot_launch`` writes it.

    ``type`` is one-time or persistent, ``interruption_behavior`` terminate or stop, ``state`` one
    of EC2's. ``instance_id`` is the latest instance, ``interrupt_at`` when that one shall go.
    """

    id: str
    account_id: str
    created_at: datetime
    made_with: str
    number: int
    type: str
    interruption_behavior: str
    max_price: str | None
    valid_from: datetime | None
    valid_until: datetime | None
    waits: bool
    launch: str
    state: str
    status_code: str
    status_at: datetime
    instance_id: str | None
    interrupt_at: datetime | None


_RUNNING = ("fulfilled", "request-canceled-and-instance-running")
_ORDER = (spot_requests.c.created_at, spot_requests.c.id)


def insert(db: Connection, requests: Sequence[SpotRequest]) -> None:
    """Add requests."""
    db.execute(spot_requests.insert(), [request._asdict() for request in requests])


def get(db: Connection, request_id: str) -> SpotRequest | None:
    """Return the request with that id, whoever owns it."""
    found = _all(db, sql_select(spot_requests).where(spot_requests.c.id == request_id))
    return found[0] if found else None


def select_made_with(db: Connection, request_id: str) -> list[SpotRequest]:
    """Return the requests that were made together with that first one, in their order."""
    query = sql_select(spot_requests).where(spot_requests.c.made_with == request_id)
    return _all(db, query.order_by(spot_requests.c.number))


def select(db: Connection, account_id: str, ids: Iterable[str] | None = None) -> list[SpotRequest]:
    """Return an account's requests, or those of them that are named, oldest first."""
    query = sql_select(spot_requests).where(spot_requests.c.account_id == account_id)
    if ids is not None:
        query = query.where(spot_requests.c.id.in_(list(ids)))
    return _all(db, query.order_by(*_ORDER))


def select_state(db: Connection, *states: str) -> list[SpotRequest]:
    """Return every account's requests in these states, oldest first."""
    query = sql_select(spot_requests).where(spot_requests.c.state.in_(states))
    return _all(db, query.order_by(*_ORDER))


def select_followed(db: Connection) -> list[SpotRequest]:
    """Return the requests of whose instances something may yet be told.

    Not those that say of one that runs that it does: they are nearly all.
    """
    query = (
        sql_select(spot_requests)
        .join(instances, instances.c.id == spot_requests.c.instance_id)
        .where(
            spot_requests.c.state.in_(("active", "disabled", "cancelled")),
            spot_requests.c.status_code.not_like("instance-terminated-%"),
            or_(
                spot_requests.c.status_code.not_in(_RUNNING),
                instances.c.state.not_in(("pending", "running")),
            ),
        )
    )
    return _all(db, query.order_by(*_ORDER))


def select_due(db: Connection, now: datetime) -> list[SpotRequest]:
    """Return the requests whose instances are to be interrupted by now."""
    query = sql_select(spot_requests).where(spot_requests.c.interrupt_at <= now)
    return _all(db, query.order_by(*_ORDER))


def select_marked(db: Connection) -> set[str]:
    """Return the instances that have had their notice and are still to be interrupted."""
    query = sql_select(spot_requests.c.instance_id).where(spot_requests.c.interrupt_at.is_not(None))
    return {name for (name,) in db.execute(query)}


def select_ended_before(db: Connection, before: datetime) -> list[str]:
    """Return the ids of the requests that ended before then and whose instances are forgotten."""
    query = (
        sql_select(spot_requests.c.id)
        .outerjoin(instances, instances.c.id == spot_requests.c.instance_id)
        .where(
            spot_requests.c.state.in_(ENDED),
            spot_requests.c.status_at < before,
            instances.c.id.is_(None),
        )
    )
    return list(db.execute(query).scalars())


def update(db: Connection, request_id: str, **values: Any) -> None:
    """Change a request, by column."""
    statement = spot_requests.update().where(spot_requests.c.id == request_id)
    db.execute(statement.values(values))


def delete(db: Connection, ids: Sequence[str]) -> None:
    """Remove requests; their tags must be gone."""
    db.execute(spot_requests.delete().where(spot_requests.c.id.in_(ids)))


def _all(db: Connection, query: Select[Any]) -> list[SpotRequest]:
    return [SpotRequest._make(row) for row in db.execute(query)]
