# SPDX-License-Identifier: Apache-2.0
"""The disk of an instance that the store has: fetched for its next run, and then this node's.

Until :func:`take` the store's is the disk and what is here a copy that may go; after it the other
way about. So it is called by the main thread alone, once the whole disk is in its place.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from execnode import cache, disk
from execnode.exits import (
    CLAIM_REFUSED,
    DISK_MISSING,
    GATEWAY_UNREACHABLE,
    IMAGE_CHECKSUM,
    IMAGE_MISSING,
    EndedError,
)
from execnode.link import LinkError, NoSuchError
from execnode.workspace import FILE_MODE, NVRAM

if TYPE_CHECKING:
    from pathlib import Path

    from execnode.link import NodeLink
    from execnode.order import Order
    from execnode.spec import Parked, Spec

PART = "parked.part"
TAKE_SECONDS = 30.0
PAUSE = 0.5


def fetch(overlay: Path, base: Path, spec: Spec, link: NodeLink) -> None:
    """Put a parked disk, and the firmware's variables that came with it, into their places.

    Does nothing for a disk that is not parked. Raises :class:`EndedError` and OSError.
    """
    if spec.parked is None:
        return
    part, nvram = overlay.with_name(PART), overlay.with_name(NVRAM)
    try:
        _download(part, spec.parked, link)
        _split(part, nvram, spec.parked)
        disk.stand_on(part, base, spec)
        part.chmod(FILE_MODE)
        # The store forgets it once it is taken: a power cut after that must not.
        _flush(part)
        part.rename(overlay)
        _flush(overlay.parent)
    finally:
        part.unlink(missing_ok=True)


def take(spec: Spec, order: Order, nonce: str, link: NodeLink) -> None:
    """Tell the gateway that this node has the whole disk; nothing may write to it before."""
    if spec.parked is None:
        return None
    deadline = time.monotonic() + TAKE_SECONDS
    while True:
        try:
            return link.take_disk(order.instance, order.run, nonce)
        except NoSuchError as error:
            raise EndedError(CLAIM_REFUSED, str(error)) from error
        except LinkError as error:
            if time.monotonic() > deadline:
                raise EndedError(GATEWAY_UNREACHABLE, str(error)) from error
        time.sleep(PAUSE)


def _download(part: Path, parked: Parked, link: NodeLink) -> None:
    with part.open("w+b") as file:
        os.posix_fallocate(file.fileno(), 0, parked.size)
        for _ in range(cache.TRIES):
            try:
                if cache.stream(file, parked.path, parked.size, link) == parked.sha256:
                    return
            except EndedError as error:
                if error.exit is IMAGE_MISSING:
                    raise EndedError(DISK_MISSING, error.detail) from error
                raise
    raise EndedError(IMAGE_CHECKSUM, f"The disk was downloaded {cache.TRIES} times.")


def _split(part: Path, nvram: Path, parked: Parked) -> None:
    """Take the variables off the end of what came."""
    whole = parked.size - parked.nvram_bytes
    with contextlib.suppress(FileNotFoundError):
        nvram.unlink()  # of an earlier time on this node
    if parked.nvram_bytes:
        with part.open("rb") as file:
            file.seek(whole)
            nvram.write_bytes(file.read())
        nvram.chmod(FILE_MODE)
        _flush(nvram)
        os.truncate(part, whole)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
