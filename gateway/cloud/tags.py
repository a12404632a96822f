# SPDX-License-Identifier: Apache-2.0
"""Tags: their rules, and changing them.

The rules are those of EC2's User Guide, "Tag your Amazon EC2 resources", Tag restrictions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cloud import (
    ids,
    image_imports,
    images,
    instances,
    keypairs,
    networks,
    snapshots,
    spot,
    volumes,
)
from gateway.cloud.errors import Invalid, LimitReached, Malformed
from gateway.store import tags

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

MAX_TAGS = 50
MAX_KEY = 128
MAX_VALUE = 256


TAGGED = (
    "instance",
    "image",
    "key pair",
    image_imports.KIND,
    spot.KIND,
    volumes.KIND,
    snapshots.KIND,
    *networks.KINDS,
)
"""The kinds of resources that have tags."""


def collect(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the tags of one new resource; raise :class:`Invalid` or :class:`LimitReached`."""
    collected: dict[str, str] = {}
    for key, value in pairs:
        if key in collected:
            raise Invalid("tag", key, f"Duplicate tag key '{key}' specified.")
        _check_key(key)
        if len(value) > MAX_VALUE:
            raise Invalid("tag", value, f"Tag values have at most {MAX_VALUE} characters.")
        collected[key] = value
    if len(collected) > MAX_TAGS:
        raise LimitReached("tag", len(collected), MAX_TAGS)
    return collected


def create(  # noqa: PLR0913 - whose, which, what, when, where
    db: Connection,
    account_id: str,
    resource_ids: Sequence[str],
    pairs: Iterable[tuple[str, str]],
    terminated_after: datetime,
    *,
    zones: Sequence[str],
) -> None:
    """Give tags to resources, all of them or none; a tag that is there takes the new value.

    Raises :class:`Invalid`, :class:`LimitReached`, :class:`Malformed` and :class:`NotFound`.
    """
    given = collect(pairs)
    named = _resources(db, account_id, resource_ids, terminated_after, zones)
    had = tags.select(db, named)
    if any(len(had.get(one, {}).keys() | given.keys()) > MAX_TAGS for one in named):
        raise LimitReached("tag", len(given), MAX_TAGS)
    tags.put(db, account_id, named, given)


def delete(  # noqa: PLR0913 - whose, which, what, when, where
    db: Connection,
    account_id: str,
    resource_ids: Sequence[str],
    wanted: Mapping[str, str | None] | None,
    terminated_after: datetime,
    *,
    zones: Sequence[str],
) -> None:
    """Take tags from resources: those with these keys and, if not None, values; None means all.

    A tag that is not there is no error. Raises as :func:`create` does.
    """
    for key in wanted or ():
        _check_key(key)
    named = _resources(db, account_id, resource_ids, terminated_after, zones)
    if wanted is None:
        tags.delete(db, named)
        return
    for key, value in wanted.items():
        tags.delete_key(db, named, key, value)


def _check_key(key: str) -> None:
    if not 1 <= len(key) <= MAX_KEY:
        raise Invalid("tag", key, f"Tag keys have from 1 to {MAX_KEY} characters.")
    if key.lower().startswith("aws:"):
        raise Invalid(
            "tag",
            key,
            f"Value ( {key} ) for parameter key is invalid. Tag keys starting with 'aws:' are"
            " reserved for internal use",
        )


def _resources(
    db: Connection,
    account_id: str,
    resource_ids: Sequence[str],
    terminated_after: datetime,
    zones: Sequence[str],
) -> list[str]:
    """Return the ids, each once, if the account has a resource under each of them."""
    named: dict[str, list[str]] = {kind: [] for kind in TAGGED}
    for text in dict.fromkeys(resource_ids):
        kind = ids.kind_of(text)
        if kind == "network interface":
            sentence = f"The network interface {text} has no tags of its own; its instance has."
            raise Invalid("tagged resource", text, sentence)
        if kind not in named:
            raise Malformed("resource", text)
        try:
            ids.check(kind, [text])
        except Malformed:
            raise Malformed("resource", text) from None
        named[kind].append(text)
    instances.find(db, account_id, named["instance"], terminated_after)
    for image in images.find(db, account_id, named["image"]):
        if image.account_id != account_id:
            # EC2 gives each account tags of its own on images that it may use.
            sentence = (
                f"The image {image.id} is another account's; giving it tags of one's own is not"
                " supported."
            )
            raise Invalid("tagged resource", image.id, sentence)
    if named["key pair"]:
        keypairs.find(db, account_id, pair_ids=named["key pair"])
    image_imports.find(db, account_id, named[image_imports.KIND])
    spot.find(db, account_id, named[spot.KIND])
    volumes.find(db, account_id, named[volumes.KIND])
    snapshots.find(db, account_id, named[snapshots.KIND])
    for kind in networks.KINDS:
        networks.check(account_id, kind, named[kind], zones)
    return [one for members in named.values() for one in members]
