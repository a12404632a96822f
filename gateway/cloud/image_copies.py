# SPDX-License-Identifier: Apache-2.0
"""Copies of images: another row over the same bytes, which are stored once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.cloud import ids, quotas, snapshots, tokens
from gateway.cloud import images as rules
from gateway.cloud.errors import NotReady
from gateway.store import images, tags

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection

    from gateway.cloud.tokens import ClientToken


class Copy(NamedTuple):
    """What is asked for."""

    source_id: str
    name: str
    description: str
    tags: Mapping[str, str]
    snapshot_tags: Mapping[str, str]
    with_tags: bool
    token: ClientToken | None


def copy(
    db: Connection,
    account_id: str,
    asked: Copy,
    now: datetime,
    limits: Mapping[str, int] = quotas.UNLIMITED,
) -> str:
    """Add an image over the bytes of another that the account may use; return its id.

    It is available at once and the account's own: private, not deprecated, and there when the
    other one has gone. With a client token that came before, the id of the first copy is returned,
    whether or not it is still registered.

    Raises :class:`NotReady` beside what registering and ``tokens.take`` do. A copy counts
    as much as its source does, though the bytes are there already.
    """
    copy_id = ids.new("image")
    if (first := tokens.take(db, account_id, asked.token, copy_id, now)) is not None:
        return first
    source = rules.find(db, account_id, [asked.source_id])[0]
    if source.state != "available":
        raise NotReady("image", source.id, source.state)
    rules.check_name(db, account_id, asked.name)
    rules.check_description(asked.description)
    quotas.check(db, account_id, "images", 1, limits)
    quotas.check(db, account_id, "image-bytes", source.size or 0, limits)
    made = source._replace(
        id=copy_id,
        account_id=account_id,
        name=asked.name,
        description=asked.description,
        location=f"{account_id}/{asked.name}",
        created_at=now,
        public=False,
        registered=True,
        deprecated_at=None,
        source_image_id=source.id,
        source_instance_id=None,
        state_reason=None,
    )
    images.insert(db, made)
    # Another account's tags are its own, on public images too.
    mine = source.account_id == account_id
    kept = tags.select(db, [source.id]).get(source.id, {}) if asked.with_tags and mine else {}
    tags.insert(db, account_id, [made.id], {**kept, **asked.tags})
    snapshots.tag(db, made, asked.snapshot_tags)
    return made.id
