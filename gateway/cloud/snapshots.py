# SPDX-License-Identifier: Apache-2.0
"""Snapshots: each image's disk by itself, as other clouds have it.

Nothing is written down of one that is there: an image has one disk, from its registration until it
is deregistered, and the snapshot's id follows from the image's. There are no others, and none can
be made. Which ones are gone is remembered for a while.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.cloud import ids, volumes
from gateway.cloud.errors import InUse, NotFound, unknown
from gateway.store import images, tags
from gateway.store import snapshots as rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from gateway.store.images import Image

KIND = "snapshot"
KEPT = timedelta(days=1)
STATES = {"pending": "pending", "available": "completed", "failed": "error"}
"""A snapshot's state by its image's."""

NO_VOLUME = "vol-ffffffff"
"""EC2's volume of what was made of no volume: a copy, an import."""


def snapshot_id(image_id: str) -> str:
    """Return the id of an image's snapshot."""
    return ids.sibling(KIND, image_id)


def find(db: Connection, account_id: str, snapshot_ids: Sequence[str] | None = None) -> list[Image]:
    """Return the account's images, or those that have the named snapshots, oldest first.

    Raises :class:`Malformed`, and :class:`NotFound` naming those that the account does not have.
    """
    named = None
    if snapshot_ids is not None:
        ids.check(KIND, snapshot_ids)
        named = [ids.sibling("image", one) for one in snapshot_ids]
    visible = images.select_visible(db, account_id, named)
    found = [image for image in visible if image.account_id == account_id]
    if missing := unknown(snapshot_ids or (), [snapshot_id(image.id) for image in found]):
        raise NotFound(KIND, *missing)
    return found


def delete(db: Connection, account_id: str, text: str, now: datetime) -> None:
    """Accept, once and for :data:`KEPT`, that a snapshot goes that went with its image.

    Those who deregister an image in EC2 delete what it leaves behind there.
    Raises :class:`Malformed`, :class:`InUse` while the image is registered, and :class:`NotFound`.
    """
    ids.check(KIND, [text])
    rows.delete_before(db, now - KEPT)
    image = images.get(db, ids.sibling("image", text))
    if image is not None and image.account_id == account_id and image.registered:
        raise InUse(KIND, text, image.id)
    if not rows.take(db, account_id, text):
        raise NotFound(KIND, text)


def gone(db: Connection, account_id: str, image_id: str, now: datetime) -> None:
    """Remember for :data:`KEPT` that an image's snapshot went with it."""
    rows.delete_before(db, now - KEPT)
    rows.insert(db, account_id, snapshot_id(image_id), now)


def volume(image: Image) -> str:
    """Return the id of the volume of which a snapshot was made, which may be gone."""
    if image.source_instance_id is None:
        return NO_VOLUME
    return volumes.volume_id(image.source_instance_id)


def description(image: Image) -> str:
    """Return what a snapshot is called, in EC2's words where there are some."""
    if image.source_instance_id is not None:
        return f"Created by CreateImage({image.source_instance_id}) for {image.id}"
    if image.source_image_id is not None:
        return f"Copied for DestinationAmi {image.id} from SourceAmi {image.source_image_id}"
    return f"The disk of {image.id}"


def tag(db: Connection, image: Image, given: Mapping[str, str]) -> None:
    """Give tags to the snapshot of a new image."""
    tags.insert(db, image.account_id, [snapshot_id(image.id)], given)


def forget(db: Connection, image_id: str) -> None:
    """Remove what is written down of a snapshot that goes: its tags."""
    tags.delete(db, [snapshot_id(image_id)])
