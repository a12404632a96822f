# SPDX-License-Identifier: Apache-2.0
"""Files that nodes send in pieces, until the importer has taken them into the store.

Each is named by its number. A piece may come again; one that would leave a hole does nothing.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from gateway.imagestore.store import StoreFullError

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config import Settings


def path(settings: Settings, number: int) -> Path:
    """Return where a file is, or would be."""
    return settings.arrival_dir / str(number)


def size(settings: Settings, number: int) -> int:
    """Return how many bytes of a file are here."""
    try:
        return path(settings, number).stat().st_size
    except FileNotFoundError:
        return 0


def put(settings: Settings, number: int, begin: int, data: bytes, whole: int) -> int:
    """Write a piece of a file that will have `whole` bytes; return how many are here then.

    Raises :class:`StoreFullError` for one that is larger than an image may be, and where there is
    no room for the rest.
    """
    limit = settings.image_size_limit
    if whole > limit:
        raise StoreFullError(f"The image has {whole} bytes; {limit} are allowed.")
    place = path(settings, number)
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with open(handle, "r+b", buffering=0) as file:  # noqa: PTH123 - of a descriptor
        # Another request, given up by its node, may still write the same piece.
        fcntl.flock(handle, fcntl.LOCK_EX)
        here = os.fstat(handle).st_size
        if begin > here:
            return here
        room = os.statvfs(place.parent)
        if whole - here > room.f_bavail * room.f_frsize:
            raise StoreFullError(f"The gateway has no room for an image of {whole} bytes.")
        file.seek(begin)
        view = memoryview(data)
        try:
            while view:
                view = view[file.write(view) :]
        except OSError as error:
            raise StoreFullError(f"The gateway cannot write: {error.strerror}.") from error
        return max(here, begin + len(data))


def remove(settings: Settings, number: int) -> None:
    """Remove a file; it may be gone already."""
    path(settings, number).unlink(missing_ok=True)


def numbers(settings: Settings) -> set[int]:
    """Return the numbers of the files of which something is here."""
    try:
        return {int(one.name) for one in settings.arrival_dir.iterdir() if one.name.isdecimal()}
    except FileNotFoundError:
        return set()
