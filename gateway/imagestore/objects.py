# SPDX-License-Identifier: Apache-2.0
"""An image store behind a URL: S3 and its relatives, or a web server that is only read.

A file is written into a directory of this machine first, looked at there, and given to the store
under its SHA-256 when that is known: such a store makes an object appear whole or not at all.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import obstore
from obstore.exceptions import (
    BaseError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import HTTPStore

from gateway.imagestore import s3
from gateway.imagestore.pace import Pace
from gateway.imagestore.store import (
    DIGEST,
    DirectoryStore,
    MissingError,
    StoreError,
    StoreFullError,
    unheard,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from obstore import GetResult
    from obstore.store import S3Store

    from gateway.imagestore.store import KeptUpload, Upload

SCHEMES = ("s3", "http", "https")
_CHUNK = 2**20
_PAUSE = 1.0  # seconds before what was cut is gone on with


class ObjectStore:
    """An :class:`~gateway.imagestore.store.ImageStore` behind a URL.

    `staging` is where files are on their way in, on this machine; its locks hold for all processes
    of this machine, which is the one that takes images in.
    """

    def __init__(self, url: str, options_file: str, staging: Path) -> None:
        """Nothing is asked of the store yet; raises :class:`StoreError` for wrong options."""
        self.url = url
        self.writable = url.startswith("s3:")
        self._staging = DirectoryStore(staging)
        try:
            options = s3.options(options_file)
            self._asked = _opened(url, options, s3.ASKING)
            self._read = _opened(url, options, s3.READING)
            self._written = _opened(url, options, s3.WRITING)
        except (BaseError, ValueError, OSError) as error:
            raise StoreError(f"The image store {url} cannot be used: {error}.") from error

    @contextlib.contextmanager
    def upload(self, expected: int | None = None) -> Iterator[ObjectUpload]:
        """Begin a new file."""
        with self._staging.upload(expected) as staged:
            yield ObjectUpload(self, staged)

    @contextlib.contextmanager
    def resumable(self, name: str) -> Iterator[KeptObjectUpload]:
        """Begin a file, or go on with one: its copy on this machine, not its way to the store."""
        with self._staging.resumable(name) as staged:
            yield KeptObjectUpload(self, staged)

    def open(self, digest: str, waits: Callable[[], object] = unheard) -> BinaryIO:
        """Fetch a file to this machine and open it; it has no name there any more."""
        size = self.size(digest)
        with self._staging.upload(size) as staged:
            coming = Pace()
            while staged.size < size:
                if staged.size:
                    time.sleep(_PAUSE)
                self._fetch(digest, staged, coming, waits)
            staged.flush()
            if staged.digest() != digest:
                raise StoreError(f"The image store gives other bytes than those of {digest}.")
            return staged.path.open("rb")

    def _fetch(
        self, digest: str, staged: Upload, coming: Pace, waits: Callable[[], object]
    ) -> None:
        """Fetch what is missing of a file; what is cut is gone on with by the next call.

        Raises :class:`StoreError` when nothing of it came, or too slowly.
        """
        begin, keeps_pace = staged.size, True
        try:
            for chunk in self._chunks(digest, begin, 1):
                waits()
                staged.write(chunk)
                if not (keeps_pace := coming.is_kept(len(chunk))):
                    break
        except (MissingError, StoreFullError):
            raise
        except StoreError:
            if staged.size == begin:
                raise
        if not keeps_pace:
            raise StoreError("The image store is too slow.")
        if staged.size == begin:
            raise StoreError(f"The image store gives nothing of {digest} from byte {begin} on.")

    def chunks(self, digest: str, begin: int = 0) -> Iterator[bytes]:
        """Yield a file's bytes from byte `begin` on."""
        if begin != self.size(digest):
            yield from self._chunks(digest, begin, _CHUNK)

    def _chunks(self, digest: str, begin: int, least: int) -> Iterator[bytes]:
        """Yield pieces of at least so many bytes, but for the last one."""
        with self._told(digest):
            found, left_out = self._get(digest, begin)
            for chunk in found.stream(least):
                data = bytes(chunk)[max(0, begin - left_out) :]
                left_out += len(chunk)
                if data:
                    yield data

    def _get(self, digest: str, begin: int) -> tuple[GetResult, int]:
        """Ask for a file from a byte on; return what comes, and how many bytes that leaves out."""
        if begin:
            try:
                return s3.get(self._read, digest, {"range": {"offset": begin}}), begin
            except NotSupportedError:
                pass  # RFC 9110, 14.2: a server may ignore the range
            except BaseError as error:
                if s3.NOT_PARTIAL not in str(error):
                    raise
        return s3.get(self._read, digest), 0

    def size(self, digest: str) -> int:
        """Return a file's length in bytes."""
        if not DIGEST.fullmatch(digest):
            raise MissingError(digest)
        with self._told(digest):
            return int(obstore.head(self._asked, digest)["size"])

    def digests(self) -> set[str]:
        """Return the SHA-256 of every file that may be deleted: none where nothing may."""
        if not self.writable:
            return set()
        with self._told(""):
            found = obstore.list(self._asked).collect()
        return {one["path"] for one in found if DIGEST.fullmatch(one["path"])}

    def delete(self, digest: str) -> None:
        """Remove a file; it may be gone already."""
        with contextlib.suppress(MissingError), self._told(digest):
            obstore.delete(self._asked, digest)

    def sweep(self) -> None:
        """Remove what uploads of this machine left behind."""
        self._staging.sweep()

    def keeping(self) -> contextlib.AbstractContextManager[object]:
        """Hold off :meth:`removing`."""
        return self._staging.keeping()

    def removing(self) -> contextlib.AbstractContextManager[bool]:
        """Hold off :meth:`keeping`, if nobody of this machine is at that."""
        return self._staging.removing()

    def put(self, file: Path, digest: str, size: int, stored: Callable[[int], object]) -> None:
        """Make a file appear under its checksum, unless it is there."""
        with contextlib.suppress(MissingError):
            if self.size(digest) == size:
                return
        if not self.writable:
            raise StoreError(f"The image store {self.url} is only read, and has no file {digest}.")
        pieces = _Pieces(file, stored)
        try:
            with self._told(digest):
                s3.put(self._written, digest, pieces, pieces.tell)
        except MissingError:
            # Nor does a server know the parts of an upload that it has forgotten.
            raise StoreError("The image store does not take the file.") from None
        finally:
            # It ends the upload, of which no part stays; what the server says of that may hide it.
            if pieces.raised is not None:
                raise pieces.raised
        if (found := self.size(digest)) != size:
            raise StoreError(f"The image store has {found} of the {size} bytes that it was given.")

    @contextlib.contextmanager
    def _told(self, digest: str) -> Iterator[None]:
        try:
            with s3.panics_are_errors():
                yield
        except (NotFoundError, FileNotFoundError):
            raise MissingError(digest) from None
        except (PermissionDeniedError, UnauthenticatedError):
            raise StoreError("The image store does not let the gateway in.") from None
        except TimeoutError:
            raise StoreError("The image store does not answer.") from None
        except BaseError as error:
            # The rest of it is the server's answer, and what was asked.
            said = str(error).splitlines()[0][:200].rstrip(".")
            raise StoreError(f"The image store does not answer as it should: {said}.") from error


class ObjectUpload:
    """An :class:`~gateway.imagestore.store.Upload` that is staged on this machine."""

    def __init__(self, store: ObjectStore, staged: Upload) -> None:
        self._store = store
        self._staged = staged

    @property
    def path(self) -> Path:
        """Where the bytes are meanwhile."""
        return self._staged.path

    @property
    def size(self) -> int:
        """How many there are."""
        return self._staged.size

    def write(self, data: bytes) -> None:
        """Add bytes at the end."""
        self._staged.write(data)

    def restart(self) -> None:
        """Forget every byte that was written."""
        self._staged.restart()

    def flush(self) -> None:
        """Make every byte readable at `path`."""
        self._staged.flush()

    def adopt(self) -> None:
        """Read what another process wrote into the file."""
        self._staged.adopt()

    def digest(self) -> str:
        """Return the SHA-256 of what was written."""
        return self._staged.digest()

    def commit(self, stored: Callable[[int], object] = unheard) -> str:
        """Give the whole file to the store, under its checksum."""
        self.flush()
        digest = self.digest()
        self._store.put(self.path, digest, self.size, stored)
        return digest


class KeptObjectUpload(ObjectUpload):
    """A :class:`~gateway.imagestore.store.KeptUpload` that is staged on this machine."""

    def __init__(self, store: ObjectStore, staged: KeptUpload) -> None:
        super().__init__(store, staged)
        self._kept = staged

    @property
    def version(self) -> str | None:
        """What the source was called whose first bytes are here."""
        return self._kept.version

    def note(self, version: str) -> None:
        """Remember what the source calls itself."""
        self._kept.note(version)

    def reserve(self, expected: int) -> None:
        """Refuse so many more bytes where there is no room for them on this machine."""
        self._kept.reserve(expected)

    def commit(self, stored: Callable[[int], object] = unheard) -> str:
        """Give the whole file to the store, under its checksum."""
        digest = super().commit(stored)
        self._kept.drop()
        return digest

    def drop(self) -> None:
        """Keep nothing for another time."""
        self._kept.drop()


class _Pieces:
    """A file's bytes; what ``stored`` raises upon them ends them, and is in ``raised``."""

    def __init__(self, file: Path, stored: Callable[[int], object]) -> None:
        self._file = file
        self._stored = stored
        self._given = 0
        # They are asked for by a thread of obstore's.
        self._lock = threading.Lock()
        self.raised: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        with self._file.open("rb") as source:
            while data := source.read(_CHUNK):
                yield data
                self._given = source.tell()
                self.tell()

    def tell(self) -> None:
        """Say how many are given, and raise what is answered, also when nobody asks for more."""
        with self._lock:
            if self.raised is not None:
                raise self.raised
            try:
                self._stored(self._given)
            except BaseException as error:
                self.raised = error
                raise


def _opened(url: str, options: dict[str, Any], patience: s3.Patience) -> S3Store | HTTPStore:
    if url.startswith("s3:"):
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        return s3.opened(bucket, prefix, options, patience)
    client = patience.client | {"allow_http": url.startswith("http:")}
    retries = cast("Any", patience.retries)
    return HTTPStore(url, client_options=cast("Any", client), retry_config=retries)
