# SPDX-License-Identifier: Apache-2.0
"""Rows of ``nodes``: the machines that may use the node link."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select as sql_select

from gateway.store.schema import nodes

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


class Node(NamedTuple):
    """A node's credential: the SHA-256 (hex) of its token, never the token."""

    name: str
    token_sha256: str
    created_at: datetime
    revoked_at: datetime | None
    contacted_at: datetime | None = None
    """when it last asked for its commands"""


def insert(db: Connection, node: Node) -> None:
    """Add a node."""
    db.execute(nodes.insert(), node._asdict())


def get_by_token(db: Connection, token_sha256: str) -> Node | None:
    """Return the node with that token, revoked or not."""
    row = db.execute(sql_select(nodes).where(nodes.c.token_sha256 == token_sha256)).first()
    return None if row is None else Node._make(row)


def get(db: Connection, name: str) -> Node | None:
    """Return the node of that name."""
    row = db.execute(sql_select(nodes).where(nodes.c.name == name)).first()
    return None if row is None else Node._make(row)


def update_token(db: Connection, name: str, token_sha256: str) -> None:
    """Give a node another token; it is no longer revoked."""
    values = {"token_sha256": token_sha256, "revoked_at": None}
    db.execute(nodes.update().where(nodes.c.name == name).values(values))


def select_contacts(db: Connection) -> dict[str, datetime]:
    """Return when each node was heard last, by name; those never heard are left out."""
    query = sql_select(nodes.c.name, nodes.c.contacted_at).where(nodes.c.contacted_at.is_not(None))
    return {row.name: row.contacted_at for row in db.execute(query)}


def update_contacted(db: Connection, name: str, at: datetime) -> None:
    """Record when a node was last heard."""
    db.execute(nodes.update().where(nodes.c.name == name).values(contacted_at=at))


def update_revoked(db: Connection, name: str, at: datetime) -> None:
    """Record that a node's token is no longer accepted."""
    db.execute(nodes.update().where(nodes.c.name == name).values(revoked_at=at))
