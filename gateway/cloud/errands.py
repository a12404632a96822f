# SPDX-License-Identifier: Apache-2.0
"""Errands: what a node shall do with the disks of stopped instances, which nobody guards.

A node's listener hears of them as it waits for commands, and of each until it is done: a node that
was killed in the middle begins anew. How they go is told under their numbers.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from gateway.cloud import captures
from gateway.store import captures as rows
from gateway.store import images, instances, parkings

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from gateway.store.images import Image

CAPTURE = "capture"
"""Copy the disk with what it stands on into a file of its own, and send that."""

PARK = "park"
"""Send the disk without what it stands on, for the store."""

REMOVE = "remove"
"""Remove the disk, which the store has."""

NOTED = timedelta(minutes=1)
"""How old the time may be at which a node said that it has an errand; writing it costs more."""


class Errand(NamedTuple):
    """What a node shall do with an instance's disk, which stands on ``image``."""

    number: int
    kind: str
    instance_id: str
    image: Image


def wanted(db: Connection, node: str, under_way: Collection[int]) -> list[Errand]:
    """Return what a node shall do beside what it has under way."""
    found = []
    for capture, instance in captures.wanted(db, node):
        image = images.get(db, instance.image_id)
        if capture.command_id not in under_way and image is not None and image.sha256:
            found.append(Errand(capture.command_id, CAPTURE, instance.id, image))
    for parking in parkings.select_of_node(db, node):
        if parking.number in under_way:
            continue
        of = instances.get(db, parking.instance_id)
        image = None if of is None else images.get(db, of.image_id)
        if image is not None and image.sha256:
            kind = PARK if parking.state == parkings.WANTED else REMOVE
            found.append(Errand(parking.number, kind, parking.instance_id, image))
    return sorted(found, key=lambda errand: errand.number)


def unnoted(db: Connection, node: str, under_way: Sequence[int], now: datetime) -> list[int]:
    """Return those of a node's numbers of which it was last heard too long ago."""
    known = {one.command_id: one.heard_at for one in rows.select_stopped(db, node)}
    return [one for one in under_way if one in known and now - known[one] > NOTED]


def note(db: Connection, numbers: Sequence[int], now: datetime) -> None:
    """Write down that a node has these under way, be it that they wait for a place."""
    for number in numbers:
        rows.update_heard(db, number, None, now)


def newest(db: Connection) -> int:
    """Return the highest number; 0 where there is none."""
    return max(rows.newest_stopped(db), parkings.newest(db))
