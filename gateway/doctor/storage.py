# SPDX-License-Identifier: Apache-2.0
"""What is on this machine's disks: the image store; and this machine's clock."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gateway.cloud.image_sources import ImageSources
from gateway.doctor.verdict import Check, failed, ok, some, warning
from gateway.embedded import root
from gateway.imagestore import buckets, stores
from gateway.imagestore.qemu_img import QemuImg, QemuImgError
from gateway.imagestore.source_errors import BrokenSourceError, SourceError
from gateway.imagestore.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.config import Settings
    from gateway.store.images import Image

LEAST_FREE = 2 * 2**30
"""Bytes: less than this is less than most images."""

CLOCK_LIMIT = timedelta(seconds=5)
_GIB = 2**30


def clock(latest: datetime | None) -> Check:
    """Compare this machine's clock with the latest time that was written down."""
    now = datetime.now(UTC)
    if latest is not None and latest > now + CLOCK_LIMIT:
        return failed(
            "clock",
            f"it says {now:%Y-%m-%d %H:%M:%S} UTC, and the database knows of {latest - now} later",
            "Set this machine's clock (chrony, systemd-timesyncd): signatures are checked by it.",
        )
    return ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC, not behind the database's times")


def image_store(settings: Settings) -> Iterator[Check]:
    """Look at the store's directory: there, writable, room left."""
    directory = stores.directory(settings)
    place = _nearest(directory)
    if not os.access(place, os.W_OK | os.X_OK):
        yield failed(
            "image store",
            f"{place} may not be written by this user",
            "Run this as root or as the gateway's own user, or correct the directory's owner.",
        )
        return
    free = shutil.disk_usage(place).free
    found = f"{directory}: {free / _GIB:.1f} GiB free"
    if free < LEAST_FREE:
        yield warning(
            "image store",
            found,
            "Remove images (`condor-cloud image remove`), or set image_store to a larger disk.",
        )
    else:
        yield ok("image store", found)


def inspector(settings: Settings) -> Check:
    """Look for qemu-img, without which no image is taken in."""
    try:
        confined = QemuImg(root.path(settings.cache_dir)).is_confined
    except QemuImgError as error:
        return failed("qemu-img", str(error), "Install it; without it no image can be added.")
    if not confined:
        return warning(
            "qemu-img",
            "there, with limits on memory and time, and the rights of this user",
            "Run the gateway as root where namespaces are allowed, so that it can be confined.",
        )
    return ok("qemu-img", "there, and confined")


def image_buckets(settings: Settings) -> Iterator[Check]:
    """Ask each of the buckets that images are taken out of, where there are any."""
    if not settings.image_source_buckets:
        return
    name, places = "image buckets", settings.image_source_buckets
    wrong: list[str] = []
    for place in ImageSources.of("", places).buckets:
        try:
            buckets.knock(place, settings.image_source_options)
        except (OSError, ValueError) as error:
            yield failed(name, f"{error}", "Correct the file that image_source_options names.")
            return
        except buckets.ClosedError:
            wrong.append(f"{place} does not let the gateway in, or only not list what is there")
        except (SourceError, BrokenSourceError) as error:
            wrong.append(f"{place}: {error}")
    if wrong:
        advice = "Correct image_source_options; who may not list may have images all the same."
        yield warning(name, some(wrong), advice)
    else:
        yield ok(name, places)


def image_files(settings: Settings, images: Sequence[Image]) -> Check:
    """Look for the file of every image that is available."""
    wrong: list[str] = []
    try:
        store = stores.of(settings)
    except StoreError as error:
        return failed("images", str(error), "Correct the settings image_store and its options.")
    available = [image for image in images if image.state == "available" and image.sha256]
    for image in available:
        try:
            size = store.size(str(image.sha256))
        except (StoreError, OSError) as error:
            wrong.append(f"{image.id} ({error})")
            continue
        if size != image.size:
            wrong.append(f"{image.id} ({size} bytes instead of {image.size})")
    if wrong:
        return failed(
            "images",
            f"the file is missing or damaged of {some(wrong)}",
            "Remove these images (`condor-cloud image remove`) and add them again.",
        )
    waiting = sum(image.state == "pending" and image.registered for image in images)
    pending = f", {waiting} being taken in" if waiting else ""
    return ok("images", f"{len(available)} available, every file there in its size{pending}")


def _nearest(path: Path) -> Path:
    # The store is made when it is first needed: what counts is where it will be.
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
