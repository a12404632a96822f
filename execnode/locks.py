# SPDX-License-Identifier: Apache-2.0
"""Locks that the kernel releases when their holder dies: flock on a file that may be removed.

Whoever removes a locked file holds its exclusive lock, so a lock counts only while its path still
names the file that was locked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from time import monotonic, sleep
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CREATE = os.O_CREAT | os.O_RDWR
SHARED = fcntl.LOCK_SH
EXCLUSIVE = fcntl.LOCK_EX
_LOOK = 0.005  # seconds between two looks at a lock


def acquire(path: Path, kind: int, *, flags: int = os.O_RDONLY, wait: bool = True) -> int | None:
    """Lock a file and return its descriptor; without wait, None when somebody else has it.

    kind is SHARED or EXCLUSIVE, flags are those of open(2). FileNotFoundError where there is no
    such file and flags do not make one.
    """
    while True:
        lock = os.open(path, flags | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, kind | (0 if wait else fcntl.LOCK_NB))
            if _is_current(lock, path):
                return lock
        except BlockingIOError:
            os.close(lock)
            return None
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # removed by its last holder before it was ours


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait for a turn at a lock file, which is there only as long as somebody has or wants it."""
    lock = acquire(path, EXCLUSIVE, flags=CREATE)
    assert lock is not None  # noqa: S101 - it waits
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


@contextlib.contextmanager
def alone_soon(path: Path, seconds: float) -> Iterator[bool]:
    """Take a turn at such a lock file, or give False when nobody has let go of it in time."""
    deadline = monotonic() + seconds
    while (lock := acquire(path, EXCLUSIVE, flags=CREATE, wait=False)) is None:
        if monotonic() > deadline:
            yield False
            return
        sleep(_LOOK)
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def _is_current(lock: int, path: Path) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    held = os.fstat(lock)
    return (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino)
