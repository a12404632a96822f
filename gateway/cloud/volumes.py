# SPDX-License-Identifier: Apache-2.0
"""Volumes: each instance's root disk by itself, as other clouds have it.

There is nothing to write down: an instance has one disk, from its launch until it is terminated,
and the volume's id follows from the instance's. There are no others, and none can be made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cloud import ids
from gateway.cloud.errors import NotFound, unknown
from gateway.store import instances, tags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from gateway.store.instances import Instance

KIND = "volume"


def volume_id(instance_id: str) -> str:
    """Return the id of an instance's volume."""
    return ids.sibling(KIND, instance_id)


def instance_id(volume_id: str) -> str:
    """Return the id of the instance whose volume has that id."""
    return ids.sibling("instance", volume_id)


def find(db: Connection, account_id: str, volume_ids: Sequence[str]) -> list[Instance]:
    """Return the instances that have the named volumes, in the order of description.

    Raises :class:`Malformed`, and :class:`NotFound` naming those that the account does not have.
    """
    ids.check(KIND, volume_ids)
    named = dict.fromkeys(instance_id(one) for one in volume_ids)
    found = [one for one in instances.select_ids(db, account_id, named) if has_one(one)]
    if missing := unknown(volume_ids, [volume_id(one.id) for one in found]):
        raise NotFound(KIND, *missing)
    return found


def has_one(instance: Instance) -> bool:
    """Return whether an instance has its volume still."""
    return instance.state != "terminated"


def attachment(instance: Instance) -> str:
    """Return how far the volume of an instance that has one is attached, in EC2's words.

    A disk is made by the node that starts the instance first.
    """
    if instance.state == "shutting-down":
        return "detaching"
    if instance.state == "pending" and not instance.has_kept_disk:
        return "attaching"
    return "attached"


def forget(db: Connection, instance_id: str) -> None:
    """Remove what is written down of a volume that is gone: its tags."""
    tags.delete(db, [volume_id(instance_id)])
