# SPDX-License-Identifier: Apache-2.0
"""Room in the image cache: the images that were not used for longest go first.

An image that a supervisor uses is locked (see execnode.cache) and stays, whatever its age.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, BinaryIO

from execnode import cache, counts, locks
from execnode.exits import DISK_FULL, EndedError

if TYPE_CHECKING:
    from pathlib import Path

    from execnode.config import NodeConfig

SHARE = 2  # without cache_bytes, 1/SHARE of the disk: the rest is for what guests write


def reserve(settings: NodeConfig, part: BinaryIO, size: int) -> None:
    """Give the empty part its size on the disk, after removing what must go for it.

    Either it gets all of it or EndedError (disk-full) is raised and nothing was removed.
    """
    if not size:
        return
    # One at a time: what the others have reserved is seen as the size of their parts.
    with locks.alone(settings.cache_dir / "room.lock"):
        _make_room(settings, size)
        os.posix_fallocate(part.fileno(), 0, size)


def limit(settings: NodeConfig) -> int:
    """Return how many bytes the cache may hold."""
    if settings.cache_bytes:
        return settings.cache_bytes
    disk = os.statvfs(settings.cache_dir)
    return disk.f_frsize * disk.f_blocks // SHARE


def held(cache_dir: Path) -> int:
    """Return the bytes of everything in the cache, downloads under way included."""
    return sum(_size(path) for path in cache_dir.iterdir() if not counts.is_own(path))


def _make_room(settings: NodeConfig, size: int) -> None:
    cache_dir, most = settings.cache_dir, limit(settings)
    disk = os.statvfs(cache_dir)
    missing = max(held(cache_dir) + size - most, size - disk.f_frsize * disk.f_bavail)
    with contextlib.ExitStack() as open_locks:
        victims = []
        for path in sorted(cache.complete(cache_dir), key=_last_use):
            if missing <= 0:
                break
            lock = _lock_unused(path)
            if lock is not None:
                open_locks.callback(os.close, lock)
                victims.append(path)
                missing -= _size(path)
        if missing > 0:
            raise EndedError(DISK_FULL, _sentence(size, most, missing))
        for path in victims:
            path.unlink()
    if victims:
        counts.add(settings.cache_dir, evictions=len(victims))


def _sentence(size: int, most: int, missing: int) -> str:
    text = f"The image needs {size} bytes of the image cache, which may hold {most}"
    return f"{text}; without the images in use, {missing} are missing."


def _lock_unused(path: Path) -> int | None:
    try:
        if path.stat().st_nlink > 1:
            return None  # the overlay of an instance, perhaps a stopped one, stands on it
        return locks.acquire(path, locks.EXCLUSIVE, wait=False)
    except OSError:  # gone, or not ours to open
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _last_use(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
