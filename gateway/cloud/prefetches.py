# SPDX-License-Identifier: Apache-2.0
"""Warming the nodes' caches: which node shall have which image before anybody launches from it.

The nodes fetch; here it is only written down what is wanted of them and what they tell. A row is
told to its node until the node has told its end, and is done once however often it is told. A node
that is not heard of for :data:`KEPT` is given up; an end is remembered for as long.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from gateway.cloud.errors import NotFound, NotReady
from gateway.store import images, nodes, prefetches

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from gateway.store.images import Image
    from gateway.store.prefetches import Prefetch

TOLD = ("fetching", "cached", "failed")
KEPT = timedelta(days=1)


class Told(NamedTuple):
    """What a node tells: one of :data:`TOLD`, how many bytes have come, and why it failed."""

    state: str
    done: int
    message: str | None


Wanted = tuple["Prefetch", "Image"]


def request(db: Connection, image_id: str, names: Sequence[str], now: datetime) -> list[int]:
    """Want an image in the caches of these nodes; return a number for each.

    What a node is at already is not begun again; the patience with it begins anew. Raises
    :class:`NotFound`, :class:`NotReady`.
    """
    image = images.get(db, image_id)
    if image is None or not image.registered:
        raise NotFound("image", image_id)
    if image.state != "available":
        raise NotReady("image", image_id, image.state)
    forget(db, now)
    return [_request(db, image_id, name, now) for name in dict.fromkeys(names)]


def _request(db: Connection, image_id: str, name: str, now: datetime) -> int:
    node = nodes.get(db, name)
    if node is None or node.revoked_at is not None:
        raise NotFound("node", name)
    for one in prefetches.select_open(db, name):
        if one.image_id == image_id:
            prefetches.update(db, one.id, now)
            return one.id
    return prefetches.insert(db, name, image_id, now)


def forget(db: Connection, now: datetime) -> None:
    """Give up nodes that are away for long; forget what ended long ago.

    What waits for its turn on a node that is there is neither, however long it waits. For the
    reconciler, now and then: it does not hang on whether anybody wants another image.
    """
    give_up(db, prefetches.select_open_before(db, now - KEPT), KEPT.total_seconds(), now)
    prefetches.delete_ended_before(db, now - KEPT)


def wanted(db: Connection, node: str, under_way: Sequence[int] | None) -> list[Wanted]:
    """Return what a node shall fetch beside what it has under way; None: it cannot."""
    if under_way is None:
        return []
    news = [one for one in prefetches.select_open(db, node) if one.id not in set(under_way)]
    found = [(one, images.get(db, one.image_id)) for one in news]
    return [(one, image) for one, image in found if image is not None and image.sha256]


def not_taken(db: Connection, node: str, numbers: Sequence[int]) -> list[int]:
    """Return those of a node's numbers that it was not known to have heard of."""
    found = prefetches.select_open(db, node)
    return [one.id for one in found if one.state == "wanted" and one.id in set(numbers)]


def take(db: Connection, numbers: Sequence[int], now: datetime) -> None:
    """Write down that the nodes have heard of these."""
    for one in prefetches.select(db, numbers):
        if one.state == "wanted":
            prefetches.update(db, one.id, now, state="taken")


def tell(db: Connection, number: int, node: str, told: Told, now: datetime) -> bool:
    """Write down what a node tells; False for what it was not asked for or has ended."""
    found = [one for one in prefetches.select(db, [number]) if one.node == node]
    if not found or found[0].state in prefetches.ENDED:
        return False
    prefetches.update(db, number, now, **told._asdict())
    return True


def silent(db: Connection, numbers: Sequence[int], patience: float, now: datetime) -> list[int]:
    """Return those of which nothing was heard for so many seconds."""
    heard = nodes.select_contacts(db)

    def latest(one: Prefetch) -> datetime:
        # A node that has taken it and asks for commands is at work, if only at another image.
        known = one.state != "wanted"
        return max(one.told_at, heard.get(one.node, one.told_at)) if known else one.told_at

    still = [one for one in prefetches.select(db, numbers) if one.state not in prefetches.ENDED]
    return [one.id for one in still if (now - latest(one)).total_seconds() > patience]


def give_up(db: Connection, numbers: Sequence[int], patience: float, now: datetime) -> None:
    """End those whose nodes have said nothing for so many seconds."""
    message = f"The node has said nothing for {patience:g} seconds."
    for number in silent(db, numbers, patience, now):
        prefetches.update(db, number, now, state="failed", message=message)
