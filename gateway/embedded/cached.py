# SPDX-License-Identifier: Apache-2.0
"""What is built once and found again in the cache directory, and goes when nobody wants it.

Each built thing has a name that ends with a hash of what it is made from; several versions of the
gateway, in turns or at once, have several of each kind. ``NAME.used`` beside it is locked, shared,
by whoever uses it, and its time is that of the last use. What was not used for :data:`KEPT` is
removed at the next start: it can be built again. Pools of versions that knew no such lock are known
by their mounts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT = timedelta(days=14)
# Nothing else in the directory is ours to remove. Those with a dot were being built.
_NAME = re.compile(r"\.?((?:root|demo|cloud)-(?:[a-z]+-)?[0-9a-f]{12})(?:\..+)?")


@contextlib.contextmanager
def used(target: Path) -> Iterator[int | None]:
    """Keep a built thing, there already or not, from being removed; it counts as used until then.

    Yields the lock's descriptor, for a process that is to hold it as well; None where this user
    may not write to the cache, whose things are then not protected.
    """
    stamp = target.with_name(f"{target.name.partition('.')[0]}.used")
    try:
        lock = _lock(stamp, fcntl.LOCK_SH)
    except PermissionError:
        yield None
        return
    try:
        os.utime(lock)
        yield lock
    finally:
        os.utime(lock)  # a pool may have used it for weeks
        os.close(lock)


def remove_unused(cache_dir: Path, now: datetime, proc: Path = Path("/proc")) -> list[str]:
    """Remove what nobody uses nor did for :data:`KEPT`; return the names, in order.

    What cannot be removed stays: no start fails for it. ``proc`` tells what is mounted.
    """
    removed = []
    for name in sorted(_paths(cache_dir)):
        with contextlib.suppress(OSError):  # another user's, or locked
            old = _is_old(_paths(cache_dir).get(name, []), now) and not is_mounted(name, proc)
            if old and _remove(cache_dir, name, now):
                removed.append(name)
    return removed


def is_mounted(name: str, proc: Path = Path("/proc")) -> bool:
    """Tell whether any process sees a mount of it, as all of a pool see one of their root."""
    for file in proc.glob("[0-9]*/mountinfo"):
        with contextlib.suppress(OSError):  # the process has ended
            if name.encode() in file.read_bytes():
                return True
    return False


def _remove(cache_dir: Path, name: str, now: datetime) -> bool:
    stamp = cache_dir / f"{name}.used"
    # One that is made only here says nothing of a use.
    known = stamp.exists()
    lock = _lock(stamp, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        paths = [path for path in _paths(cache_dir).get(name, []) if known or path != stamp]
        if not _is_old(paths, now):
            return False  # somebody used it meanwhile
        for path in paths:
            if path != stamp:
                _remove_path(path)
        stamp.unlink()
    finally:
        os.close(lock)
    return True


def _remove_path(path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    # Away at once: half a tree under its name would be taken for a whole one.
    gone = path.with_name(f".{path.name.lstrip('.')}.removed.partial")
    if path != gone:
        shutil.rmtree(gone, ignore_errors=True)
        path.rename(gone)
    shutil.rmtree(gone)


def _is_old(paths: list[Path], now: datetime) -> bool:
    return bool(paths) and now - max(map(_time, paths)) > KEPT


def _paths(cache_dir: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in cache_dir.iterdir():
        if match := _NAME.fullmatch(path.name):
            found.setdefault(match[1], []).append(path)
    return found


def _time(path: Path) -> datetime:
    try:
        return datetime.fromtimestamp(path.lstat().st_mtime, UTC)
    except FileNotFoundError:  # a build that ends just now
        return datetime.now(UTC)


def _lock(path: Path, kind: int) -> int:
    """Lock a file that may be removed by who has it alone; return its descriptor."""
    while True:
        lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, kind)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), path.stat()):
                    return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
