# SPDX-License-Identifier: Apache-2.0
"""Rows of ``images``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete as sql_delete
from sqlalchemy import exists, func, or_
from sqlalchemy import select as sql_select

from gateway.store.schema import captures, images, instances, launch_permissions

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection


class Image(NamedTuple):
    """A disk image. The store's facts (``sha256`` to ``format``) are None until it is taken in.

    ``disk_bytes`` is the size that was asked for its disk, None for the image's own. ``boot_mode``
    is what was said of how it boots; see :mod:`gateway.cloud.boot_modes`.
    """

    id: str
    account_id: str
    name: str
    description: str
    state: str
    state_reason: str | None
    architecture: str
    location: str
    sha256: str | None
    size: int | None
    virtual_size: int | None
    format: str | None
    created_at: datetime
    public: bool
    registered: bool
    root_device_name: str
    disk_bytes: int | None
    deprecated_at: datetime | None
    source_image_id: str | None
    boot_mode: str | None = None
    source_instance_id: str | None = None

    def disk_size(self) -> int | None:
        """Return the bytes of the disk that a launch makes unless it asks for more."""
        if self.virtual_size is None:
            return self.disk_bytes
        return max(self.disk_bytes or 0, self.virtual_size)


class Content(NamedTuple):
    """What the image store took in; sizes are bytes."""

    sha256: str
    size: int
    virtual_size: int
    format: str


def insert(db: Connection, image: Image) -> None:
    """Add an image."""
    db.execute(images.insert(), image._asdict())


def get(db: Connection, image_id: str) -> Image | None:
    """Return the image with that id, whoever owns it and registered or not."""
    row = db.execute(sql_select(images).where(images.c.id == image_id)).first()
    return None if row is None else Image._make(row)


def get_by_name(db: Connection, account_id: str, name: str) -> Image | None:
    """Return an account's registered image of that name."""
    query = sql_select(images).where(
        images.c.account_id == account_id, images.c.name == name, images.c.registered
    )
    row = db.execute(query).first()
    return None if row is None else Image._make(row)


def get_by_sha256(db: Connection, sha256: str) -> Image | None:
    """Return some image with that content, registered or still used by an instance."""
    row = db.execute(sql_select(images).where(images.c.sha256 == sha256).limit(1)).first()
    return None if row is None else Image._make(row)


def count(db: Connection, account_id: str) -> int:
    """Return how many registered images an account has."""
    query = sql_select(func.count()).where(images.c.account_id == account_id, images.c.registered)
    return db.execute(query).scalar_one()


def sum_sizes(db: Connection, account_id: str) -> int:
    """Return the bytes in the store of an account's images, registered or still needed."""
    query = sql_select(func.coalesce(func.sum(images.c.size), 0))
    mine = query.where(images.c.account_id == account_id, needed())
    return int(db.execute(mine).scalar_one())


def select_visible(
    db: Connection, account_id: str, ids: Iterable[str] | None = None
) -> list[Image]:
    """Return the registered images an account may use, oldest first.

    They are its own, the public ones, and those that their owners let it launch.
    """
    permitted = exists().where(
        launch_permissions.c.image_id == images.c.id,
        launch_permissions.c.account_id == account_id,
    )
    query = sql_select(images).where(
        images.c.registered, or_(images.c.account_id == account_id, images.c.public, permitted)
    )
    if ids is not None:
        query = query.where(images.c.id.in_(list(ids)))
    query = query.order_by(images.c.created_at, images.c.id)
    return [Image._make(row) for row in db.execute(query)]


def select_pending(db: Connection) -> list[Image]:
    """Return the registered images that wait for the importer, oldest first.

    Not those that their nodes have not sent yet.
    """
    coming = exists().where(captures.c.image_id == images.c.id, captures.c.sha256.is_(None))
    query = (
        sql_select(images)
        .where(images.c.state == "pending", images.c.registered, ~coming)
        .order_by(images.c.created_at, images.c.id)
    )
    return [Image._make(row) for row in db.execute(query)]


def select_contents(db: Connection) -> set[str]:
    """Return the SHA-256 of every image that is registered or still needed."""
    query = sql_select(images.c.sha256).where(images.c.sha256.is_not(None), needed()).distinct()
    return set(db.execute(query).scalars())


def update_available(
    db: Connection, image_id: str, content: Content, note: str | None = None
) -> None:
    """Record what the store took in, and a sentence about it."""
    values = {"state": "available", "state_reason": note, **content._asdict()}
    db.execute(images.update().where(images.c.id == image_id).values(values))


def update_failed(db: Connection, image_id: str, reason: str) -> None:
    """Record why an image could not be taken in."""
    values = {"state": "failed", "state_reason": reason}
    db.execute(images.update().where(images.c.id == image_id).values(values))


def update_public(db: Connection, image_id: str, public: bool) -> None:
    """Let every account launch an image, or no longer."""
    db.execute(images.update().where(images.c.id == image_id).values(public=public))


def update_description(db: Connection, image_id: str, description: str) -> None:
    """Change what its owner says of an image."""
    db.execute(images.update().where(images.c.id == image_id).values(description=description))


def update_deprecated(db: Connection, image_id: str, at: datetime | None) -> None:
    """Record from when on an image is out of date; None for never."""
    db.execute(images.update().where(images.c.id == image_id).values(deprecated_at=at))


def update_deregistered(db: Connection, image_id: str) -> None:
    """Take an image out of every account's sight."""
    db.execute(images.update().where(images.c.id == image_id).values(registered=False))


def delete_unused(db: Connection) -> None:
    """Remove the deregistered images that no instance names, and nothing else needs any more."""
    named = exists().where(instances.c.image_id == images.c.id)
    db.execute(sql_delete(images).where(~named, ~needed()))


def needed() -> ColumnElement[bool]:
    """Return what is true for an image that is registered or stood on: by a disk, its bytes.

    The disk of a terminated instance is gone, though it names its image for as long as it is
    described. One that the store has may become an image after its instance.
    """
    made = images.alias()
    return or_(
        images.c.registered,
        exists().where(instances.c.image_id == images.c.id, instances.c.state != "terminated"),
        exists().where(
            captures.c.disk_bytes.is_not(None),
            captures.c.image_id == made.c.id,
            made.c.source_image_id == images.c.id,
        ),
    )
