# SPDX-License-Identifier: Apache-2.0
"""Takes one location into the store: copy, convert where that is wanted, look, keep."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.embedded import root
from gateway.imagestore import conversion, flattening, headers, sources
from gateway.imagestore.headers import RefusedError
from gateway.imagestore.inspection import inspect
from gateway.imagestore.qemu_img import QemuImg, QemuImgError
from gateway.imagestore.source_errors import BrokenSourceError, SourceError
from gateway.imagestore.store import MissingError, StoreError, StoreFullError
from gateway.store.images import Content

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import Settings
    from gateway.imagestore.flattening import StoredDisk
    from gateway.imagestore.sources import Allowed
    from gateway.imagestore.store import ImageStore, KeptUpload, Upload

ATTEMPTS = 3
_PAUSE = 1.0  # seconds before the second attempt; four times as many before the third


class ImportFailedError(Exception):
    """An image cannot be taken in; the text is the sentence for its owner."""


class StoreTroubleError(ImportFailedError):
    """The store failed, for which the image is not to blame; it may do better another time."""


class Wanted(NamedTuple):
    """What is to be taken in: where it is, whether it may be converted, what it is said to be.

    ``sha256`` is what its bytes must have, where that is known.
    """

    location: str
    allowed: Allowed
    converts: bool = False
    said: str | None = None
    resumes: str = ""
    """the name under which a copy that is cut, by the end of its process too, is gone on with"""
    stays: bool = False
    """whether such a copy stays also when the work is given up, because somebody may ask again"""
    sha256: str | None = None


class Watcher(Protocol):
    """Is told how far it is; what it raises ends the work."""

    def copied(self, done: int, total: int | None) -> None:
        """Hear how many bytes are here, of how many, if that is known."""

    def converted(self, percent: float) -> None:
        """Hear how much of the disk is converted."""

    def inspected(self) -> None:
        """Hear, again and again, that it is being looked at."""

    def stored(self, percent: float) -> None:
        """Hear how much of what it has become is in a store that is not of this machine."""


class Nobody:
    """A :class:`Watcher` that does not care."""

    def copied(self, done: int, total: int | None) -> None:
        """Do nothing."""

    def converted(self, percent: float) -> None:
        """Do nothing."""

    def inspected(self) -> None:
        """Do nothing."""

    def stored(self, percent: float) -> None:
        """Do nothing."""


class Taker:
    """Copies a location into the store and looks at it before it gets its final name."""

    def __init__(self, settings: Settings, store: ImageStore) -> None:
        self._settings = settings
        self._store = store

    def take(self, wanted: Wanted, watcher: Watcher, keep: Callable[[Content], None]) -> None:
        """Take a location in and call `keep` with what it is, while the bytes are safe.

        Raises :class:`ImportFailedError`, and what the watcher and `keep` do.
        """
        with contextlib.ExitStack() as held:
            kept: KeptUpload | None = None
            try:
                if wanted.resumes:
                    kept = held.enter_context(self._store.resumable(wanted.resumes))
                upload = self._fetch(wanted, watcher, held, kept)
                _check_sum(upload, wanted.sha256)
                if wanted.converts:
                    limit = self._settings.image_size_limit
                    upload = held.enter_context(
                        conversion.usable(
                            upload,
                            said=wanted.said,
                            store=self._store,
                            qemu_img=self._qemu_img(),
                            limit=limit,
                            tell=watcher.converted,
                        )
                    )

                def keep_and_forget(content: Content) -> None:
                    if kept is not None:
                        kept.drop()
                    keep(content)

                self._keep(upload, watcher, keep_and_forget)
            except (SourceError, StoreError, RefusedError, QemuImgError, OSError) as error:
                failure = _failure(error)
                if kept is not None and not isinstance(failure, StoreTroubleError):
                    kept.drop()
                raise failure from error
            except BaseException:
                if kept is not None and not wanted.stays:
                    kept.drop()
                raise

    def take_disk(
        self, disk: StoredDisk, watcher: Watcher, keep: Callable[[Content], None]
    ) -> None:
        """Make an image of a disk that the store has; the rest is as in :meth:`take`."""
        try:
            with flattening.whole(
                disk,
                store=self._store,
                qemu_img=self._qemu_img(),
                limit=self._settings.image_size_limit,
                tell=watcher.converted,
            ) as upload:
                self._keep(upload, watcher, keep)
        except (StoreError, RefusedError, QemuImgError, OSError) as error:
            raise _failure(error) from error

    def _fetch(
        self,
        wanted: Wanted,
        watcher: Watcher,
        held: contextlib.ExitStack,
        kept: KeptUpload | None,
    ) -> Upload:
        """Copy a location; what was cut is gone on with, or begun anew, some times."""
        end: float | None = None
        upload: Upload | None = kept
        version = kept.version if kept else None
        here = sources.Part(kept.size, version) if kept and version else None
        tried, total = 0, None
        while True:
            try:
                options = self._settings.image_source_options
                with sources.opened(wanted.location, wanted.allowed, here, options) as source:
                    self._check_size(source.size)
                    upload = self._place(source, upload, held)
                    longest = sources.longest(source.size or self._settings.image_size_limit)
                    end = end or time.monotonic() + longest
                    version, total = source.version, source.size
                    _note(source, kept)
                    self._copy(source, upload, watcher, end, wanted)
            except BrokenSourceError as error:
                had = here
                here = sources.Part(upload.size, version) if upload and version else None
                tried += 1
                if had and here and had.version == here.version and had.size < here.size:
                    tried = 0  # it goes on, however often: `end` is the end of it
                if tried == ATTEMPTS:
                    raise ImportFailedError(f"{error} It was tried {ATTEMPTS} times.") from error
                time.sleep(_PAUSE * 4 ** max(0, tried - 1))
                # Of a server that said nothing nobody has heard yet whether it is still wanted.
                watcher.copied(upload.size if upload else 0, total)
            else:
                return upload

    def _place(
        self, source: sources.Source, upload: Upload | None, held: contextlib.ExitStack
    ) -> Upload:
        """Return where a source's bytes go: what comes before its beginning is there."""
        if upload is None:
            return held.enter_context(self._store.upload(source.size))
        if not source.begin:
            upload.restart()
        return upload

    def _check_size(self, size: int | None) -> None:
        limit = self._settings.image_size_limit
        if size is not None and size > limit:
            raise RefusedError(f"The image has {size} bytes; {limit} are allowed.")

    def _copy(
        self,
        source: sources.Source,
        upload: Upload,
        watcher: Watcher,
        end: float,
        wanted: Wanted,
    ) -> None:
        limit = self._settings.image_size_limit
        looked = False
        watcher.copied(upload.size, source.size)
        for chunk in source.chunks(end):
            if upload.size + len(chunk) > limit:
                raise RefusedError(f"The image has more than the {limit} bytes that are allowed.")
            upload.write(chunk)
            if not looked and upload.size >= headers.FIRST:
                # Nobody waits for the end of what is refused by its beginning.
                upload.flush()
                with upload.path.open("rb") as file:
                    conversion.look_early(
                        file,
                        source.size,
                        converts=wanted.converts,
                        said=wanted.said,
                        limit=limit,
                    )
                looked = True
            watcher.copied(upload.size, source.size)
        upload.flush()

    def _keep(self, upload: Upload, watcher: Watcher, keep: Callable[[Content], None]) -> None:
        limit = self._settings.image_size_limit
        facts = inspect(upload.path, self._qemu_img(), limit, watcher.inspected)

        def stored(size: int) -> None:
            watcher.stored(100.0 * size / facts.size)

        with self._store.keeping():
            keep(Content(upload.commit(stored), facts.size, facts.virtual_size, facts.format))

    def _qemu_img(self) -> QemuImg:
        return QemuImg(root.path(self._settings.cache_dir))


def _note(source: sources.Source, kept: KeptUpload | None) -> None:
    """Prepare an upload that may be gone on with for a source's bytes."""
    if kept is None:
        return
    kept.reserve(max(0, (source.size or 0) - kept.size))
    if source.version:
        kept.note(source.version)


def _failure(error: Exception) -> ImportFailedError:
    if isinstance(error, OSError):
        # Of a file in the store that was open already; sources tell of theirs by themselves.
        return StoreTroubleError(f"The image store cannot be used: {error.strerror}.")
    lasting = not isinstance(error, StoreError) or isinstance(error, MissingError | StoreFullError)
    return (ImportFailedError if lasting else StoreTroubleError)(str(error))


def _check_sum(upload: Upload, sha256: str | None) -> None:
    if sha256 not in {None, upload.digest()}:
        raise RefusedError("What came is not what was sent: its checksum is wrong.")
