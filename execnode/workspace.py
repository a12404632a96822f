# SPDX-License-Identifier: Apache-2.0
"""An instance's directory on the node, and the lock that says that its owner lives.

Whoever works on an instance (its supervisor, or the sweep after the supervisor died) holds an
exclusive flock on ``instances/<id>/lock``. The kernel lets go of it at death, so a lock that can be
taken means that nobody guards the instance.
"""

from __future__ import annotations

import contextlib
import grp
import os
import shutil
import stat
from typing import TYPE_CHECKING

from execnode import locks

if TYPE_CHECKING:
    from pathlib import Path

DIRECTORY_MODE = 0o2710  # QEMU's group may enter, nobody else may look; files inherit the group
FILE_MODE = 0o660
OVERLAY = "overlay.qcow2"
NVRAM = "nvram.fd"
"""The variables of a guest's UEFI firmware; there is none for a BIOS."""
BASE = "base"
"""A second name of the image that the overlay stands on: it lasts as long as the overlay does."""


def open_up(directory: Path) -> None:
    """Give the firmware's variables of a guest that has ended to the directory's owner; for root.

    libvirt leaves them to QEMU's user alone, and takes them again at the next start.
    """
    with contextlib.suppress(OSError):  # there are none
        handle = os.open(directory / NVRAM, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(handle)
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                os.fchown(handle, directory.stat().st_uid, -1)
        finally:
            os.close(handle)


class Workspace:
    """A directory that this process owns for its life; the files in it are flat."""

    def __init__(self, directory: Path, lock: int) -> None:
        self.directory = directory
        self._lock = lock

    @classmethod
    def acquire(cls, directory: Path, group: str, *, wait: bool) -> Workspace | None:
        """Make and lock a directory; without wait, None when somebody else has it.

        group is QEMU's, by name; a node that lacks it keeps its own.
        """
        while True:
            with contextlib.suppress(FileExistsError):
                directory.mkdir()
            with contextlib.suppress(PermissionError, KeyError):
                os.chown(directory, -1, grp.getgrnam(group).gr_gid)
                directory.chmod(DIRECTORY_MODE)
            try:
                lock = locks.acquire(
                    directory / "lock", locks.EXCLUSIVE, flags=locks.CREATE, wait=wait
                )
            except FileNotFoundError:
                continue  # removed by its last owner between the two lines
            return None if lock is None else cls(directory, lock)

    def path(self, name: str) -> Path:
        """Return the path of a file in the directory."""
        return self.directory / name

    def remove(self) -> None:
        """Remove the directory and let go of the lock, even where something cannot be removed."""
        try:
            for entry in self.directory.iterdir():
                if entry.name != "lock":
                    _discard(entry)
            (self.directory / "lock").unlink(missing_ok=True)
            self.directory.rmdir()
        finally:
            self.close()

    def keep(self) -> None:
        """Remove all but the disk, what it stands on and the NVRAM; let go of the lock."""
        try:
            for entry in self.directory.iterdir():
                if entry.name not in {"lock", OVERLAY, BASE, NVRAM}:
                    _discard(entry)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the lock; what is in the directory stays."""
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1


def is_guarded(directory: Path) -> bool:
    """Whether a living process holds the directory."""
    try:
        lock = locks.acquire(directory / "lock", locks.EXCLUSIVE, flags=os.O_RDWR, wait=False)
    except FileNotFoundError:
        return False
    if lock is None:
        return True
    os.close(lock)
    return False


def _discard(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)
