# SPDX-License-Identifier: Apache-2.0
"""Whole files under the SHA-256 of their bytes.

A file is written under a name that nobody looks for, flushed to the disk and only then given its
final name: under a final name there is never a torn file, whatever dies when.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import secrets
from typing import TYPE_CHECKING, BinaryIO, Protocol

from gateway.imagestore import kept
from gateway.imagestore.uploads import (
    PARTIAL,
    DirectoryUpload,
    StoreError,
    StoreFullError,
    failures_are_told,
    unheard,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

__all__ = [
    "DIGEST",
    "DirectoryStore",
    "DirectoryUpload",
    "ImageStore",
    "KeptUpload",
    "MissingError",
    "StoreError",
    "StoreFullError",
    "Upload",
    "unheard",
]

DIGEST = re.compile(r"[0-9a-f]{64}")
_BLOCK = 2**20


class MissingError(StoreError):
    """There is no file with that SHA-256."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"The image store has no file {digest}.")


class Upload(Protocol):
    """A file on its way in; it disappears unless it is committed."""

    @property
    def path(self) -> Path:
        """Where its bytes are meanwhile: complete after flush()."""

    @property
    def size(self) -> int:
        """How many bytes were written."""

    def write(self, data: bytes) -> None:
        """Add bytes at the end; raises :class:`StoreFullError`."""

    def restart(self) -> None:
        """Forget every byte that was written."""

    def flush(self) -> None:
        """Make every byte that was written readable at `path`."""

    def adopt(self) -> None:
        """Take what another process has written at `path` for what is on its way in."""

    def digest(self) -> str:
        """Return the SHA-256 of the bytes so far, in hex."""

    def commit(self, stored: Callable[[int], object] = unheard) -> str:
        """Give the file its final name and return that: the SHA-256 of its bytes, in hex.

        Where that takes its time, `stored` gets the bytes that are in the store, again and again;
        what it raises ends that.
        """


class KeptUpload(Upload, Protocol):
    """A file on its way in that can be gone on with after its process has died, or gave up."""

    @property
    def version(self) -> str | None:
        """What its source was called whose first `size` bytes are here; None for nothing."""

    def note(self, version: str) -> None:
        """Remember what the source calls itself, before its first byte is written."""

    def reserve(self, expected: int) -> None:
        """Refuse so many more bytes where there is no room for them."""

    def drop(self) -> None:
        """Keep nothing for another time: it is done, or never will be."""


class ImageStore(Protocol):
    """Any place that can put, get and list whole files."""

    def upload(self, expected: int | None = None) -> AbstractContextManager[Upload]:
        """Begin a new file; `expected` bytes (if known) are refused at once without room."""

    def resumable(self, name: str) -> AbstractContextManager[KeptUpload]:
        """Begin a file, or go on with one of that name that was given up or whose process died.

        It stays for some time unless it is committed or dropped. One that another process is at
        is left alone: it gets a beginning of its own.
        """

    def open(self, digest: str, waits: Callable[[], object] = unheard) -> BinaryIO:
        """Open a file for reading, as one of this machine's, which a program can be given too.

        `waits` is called again and again while it is brought here; what it raises ends that.
        Raises :class:`MissingError`, and :class:`StoreError` where it cannot be had.
        """

    def chunks(self, digest: str, begin: int = 0) -> Iterator[bytes]:
        """Yield a file's bytes from byte `begin` on; raises :class:`MissingError`."""

    def size(self, digest: str) -> int:
        """Return a file's length in bytes; raises :class:`MissingError`."""

    def digests(self) -> set[str]:
        """Return the SHA-256 of every file."""

    def delete(self, digest: str) -> None:
        """Remove a file; it may be gone already. Who reads it may read on."""

    def sweep(self) -> None:
        """Remove what uploads left behind whose process has died."""

    def keeping(self) -> AbstractContextManager[object]:
        """Hold off every :meth:`removing` from a commit until the database knows of it."""

    def removing(self) -> AbstractContextManager[bool]:
        """Hold off every :meth:`keeping` while unneeded files are found and removed.

        False while somebody is :meth:`keeping`, which may take as long as a large file's way to a
        distant store: nothing may be removed then.
        """


class DirectoryStore:
    """An :class:`ImageStore` in a directory, which several processes may share."""

    def __init__(self, directory: Path) -> None:
        """Make the directory; raises :class:`StoreError` where that cannot be."""
        self.directory = directory
        with failures_are_told():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Return where a file is, or would be."""
        if not DIGEST.fullmatch(digest):
            raise MissingError(digest)
        return self.directory / digest

    @contextlib.contextmanager
    def upload(self, expected: int | None = None) -> Iterator[DirectoryUpload]:
        """Begin a new file; see :class:`ImageStore`."""
        upload = DirectoryUpload(self.directory / f".{secrets.token_hex(8)}{PARTIAL}")
        try:
            upload.reserve(expected or 0)
            yield upload
        finally:
            upload.discard()

    def resumable(self, name: str) -> AbstractContextManager[KeptUpload]:
        """Begin a file, or go on with one; see :class:`ImageStore`."""
        return kept.resumable(self.directory, name)

    def open(self, digest: str, waits: Callable[[], object] = unheard) -> BinaryIO:  # noqa: ARG002 - it is here
        """Open a file for reading."""
        with _trouble_is_told(digest):
            return self.path(digest).open("rb")

    def chunks(self, digest: str, begin: int = 0) -> Iterator[bytes]:
        """Yield a file's bytes from byte `begin` on."""
        with self.open(digest) as file:
            file.seek(begin)
            while data := _read(file):
                yield data

    def size(self, digest: str) -> int:
        """Return a file's length in bytes."""
        with _trouble_is_told(digest):
            return self.path(digest).stat().st_size

    def digests(self) -> set[str]:
        """Return the SHA-256 of every file."""
        with failures_are_told():
            return {path.name for path in self.directory.iterdir() if DIGEST.fullmatch(path.name)}

    def delete(self, digest: str) -> None:
        """Remove a file; it may be gone already."""
        with failures_are_told():
            self.path(digest).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove the partial files that no living process holds."""
        with failures_are_told():
            for path in self.directory.glob(f"*{PARTIAL}"):
                with (
                    contextlib.suppress(FileNotFoundError, BlockingIOError),
                    path.open("r+b") as file,
                ):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if not kept.may_go_on(path):
                        path.unlink(missing_ok=True)
            kept.sweep(self.directory)

    def keeping(self) -> contextlib.AbstractContextManager[object]:
        """Hold off :meth:`removing`."""
        return self._locked(fcntl.LOCK_SH)

    def removing(self) -> contextlib.AbstractContextManager[bool]:
        """Hold off :meth:`keeping`, if nobody is at that."""
        return self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB)

    @contextlib.contextmanager
    def _locked(self, kind: int) -> Iterator[bool]:
        with contextlib.ExitStack() as held:
            with failures_are_told():
                lock = held.enter_context((self.directory / ".lock").open("a+"))
                try:
                    fcntl.flock(lock, kind)
                    got = True
                except BlockingIOError:
                    got = False
            yield got


def _read(file: BinaryIO) -> bytes:
    with failures_are_told():
        return file.read(_BLOCK)


@contextlib.contextmanager
def _trouble_is_told(digest: str) -> Iterator[None]:
    with failures_are_told():
        try:
            yield
        except FileNotFoundError:
            raise MissingError(digest) from None
