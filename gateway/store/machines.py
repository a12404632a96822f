# SPDX-License-Identifier: Apache-2.0
"""Rows of ``machines``: the pool's nodes as the reconciler saw them last."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select as sql_select

from gateway.store.schema import machines

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy import Connection


class Machine(NamedTuple):
    """A node: its name in the pool, what it calls itself, its zone, whether it is being drained."""

    name: str
    host: str | None
    zone: str | None
    seen_at: datetime
    up: bool = True
    """whether it takes instances now"""
    drained_since: datetime | None = None
    drained_by: datetime | None = None
    """when its guests will be ended, if that is known"""
    drain_reason: str | None = None


def select(db: Connection) -> list[Machine]:
    """Return all machines by name."""
    columns = [machines.c[name] for name in Machine._fields]
    rows = db.execute(sql_select(*columns).order_by(machines.c.name))
    return [Machine._make(row) for row in rows]


def put(db: Connection, machine: Machine) -> None:
    """Add a machine, or record what has become of it."""
    values = machine._asdict()
    statement = machines.update().where(machines.c.name == machine.name).values(values)
    if db.execute(statement).rowcount == 0:
        db.execute(machines.insert(), values)


def delete(db: Connection, names: Iterable[str]) -> None:
    """Forget machines."""
    for name in names:
        db.execute(machines.delete().where(machines.c.name == name))
