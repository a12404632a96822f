# SPDX-License-Identifier: Apache-2.0
"""A file on its way into a directory store: under a name that nobody looks for."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
from io import FileIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

PARTIAL = ".partial"
_HOLE = 64 * 1024
_ZEROS = bytes(_HOLE)
_BLOCK = 2**20


def unheard(*_: object) -> None:
    """Do nothing: for who does not want to hear how far it is."""


class StoreError(Exception):
    """The store cannot take or give a file; the text is one sentence for its user."""


class StoreFullError(StoreError):
    """There is no room for the file. Nothing of it is left behind."""


class DirectoryUpload:
    """An :class:`Upload` into a directory. Runs of zeros become holes."""

    def __init__(self, path: Path, *, kept: bool = False) -> None:
        """Make the file; one that was ``kept`` may be there, and its lock is its owner's affair."""
        self.path = path
        self.size = 0
        self._sha256 = hashlib.sha256()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (0 if kept else os.O_EXCL)
        with failures_are_told():
            self._file = FileIO(os.open(path, flags, 0o600), "r+b")
            if not kept:
                try:
                    # Held until the process ends, however it ends: a sweep leaves this file alone.
                    fcntl.flock(self._file, fcntl.LOCK_SH)
                    self._open_up()
                except OSError:
                    self.discard()
                    raise

    def _open_up(self) -> None:
        # The directory is closed to others; a confined qemu-img, as nobody, gets the open file.
        os.fchmod(self._file.fileno(), 0o644)

    def reserve(self, expected: int) -> None:
        """Refuse a file for which there is no room now; nothing is taken."""
        with failures_are_told():
            room = os.statvfs(self.path.parent)
        free = room.f_bavail * room.f_frsize
        if expected > free:
            log.warning(
                "%s has no room for %d bytes: %d are free", self.path.parent, expected, free
            )
            raise StoreFullError(f"The image store has no room for {expected} bytes.")

    def write(self, data: bytes) -> None:
        """Add bytes at the end."""
        self._sha256.update(data)
        with failures_are_told():
            for begin in range(0, len(data), _HOLE):
                piece = data[begin : begin + _HOLE]
                if piece == _ZEROS:
                    self._file.seek(len(piece), os.SEEK_CUR)
                else:
                    _write_all(self._file, piece)
        self.size += len(data)

    def restart(self) -> None:
        """Forget every byte that was written."""
        with failures_are_told():
            self._file.seek(0)
            self._file.truncate(0)
        self._sha256 = hashlib.sha256()
        self.size = 0

    def flush(self) -> None:
        """Write the last hole, if the file ends with one."""
        with failures_are_told():
            self._file.truncate(self.size)

    def digest(self) -> str:
        """Return the SHA-256 of the bytes so far, in hex."""
        return self._sha256.hexdigest()

    def adopt(self) -> None:
        """Read what another process wrote into the file."""
        self._sha256 = hashlib.sha256()
        with failures_are_told(), self.path.open("rb") as file:
            while data := file.read(_BLOCK):
                self._sha256.update(data)
            self.size = file.tell()

    def commit(self, stored: Callable[[int], object] = unheard) -> str:  # noqa: ARG002 - it is here
        """Flush to the disk, then rename."""
        digest = self.digest()
        self.flush()
        with failures_are_told():
            os.fsync(self._file.fileno())
            self.path.rename(self.path.with_name(digest))
            # Not before: a sweep opens what is left under the other name to write, for its lock.
            os.fchmod(self._file.fileno(), 0o444)
            directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        return digest

    def discard(self) -> None:
        """Remove what was not committed; what cannot be removed now, a sweep removes."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._file.close()


def _write_all(file: FileIO, data: bytes) -> None:
    """Write without a buffer of Python's, so that a full disk is met here and not at closing."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


@contextlib.contextmanager
def failures_are_told() -> Iterator[None]:
    """Raise what a store raises for what a file system, perhaps another machine's, says."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreFullError(
                f"The image store has no room: {os.strerror(error.errno)}."
            ) from error
        raise StoreError(f"The image store cannot be used: {error.strerror}.") from error
