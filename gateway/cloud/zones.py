# SPDX-License-Identifier: Apache-2.0
"""Availability zones: which there are, from what the pool's nodes tell of themselves.

A node names its zone in its machine ad (``CondorCloudZone``); one that names none is in the
setting's. The reconciler writes the nodes down, and every front end reads the zones from there. A
zone that no node names any more stays for the accounts whose instances are described in it.
"""

from __future__ import annotations

import re
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from gateway.cloud.errors import NotFound
from gateway.store import cursors, instance_zones, machines
from gateway.store.machines import Machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

KEPT = timedelta(days=30)
"""A node that has gone is remembered for so long, and its zone with it."""

REFRESHED = timedelta(hours=1)
"""When a node that is still there is written down anew."""

LOOKED = "nodes-looked-at"

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")


class Zone(NamedTuple):
    """A zone and how many nodes of it take instances; None where nobody has looked yet."""

    name: str
    nodes: int | None
    left: bool = False
    """whether no node names it any more, and it is there for instances that are described in it"""

    @property
    def available(self) -> bool:
        """Whether anything can be launched in it, as far as is known."""
        return self.nodes != 0


def of_node(told: object, default: str) -> str | None:
    """Return the zone of a node that says this of itself; None for what is not a zone's name."""
    if told is None or told == "":
        return default
    return told if isinstance(told, str) and _NAME.fullmatch(told) else None


def known(db: Connection, default: str, account_id: str | None = None) -> list[Zone]:
    """Return the zones by name; ``default`` is one whether or not it has nodes.

    With an account, also those in which only its instances are.
    """
    looked = cursors.get(db, LOOKED) is not None
    found: dict[str, int | None] = {default: 0 if looked else None}
    for machine in machines.select(db):
        if machine.zone is not None:
            found[machine.zone] = (found.get(machine.zone) or 0) + machine.up
    of_instances = instance_zones.select(db, account_id) if account_id is not None else []
    left = [Zone(name, 0, left=True) for name in of_instances if name not in found]
    return sorted([*(Zone(name, nodes) for name, nodes in found.items()), *left])


def check(zones: Sequence[Zone], name: str) -> None:
    """Raise :class:`NotFound` for a zone that there is not."""
    if name not in {zone.name for zone in zones}:
        raise NotFound("zone", name)


def choose(zones: Sequence[Zone], default: str) -> str:
    """Return where a launch that names no zone is expected to run: a zone, by its nodes."""
    nodes = [zone.name for zone in zones for _ in range(zone.nodes or 0)]
    return secrets.choice(nodes) if nodes else default


def record(db: Connection, found: Iterable[Machine], now: datetime) -> None:
    """Write down the nodes that the pool has now; those that it had are no longer up."""
    before = {machine.name: machine for machine in machines.select(db)}
    present = {machine.name: machine for machine in found}
    gone = [
        Machine(one.name, one.host, one.zone, one.seen_at, up=False)
        for name, one in before.items()
        if name not in present
    ]
    for machine in [*present.values(), *gone]:
        old = before.get(machine.name)
        same = old is not None and old._replace(seen_at=machine.seen_at) == machine
        if old is None or not same or machine.seen_at - old.seen_at > REFRESHED:
            machines.put(db, machine)
    machines.delete(db, [one.name for one in gone if now - one.seen_at > KEPT])
    if cursors.get(db, LOOKED) is None:
        cursors.put(db, LOOKED, "true")
