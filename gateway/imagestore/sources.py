# SPDX-License-Identifier: Apache-2.0
"""Opens what an image's location names: a file, an http or https address, an object of S3."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import stat
import time
import urllib.error
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gateway.cloud import images
from gateway.imagestore import buckets, pace, web
from gateway.imagestore.networks import ForbiddenError
from gateway.imagestore.pace import Pace
from gateway.imagestore.source_errors import BrokenSourceError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader

    from gateway.cloud.image_sources import ImageSources
    from gateway.imagestore.buckets import ObjectStream
    from gateway.imagestore.networks import Networks

CHUNK = 2**20
_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})")


def longest(size: int) -> float:
    """Return the seconds that taking in `size` bytes may last, all attempts together."""
    return pace.GRACE + size / pace.SLOWEST


class Allowed(NamedTuple):
    """What may be read; None stands for anything, which is for the administrator alone."""

    sources: ImageSources | None
    networks: Networks | None


ANYTHING = Allowed(None, None)


class Part(NamedTuple):
    """What is here of a location already: so many bytes of what its server calls ``version``."""

    size: int
    version: str


class Source(NamedTuple):
    """An open location; ``size`` is None when a server does not say.

    The bytes begin at ``begin``. With a ``version`` the rest of a cut copy can be asked for.
    """

    stream: BufferedReader | http.client.HTTPResponse | ObjectStream
    size: int | None
    begin: int = 0
    version: str | None = None

    def chunks(self, limit: float) -> Iterator[bytes]:
        """Yield all bytes in pieces of :data:`CHUNK`, until `limit` on the monotonic clock.

        Raises :class:`BrokenSourceError` when they end early or drip, and
        :class:`SourceError` when the limit is passed.
        """
        coming = Pace()
        piece = bytearray()
        # What has come is looked at each time that something comes. A piece is full all the
        # same: the store makes holes of whole blocks of zeros.
        while data := self._read(CHUNK - len(piece)):
            piece += data
            if time.monotonic() > limit:
                raise SourceError("The image took too long to arrive.")
            if not coming.is_kept(len(data)):
                raise BrokenSourceError("The image's server is too slow.")
            if len(piece) == CHUNK:
                yield bytes(piece)
                piece.clear()
        if piece:
            yield bytes(piece)
        if self.size is not None and (here := self.begin + coming.received) != self.size:
            raise BrokenSourceError(
                f"The image ended after {here} of {self.size} bytes: the copy was cut."
            )

    def _read(self, most: int) -> bytes:
        with _breaks_are_told():
            return self.stream.read1(most)


@contextlib.contextmanager
def opened(
    location: str, allowed: Allowed, here: Part | None = None, s3_options: str = ""
) -> Iterator[Source]:
    """Open a location that is allowed; `s3_options` names a file for :func:`s3.options`.

    The rest of what is `here` is asked for; a server may begin anew all the same.

    Raises :class:`SourceError` and :class:`BrokenSourceError`.
    """
    if (found := images.source_object(location)) is not None:
        if allowed.sources is not None and not allowed.sources.allows_object(*found):
            raise SourceError("The image is in no bucket from which images may be taken any more.")
        begin, version = (0, None) if here is None else here
        answer = buckets.answer(found, s3_options, begin, version)
        with contextlib.closing(answer.stream):
            yield Source(answer.stream, answer.size, answer.begin, answer.version)
    elif images.source_file(location) is None:
        with contextlib.ExitStack() as held:
            with _breaks_are_told():
                rest = None if here is None else _rest(location, allowed.networks, here, held)
                if rest is None:
                    rest = _whole(held.enter_context(web.answer(location, allowed.networks)))
            yield rest
    else:
        with _regular_file(location.removeprefix("file://"), allowed.sources) as stream:
            yield (source := _file_source(stream, here))
            if _version(stream) != source.version:
                raise BrokenSourceError("The image's file was changed while it was copied.")


def _file_source(stream: BufferedReader, here: Part | None) -> Source:
    version = _version(stream)
    begin = here.size if here is not None and here.version == version else 0
    stream.seek(begin)
    return Source(stream, os.fstat(stream.fileno()).st_size, begin, version)


def _version(stream: BufferedReader) -> str:
    found = os.fstat(stream.fileno())
    times = f"{found.st_mtime_ns}-{found.st_ctime_ns}"
    return f"{found.st_dev}-{found.st_ino}-{found.st_size}-{times}"


def _rest(
    location: str, networks: Networks | None, here: Part, held: contextlib.ExitStack
) -> Source | None:
    """Ask for what is missing of a version; None where there is no such thing."""
    # RFC 9110, 13.1.5: the whole comes instead when it is another version by now.
    asked = {"Range": f"bytes={here.size}-", "If-Range": here.version}
    try:
        answer = held.enter_context(web.answer(location, networks, asked))
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        error.close()
        return None
    if answer.status != HTTPStatus.PARTIAL_CONTENT:
        return _whole(answer)
    told = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if told is None or int(told[1]) != here.size:
        raise BrokenSourceError("The image's server sends another part than was asked for.")
    # Not every server looks at the condition. One need not repeat a date (RFC 9110, 15.3.7).
    version = _version_of(answer) or ("" if here.version.startswith('"') else here.version)
    return Source(answer, int(told[2]), here.size, version) if version == here.version else None


def _whole(answer: http.client.HTTPResponse) -> Source:
    """Read from an answer's headers how many bytes there are."""
    length = answer.headers.get("Content-Length", "")
    if not length.isdecimal() and not answer.chunked:
        # RFC 9112, 8: the end of the connection would be that of the image, whoever cut it.
        raise SourceError("The image's server does not say where the image ends.")
    return Source(answer, int(length) if length.isdecimal() else None, 0, _version_of(answer))


def _version_of(answer: http.client.HTTPResponse) -> str | None:
    # If-Range takes no weak validators: what is only much the same cannot be gone on with.
    tag = answer.headers.get("ETag", "")
    return None if tag.startswith("W/") else tag or answer.headers.get("Last-Modified")


@contextlib.contextmanager
def _regular_file(name: str, sources: ImageSources | None) -> Iterator[BufferedReader]:
    # The name was checked at registration and may lead elsewhere by now, so it is looked up once,
    # without opening (O_PATH), and what it led to is checked and opened.
    try:
        found = os.open(name, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise SourceError(f"The image's file cannot be opened: {reason}.") from None
    try:
        here = Path(f"/proc/self/fd/{found}")
        real = str(here.readlink())
        if sources is not None and not _may_be_read(name, real, sources):
            raise SourceError(f"The image's file {sources.sentence} any more.")
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise SourceError("The image's location is not a file.")
        try:
            stream = here.open("rb")
        except OSError as error:
            raise SourceError(f"The image's file cannot be opened: {error.strerror}.") from None
    finally:
        os.close(found)
    with stream:
        yield stream


def _may_be_read(name: str, real: str, sources: ImageSources) -> bool:
    """Return whether a file may be read for the location `name` that leads to `real`.

    What the rule does not allow only the administrator could register; a name without any
    symbolic link still means what it meant then.
    """
    return name == real or sources.allows(Path(real))


@contextlib.contextmanager
def _breaks_are_told() -> Iterator[None]:
    try:
        yield
    except ForbiddenError:
        raise SourceError("The image cannot be fetched from there.") from None
    except urllib.error.HTTPError as error:
        error.close()
        # The words are the server's own, and need not be meant for whoever named it.
        phrase = http.client.responses.get(error.code, "")
        told = f"The image's server answers {error.code} {phrase}".rstrip() + "."
        if error.code >= 500 or error.code in (408, 429):
            raise BrokenSourceError(told) from None
        raise SourceError(told) from None
    except urllib.error.URLError as error:
        raise BrokenSourceError(f"The image's server cannot be reached: {error.reason}.") from None
    except TimeoutError:
        raise BrokenSourceError("The image's server takes too long.") from None
    except http.client.IncompleteRead:
        raise BrokenSourceError("The image's end is missing: the copy was cut.") from None
    except http.client.HTTPException:
        # Such an error quotes what the server said.
        raise BrokenSourceError("The image's server does not answer as HTTP has it.") from None
    except OSError as error:
        raise BrokenSourceError(f"The image cannot be read: {error or type(error)}.") from None
    except ValueError:
        raise SourceError("The image's location is not an address.") from None
