# SPDX-License-Identifier: Apache-2.0
"""Images: registering a file or an address, which the importer then takes into the store.

A tenant may name only files that ``sources`` allows, with every symbolic link followed first. The
importer must open what :func:`source_file` returns, and check again when it does.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from gateway.cloud import boot_modes, disks, ids, quotas, snapshots
from gateway.cloud.errors import Invalid, NotFound, NotOwner, Taken, unknown
from gateway.cloud.image_sources import BUCKET
from gateway.store import images, launch_permissions, tags
from gateway.store.images import Content, Image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from gateway.cloud.disks import Device
    from gateway.cloud.image_sources import ImageSources

ARCHITECTURES = ("i386", "x86_64")
MAX_DESCRIPTION = 255
MAX_LOCATION = 4096

# EC2 API reference, RegisterImage, Name.
INTERNAL_ERROR = "The image could not be taken in because of an internal error"
OURS = (INTERNAL_ERROR, "The image store ")
"""How the reasons begin that are not in the image that has failed."""
_ADDRESS = re.compile(r"[!-~]+")  # RFC 3986, 2: the rest is written with per cent signs
_NAME = re.compile(r"[A-Za-z0-9()\[\] ./'@_-]{3,128}")


class NewImage(NamedTuple):
    """What is asked for: ``location`` is an absolute path, a file: or an http(s): address.

    ``devices`` may say how large the root disk shall be.
    """

    name: str
    location: str
    description: str = ""
    architecture: str = "x86_64"
    public: bool = False
    root_device_name: str = disks.DEFAULT_ROOT
    devices: Sequence[Device] = ()
    boot_mode: str | None = None


def register(  # noqa: PLR0913 - who, what, how tagged, when, from where
    db: Connection,
    account_id: str,
    new: NewImage,
    *,
    tagged: Mapping[str, str],
    now: datetime,
    sources: ImageSources | None,
    limits: Mapping[str, int] = quotas.UNLIMITED,
) -> Image:
    """Add an image in the state ``pending``; the importer does the rest.

    ``sources`` says which files are allowed; None, for the administrator, means any.
    Raises :class:`Invalid`, :class:`Taken` and :class:`LimitReached`.
    """
    check_name(db, account_id, new.name)
    if new.architecture not in ARCHITECTURES:
        raise Invalid("architecture", new.architecture, "It is i386 or x86_64.")
    boot_modes.check(new.boot_mode, new.architecture)
    check_description(new.description)
    disks.check_name(new.root_device_name)
    disk_bytes = disks.root_bytes(new.devices, new.root_device_name)
    disks.launched_type(new.devices)
    location = _spelled(new.location)
    _check_location(location, sources)
    quotas.check(db, account_id, "images", 1, limits)
    # How many bytes it has is not known yet: see `imported`.
    quotas.check(db, account_id, "image-bytes", 1, limits)
    image = Image(
        id=ids.new("image"),
        account_id=account_id,
        name=new.name,
        description=new.description,
        state="pending",
        state_reason=None,
        architecture=new.architecture,
        location=location,
        sha256=None,
        size=None,
        virtual_size=None,
        format=None,
        created_at=now,
        public=new.public,
        registered=True,
        root_device_name=new.root_device_name,
        disk_bytes=disk_bytes,
        deprecated_at=None,
        source_image_id=None,
        boot_mode=new.boot_mode,
        source_instance_id=None,
    )
    images.insert(db, image)
    tags.insert(db, account_id, [image.id], tagged)
    return image


def check_name(db: Connection, account_id: str, name: str) -> None:
    """Raise :class:`Invalid` or :class:`Taken` for a name that an image cannot get."""
    if not _NAME.fullmatch(name):
        raise Invalid("image name", name, "Image names have from 3 to 128 characters.")
    existing = images.get_by_name(db, account_id, name)
    if existing is not None:
        raise Taken("image", name, existing.id)


def check_description(text: str) -> None:
    """Raise :class:`Invalid` for a description that is too long."""
    if len(text) > MAX_DESCRIPTION:
        raise Invalid("description", text, f"It is longer than {MAX_DESCRIPTION} characters.")


def find(db: Connection, account_id: str, image_ids: Sequence[str] | None = None) -> list[Image]:
    """Return the images that the account may use, or those of them that are named.

    Raises :class:`NotFound` for what does not exist or is another account's private image.
    """
    if image_ids is None:
        return images.select_visible(db, account_id)
    ids.check("image", image_ids)
    found = images.select_visible(db, account_id, image_ids)
    if missing := unknown(image_ids, [image.id for image in found]):
        raise NotFound("image", *missing)
    return found


def own(db: Connection, account_id: str, image_id: str) -> Image:
    """Return an image of the account's own.

    Raises :class:`NotOwner` for one that it may use, :class:`NotFound` for any other.
    """
    image = find(db, account_id, [image_id])[0]
    if image.account_id != account_id:
        raise NotOwner("image", image_id)
    return image


def deregister(db: Connection, account_id: str, image_id: str) -> None:
    """Take an image away from new launches; instances that have it go on.

    Only its owner may; raises what :func:`own` does.
    """
    own(db, account_id, image_id)
    withdraw(db, image_id)
    images.delete_unused(db)


def withdraw(db: Connection, image_id: str) -> None:
    """Deregister an image with all that is written down of it; its row stays for now."""
    tags.delete(db, [image_id])
    snapshots.forget(db, image_id)
    launch_permissions.delete(db, image_id)
    images.update_deregistered(db, image_id)


def imported(
    db: Connection,
    image_id: str,
    content: Content,
    limits: Mapping[str, int] = quotas.UNLIMITED,
    note: str | None = None,
) -> None:
    """Record that the store has taken the image in; it can be launched from now on.

    ``note`` is a sentence for its owner. One that is larger than the disk that was asked for it
    has failed.
    Raises :class:`LimitReached` when the account's images would have too many bytes with it.
    """
    image = images.get(db, image_id)
    if image is not None:
        quotas.check(db, image.account_id, "image-bytes", content.size, limits)
    asked = None if image is None else image.disk_bytes
    if asked is not None and asked < content.virtual_size:
        least = disks.whole_gib(content.virtual_size)
        import_failed(
            db,
            image_id,
            f"The volume of {asked // disks.GIB} GiB is smaller than the image's disk; it needs"
            f" {least} GiB.",
        )
        return
    images.update_available(db, image_id, content, note)


def import_failed(db: Connection, image_id: str, reason: str) -> None:
    """Record in a sentence why the image cannot be taken in."""
    images.update_failed(db, image_id, reason)


def is_our_failure(image: Image) -> bool:
    """Return whether an image has failed for a reason that is not in it."""
    return image.state == "failed" and str(image.state_reason).startswith(OURS)


def source_file(location: str) -> Path | None:
    """Return the file that a location names, links followed; None where it is elsewhere."""
    scheme, _, rest = location.partition("://")
    if scheme in {"http", "https", "s3"}:
        return None
    return Path(rest if scheme == "file" and rest else location).resolve()


def source_object(location: str) -> tuple[str, str] | None:
    """Return the bucket and the key that a location names, ``s3://bucket/key``; else None."""
    scheme, _, rest = location.partition("://")
    if scheme != "s3":
        return None
    bucket, _, key = rest.partition("/")
    return bucket, key


def _spelled(location: str) -> str:
    """Return the location with its scheme in lower case: HTTP://host is http://host (RFC 3986)."""
    scheme, mark, rest = location.partition("://")
    known = scheme.lower() in {"http", "https", "s3", "file"}
    return f"{scheme.lower()}{mark}{rest}" if mark and known else location


def _check_location(location: str, sources: ImageSources | None) -> None:
    if len(location) > MAX_LOCATION or not location.isprintable():
        raise Invalid("image location", "", "The image location is not a path or an address.")
    try:
        problem = _location_problem(location, sources)
    except (OSError, ValueError, RuntimeError):
        problem = "cannot be read"
    if problem is not None:
        raise Invalid("image location", location, f"The image location {location} {problem}.")


def _location_problem(location: str, sources: ImageSources | None) -> str | None:
    if (found := source_object(location)) is not None:
        return _object_problem(*found, sources)
    file = source_file(location)
    if file is None:
        return _address_problem(location)
    if not location.removeprefix("file://").startswith("/"):
        return "is neither an absolute path nor an http, https or s3 address"
    if sources is not None and not sources.allows(file):
        # Nothing is said about other files, not even whether they exist.
        return sources.sentence
    if not file.exists():
        return "does not exist"
    return None if file.is_file() else "is not a file"


def _address_problem(location: str) -> str | None:
    address = urlsplit(location)
    if address.username is not None:
        return "names a user, and images are fetched as nobody"
    complete = address.hostname and address.port != 0 and _ADDRESS.fullmatch(location)
    return None if complete else "is not a complete address"


def _object_problem(bucket: str, key: str, sources: ImageSources | None) -> str | None:
    # A key with such parts could seem to be below a prefix.
    if not BUCKET.fullmatch(bucket) or {"", ".", ".."} & set(key.split("/")):
        return "is not of the form s3://bucket/key"
    if sources is not None and not sources.allows_object(bucket, key):
        # Nothing is said about other buckets, not even whether they exist.
        return "is in no bucket from which images may be taken"
    return None
