# SPDX-License-Identifier: Apache-2.0
"""What an image's owner says of it: who may launch it, in which words, and until when it is good.

Rules from EC2's User Guide: "Manage AMI usage with launch permissions", "Deprecate an AMI".
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from gateway.cloud import images as rules
from gateway.cloud.errors import Invalid, LimitReached
from gateway.store import images, launch_permissions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from gateway.store.images import Image

ALL = "all"
"""The group of all accounts, the only one that there is."""

MAX_ACCOUNTS = 1000
LONGEST, LONGEST_PUBLIC = timedelta(days=3653), timedelta(days=731)
"""How far away a deprecation may be: ten years, two for a public image."""

_ACCOUNT = re.compile(r"[0-9]{12}")


class Permissions(NamedTuple):
    """Accounts, and groups of accounts, that may launch an image."""

    accounts: Sequence[str] = ()
    groups: Sequence[str] = ()


def is_account_id(text: str) -> bool:
    """Return whether a text has the form of an account's id."""
    return _ACCOUNT.fullmatch(text) is not None


def permissions(db: Connection, account_id: str, image_id: str) -> Permissions:
    """Return who may launch an image of one's own beside oneself."""
    image = rules.own(db, account_id, image_id)
    named = launch_permissions.select(db, [image_id]).get(image_id, [])
    return Permissions(named, [ALL] if image.public else [])


def share(
    db: Connection, account_id: str, image_id: str, add: Permissions, remove: Permissions
) -> None:
    """Let accounts launch an image of one's own, and others no longer; repeating is no error.

    Raises :class:`Invalid` for what is no account and no group, :class:`LimitReached`, and what
    :func:`gateway.cloud.images.own` does.
    """
    image = rules.own(db, account_id, image_id)
    for one in (*add.accounts, *remove.accounts):
        if not is_account_id(one):
            raise Invalid("launch permission userId", one, f"{one} is not an account's id.")
    for one in (*add.groups, *remove.groups):
        if one != ALL:
            raise Invalid("launch permission group", one, f"{one} is not a group.")
    had = set(launch_permissions.select(db, [image_id]).get(image_id, []))
    wanted = (had | set(add.accounts)) - set(remove.accounts)
    if len(wanted) > MAX_ACCOUNTS and len(wanted) > len(had):
        raise LimitReached("launch permission", len(wanted - had), MAX_ACCOUNTS)
    launch_permissions.delete(db, image_id, had - wanted)
    launch_permissions.insert(db, image_id, wanted - had)
    public = (image.public or ALL in add.groups) and ALL not in remove.groups
    if public != image.public:
        images.update_public(db, image_id, public)


def unshare(db: Connection, account_id: str, image_id: str) -> None:
    """Keep an image of one's own to oneself again."""
    rules.own(db, account_id, image_id)
    launch_permissions.delete(db, image_id)
    images.update_public(db, image_id, public=False)


def describe(db: Connection, account_id: str, image_id: str, text: str) -> None:
    """Say something else of an image of one's own."""
    rules.own(db, account_id, image_id)
    rules.check_description(text)
    images.update_description(db, image_id, text)


def deprecate(
    db: Connection, account_id: str, image_id: str, at: datetime | None, now: datetime
) -> None:
    """Say from when on an image of one's own is out of date; None for never.

    It can be launched all the same. Raises :class:`Invalid` for a time that has passed or is too
    far away.
    """
    image = rules.own(db, account_id, image_id)
    if at is not None:
        if at <= now:
            raise Invalid("deprecation", "", "The deprecation time must be in the future.")
        if at > now + (LONGEST_PUBLIC if image.public else LONGEST):
            years = "2 years for a public image" if image.public else "10 years"
            raise Invalid("deprecation", "", f"The deprecation time may be at most {years} away.")
        # To the nearest minute, as EC2 does.
        at = (at + timedelta(seconds=30)).replace(second=0, microsecond=0)
    images.update_deprecated(db, image_id, at)


def is_shown(image: Image, account_id: str, now: datetime) -> bool:
    """Return whether an account finds an image without naming it: not another's deprecated one."""
    deprecated = image.deprecated_at is not None and image.deprecated_at <= now
    return image.account_id == account_id or not deprecated
