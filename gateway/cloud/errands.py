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
from gateway.store import images

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from gateway.store.images import Image

CAPTURE = "capture"
"""Copy the disk with what it stands on into a file of its own, and send that."""

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
    return found


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
    return rows.newest_stopped(db)
