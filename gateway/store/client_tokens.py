# SPDX-License-Identifier: Apache-2.0
"""Rows of ``client_tokens``: one for each request that made something and came with a token."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete as sql_delete
from sqlalchemy import select as sql_select
from sqlalchemy import union_all
from sqlalchemy.exc import IntegrityError

from gateway.store.schema import (
    client_tokens,
    images,
    import_tasks,
    reservations,
    spot_requests,
)

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

_DESCRIBED = union_all(
    sql_select(reservations.c.id),
    sql_select(import_tasks.c.id),
    sql_select(images.c.id).where(images.c.registered),
    sql_select(spot_requests.c.id),
)
"""The ids of everything that a token may have made and that is described."""


class Taken(NamedTuple):
    """A token that made ``resource_id``, which may be gone."""

    account_id: str
    kind: str
    token: str
    request_hash: str
    resource_id: str
    created_at: datetime


def insert(db: Connection, taken: Taken) -> bool:
    """Keep a token; return False where the account has it already for that kind.

    A transaction of another gateway that has inserted it is waited for.
    """
    try:
        with db.begin_nested():
            db.execute(client_tokens.insert(), taken._asdict())
    except IntegrityError:
        return False
    return True


def get(db: Connection, account_id: str, kind: str, token: str) -> Taken:
    """Return a token that is there."""
    own = client_tokens.c
    query = sql_select(client_tokens).where(
        own.account_id == account_id, own.kind == kind, own.token == token
    )
    return Taken._make(db.execute(query).one())


def delete_undescribed(db: Connection, created_before: datetime) -> None:
    """Remove the old tokens whose resources are not described any more."""
    old = client_tokens.c.created_at < created_before
    db.execute(sql_delete(client_tokens).where(old, client_tokens.c.resource_id.not_in(_DESCRIBED)))
