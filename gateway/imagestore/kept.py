# SPDX-License-Identifier: Apache-2.0
"""Uploads into a directory that outlive their process: the next one goes on where it was cut.

Beside the bytes lies what their source was called, and which boot of this machine wrote them: what
a machine without power has of a file's end need not be what was written.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.imagestore.uploads import (
    PARTIAL,
    DirectoryUpload,
    StoreError,
    failures_are_told,
    unheard,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEPT_SECONDS = 24 * 3600.0
_KEPT = f".kept{PARTIAL}"
_NOTES = ".kept.json"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@contextlib.contextmanager
def resumable(directory: Path, name: str) -> Iterator[KeptDirectoryUpload]:
    """Give the upload of that name, with the bytes that are here of it, or another one.

    It is removed when it was committed or dropped, and otherwise kept.
    """
    path = directory / f".{hashlib.sha256(name.encode()).hexdigest()[:32]}{_KEPT}"
    upload = KeptDirectoryUpload(path)
    if not upload.alone:
        upload.close()
        path = path.with_name(f".{secrets.token_hex(16)}{_KEPT}")
        upload = KeptDirectoryUpload(path)
        upload.drop()  # nobody would find it
    try:
        yield upload
    finally:
        upload.close()


def may_go_on(path: Path) -> bool:
    """Return whether somebody may yet go on with what an upload left."""
    young = time.time() - path.stat().st_mtime < KEPT_SECONDS
    return path.name.endswith(_KEPT) and young and _notes(path).exists()


def sweep(directory: Path) -> None:
    """Remove the notes whose bytes are gone."""
    for notes in directory.glob(f".*{_NOTES}"):
        if not notes.with_name(notes.name.removesuffix(_NOTES) + _KEPT).exists():
            notes.unlink(missing_ok=True)


class KeptDirectoryUpload(DirectoryUpload):
    """A :class:`~gateway.imagestore.store.KeptUpload` into a directory."""

    def __init__(self, path: Path) -> None:
        self._done = False
        self._version: str | None = None
        super().__init__(path, kept=True)
        with failures_are_told():
            try:
                self._begin(path)
            except (OSError, StoreError):
                self._file.close()
                raise

    def _begin(self, path: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It may have been committed or swept since it was opened.
            self.alone = (
                path.exists() and path.stat().st_ino == os.fstat(self._file.fileno()).st_ino
            )
        except BlockingIOError:
            self.alone = False
        if self.alone:
            self._open_up()
            self._go_on()

    @property
    def version(self) -> str | None:
        """What the source was called whose first bytes are here."""
        return self._version

    def note(self, version: str) -> None:
        """Remember what the source calls itself."""
        if self._done:
            return
        noted = json.dumps({"version": version, "boot": _boot()})
        made = _notes(self.path).with_suffix(".new")
        with failures_are_told():
            made.write_text(noted)
            made.replace(_notes(self.path))

    def restart(self) -> None:
        """Forget every byte that was written."""
        super().restart()
        with failures_are_told():
            _notes(self.path).unlink(missing_ok=True)

    def commit(self, stored: Callable[[int], object] = unheard) -> str:
        """Flush to the disk, then rename."""
        digest = super().commit(stored)
        self.drop()
        return digest

    def drop(self) -> None:
        """Keep nothing for another time; should the process die now, a sweep removes the bytes."""
        self._done = True
        if self.alone:
            with contextlib.suppress(OSError):
                _notes(self.path).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove what nobody needs any more, and let another process have the rest."""
        with contextlib.suppress(OSError):  # a sweep removes what cannot be removed now
            if self.alone and (self._done or not _notes(self.path).exists()):
                self.discard()
        with contextlib.suppress(OSError):
            self._file.close()

    def _go_on(self) -> None:
        try:
            noted = json.loads(_notes(self.path).read_text())
            fits = noted["boot"] == _boot() and isinstance(noted["version"], str)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            fits = False
        size = self.path.stat().st_size
        if not fits or not size:
            self.restart()
            return
        # Should all of it be here, the last byte is asked for again, to hear that it is the same.
        os.truncate(self.path, size - 1)
        self.adopt()
        self._file.seek(self.size)
        self._version = noted["version"]


def _notes(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(_KEPT) + _NOTES)


def _boot() -> str:
    return _BOOT.read_text().strip()
