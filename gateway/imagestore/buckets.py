# SPDX-License-Identifier: Apache-2.0
"""Reads an object that an image's location names, ``s3://bucket/key``."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, NamedTuple

from obstore.exceptions import (
    BaseError,
    InvalidPathError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from gateway.imagestore import s3
from gateway.imagestore.source_errors import BrokenSourceError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore import GetResult
    from obstore.store import S3Store

_CHUNK = 1  # whatever comes, as it comes: who reads looks at how slow that is
_NOBODYS = "condor-cloud-doctor"
_NO_BUCKET = "NoSuchBucket"  # S3's code, in what obstore says of its answer

log = logging.getLogger(__name__)


class NoObjectError(SourceError):
    """There is no such object, or no such bucket."""


class ClosedError(SourceError):
    """The keys do not open it; AWS says so also of what is not there, to who may not list it."""


class Answer(NamedTuple):
    """An object's bytes from ``begin`` on; ``version`` tells it from another of its name."""

    stream: ObjectStream
    size: int
    begin: int
    version: str | None


class ObjectStream:
    """What comes of an object, as a file that is read once."""

    def __init__(self, found: GetResult) -> None:
        self._chunks = (memoryview(chunk) for chunk in found.stream(min_chunk_size=_CHUNK))
        self._left = memoryview(b"")

    def read1(self, most: int) -> bytes:
        """Return some of the next bytes, none at the end; raises what :func:`answer` does."""
        if not self._left:
            with _told():
                self._left = next(self._chunks, self._left)
        piece, self._left = bytes(self._left[:most]), self._left[most:]
        return piece

    def close(self) -> None:
        """End the connection: that is what obstore does with a stream that nobody has any more."""
        self._chunks.close()


def answer(location: tuple[str, str], options_file: str, begin: int, version: str | None) -> Answer:
    """Ask for an object of a bucket, from a byte of that version on; another comes as a whole.

    Raises :class:`SourceError` and :class:`BrokenSourceError`.
    """
    bucket, key = location
    try:
        store = opened(bucket, options_file)
    except (OSError, ValueError) as error:
        # What is in the administrator's file is not for whoever names a bucket.
        log.warning("the setting image_source_options cannot be used: %s", error)
        raise SourceError("The setting image_source_options cannot be used.") from error
    with _told():
        found = _rest(store, key, begin, version) if begin and version else None
        if found is None:
            begin, found = 0, s3.get(store, key)
        tag = found.meta["e_tag"]
        version = tag if _tells_versions_apart(tag) else None
        return Answer(ObjectStream(found), int(found.meta["size"]), begin, version)


def _tells_versions_apart(tag: str | None) -> bool:
    # A weak one does not, byte by byte (RFC 9110, 8.8.1).
    return bool(tag) and not str(tag).startswith("W/")


def knock(place: str, options_file: str) -> None:
    """Ask for an object that need not be there, in a bucket or below ``bucket/prefix``.

    Raises what :func:`answer` does when nothing could be had of it, and OSError and ValueError for
    options that cannot be used.
    """
    bucket, _, prefix = place.partition("/")
    store, key = opened(bucket, options_file), f"{prefix}/{_NOBODYS}".lstrip("/")
    try:
        with _told():
            s3.get(store, key)
    except NoObjectError as error:
        if _NO_BUCKET in str(error.__cause__):
            raise SourceError("There is no such bucket.") from None


def opened(bucket: str, options_file: str) -> S3Store:
    """Return a bucket that tenants may name, of which nothing is asked yet.

    Raises OSError and ValueError for options that cannot be used.
    """
    given = s3.options(options_file)
    if given.get("virtual_hosted_style_request"):
        # The endpoint would be one bucket's, and a key begin with the name of another.
        raise ValueError("virtual_hosted_style_request is not for buckets that tenants name")
    try:
        return s3.opened(bucket, "", given, s3.READING)
    except BaseError as error:
        raise ValueError(str(error).partition("\n")[0]) from error


def _rest(store: S3Store, key: str, begin: int, version: str) -> GetResult | None:
    """Return what comes from a byte on; None where there is no such thing."""
    if not _tells_versions_apart(version):
        return None
    try:
        found = s3.get(store, key, {"range": {"offset": begin}, "if_match": version})
    except (PreconditionError, NotSupportedError):
        return None
    except BaseError as error:
        if any(words in str(error) for words in (s3.NOT_PARTIAL, s3.NOT_SATISFIABLE)):
            return None
        raise
    # A server may know nothing of the condition.
    return found if found.meta["e_tag"] == version else None


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        with s3.panics_are_errors():
            yield
    except (NotFoundError, FileNotFoundError, InvalidPathError) as error:
        raise NoObjectError("The image's bucket has no such object.") from error
    except (PermissionDeniedError, UnauthenticatedError, PermissionError):
        raise ClosedError("The image's bucket does not let the gateway in.") from None
    except (BaseError, OSError) as error:
        # The words are the server's, and need not be meant for whoever named it; after the first
        # line come obstore's own of its insides.
        log.warning("a bucket cannot be read: %s", str(error).partition("\n")[0])
        raise BrokenSourceError("The image's bucket cannot be read.") from error
