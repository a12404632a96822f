# SPDX-License-Identifier: Apache-2.0
"""Buckets of S3 and its relatives, opened with what a file of options says of them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from obstore import GetResult
    from obstore.store import HTTPStore

_KEYS = ("access_key_id", "secret_access_key")
_TEXTS = (*_KEYS, "session_token", "region", "endpoint")
_SWITCHES = ("skip_signature", "virtual_hosted_style_request")
OPTIONS = (*_TEXTS, *_SWITCHES)
"""What a file of options may say; obstore's names of them."""

SILENCE = 30  # seconds without a byte
ANSWER = 60.0  # seconds until an answer's headers are there
_LOOK = 1.0  # seconds between two questions whether what is sent is still wanted
_LAST_WORD = 5.0  # seconds that a server has to hear that it is not
_PART, _AT_ONCE = 16 * 2**20, 4
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")  # urlsplit takes the brackets off


class Patience(NamedTuple):
    """How long a server is waited for, and how often it is asked; both in obstore's words."""

    client: dict[str, Any]
    retries: dict[str, Any]


_CONNECT: dict[str, Any] = {"connect_timeout": "10s", "read_timeout": f"{SILENCE}s"}
_RETRIES = {"max_retries": 3, "retry_timeout": timedelta(minutes=1)}
# What is short: where a file is, which there are, that one be removed.
ASKING = Patience(_CONNECT | {"timeout": f"{ANSWER:.0f}s"}, _RETRIES)
# A part that takes longer than this is sent again.
WRITING = Patience({"connect_timeout": "10s", "timeout": "300s"}, _RETRIES)
# All of a file may take any time, as long as it comes. Whoever reads goes on by itself with what is
# cut: obstore does not ask whether it is the same version. Nor is a connection used again that the
# server may have closed meanwhile: without another try that would be a failure.
_ALONE = {"timeout": "7days", "pool_max_idle_per_host": "0"}
READING = Patience(_CONNECT | _ALONE, {"max_retries": 0})
NOT_SATISFIABLE = "status code: 416"  # of a range behind the end
NOT_PARTIAL = "non-partial response"  # what obstore says when a server ignores a range
_REGION = "us-east-1"
_AWS = "https://s3.{}.amazonaws.com"


def options(file: str) -> dict[str, Any]:
    """Read a TOML file; nothing for the empty name. Raises OSError and ValueError."""
    if not file:
        return {}
    found = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    try:
        _check(found)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    return found


def _check(given: dict[str, Any]) -> None:
    """Raise ValueError for what obstore would not take, or would panic at."""
    for name, value in given.items():
        if name not in OPTIONS:
            raise ValueError(f"there is no option named {name}")
        if name in _SWITCHES and not isinstance(value, bool):
            raise ValueError(f"{name} is not true or false")
        if name in _TEXTS and not (isinstance(value, str) and re.fullmatch(r"[!-~]+", value)):
            raise ValueError(f"{name} is not a text of ASCII characters without spaces")
    if len({name for name in _KEYS if name in given}) == 1:
        raise ValueError("access_key_id and secret_access_key go together")
    if "session_token" in given and "access_key_id" not in given:
        raise ValueError("session_token goes with access_key_id and secret_access_key")
    endpoint = urlsplit(given.get("endpoint", _AWS.format(_REGION)))
    if endpoint.scheme not in ("http", "https") or not _HOST.fullmatch(endpoint.hostname or ""):
        raise ValueError("endpoint is not an address that begins with https:// or http://")
    if endpoint.username is not None or endpoint.query or endpoint.fragment or endpoint.port == 0:
        raise ValueError("endpoint has more in it than a host, a port and a path")


def opened(bucket: str, prefix: str, given: dict[str, Any], patience: Patience) -> S3Store:
    """Return a bucket below a prefix, of which nothing is asked yet.

    `given` is what :func:`options` returned. Raises obstore's BaseError and ValueError for options
    that make no sense together.
    """
    region = given.get("region", _REGION)
    endpoint = given.get("endpoint", _AWS.format(region))
    keys = _keys(given)
    if keys is None and "endpoint" in given and not given.get("skip_signature"):
        # The machine's role, and what the environment has, are for AWS.
        raise ValueError("an endpoint needs access_key_id and secret_access_key, or skip_signature")
    client = patience.client | {"allow_http": endpoint.lower().startswith("http:")}
    # obstore reads the environment for what is not said here. Its variables mean the gateway's own
    # endpoint as often as not, and no other place may get the keys that are in it.
    config = {
        "region": region,
        "endpoint": endpoint,
        "aws_endpoint_url_s3": endpoint,
        "virtual_hosted_style_request": given.get("virtual_hosted_style_request", False),
        "skip_signature": given.get("skip_signature", False),
    }
    return S3Store(
        bucket,
        prefix=prefix.strip("/") or None,
        config=cast("Any", config),
        client_options=cast("Any", client),
        retry_config=cast("Any", patience.retries),
        credential_provider=cast("Any", None if keys is None else lambda: keys),
    )


def get(store: S3Store | HTTPStore, key: str, options: dict[str, Any] | None = None) -> GetResult:
    """Ask for an object. Raises obstore's BaseError, and TimeoutError after :data:`ANSWER`.

    An answer that is no object is read to its end by obstore, however slowly it comes.
    """

    async def asked() -> GetResult:
        async with asyncio.timeout(ANSWER):
            return await obstore.get_async(store, key, options=cast("Any", options))

    return asyncio.run(asked())


def put(
    store: S3Store | HTTPStore, key: str, pieces: Iterable[bytes], waits: Callable[[], object]
) -> None:
    """Send an object in parts. Raises obstore's BaseError.

    `waits` is called again and again. What it raises ends the sending, as a signal does, and no
    part stays if the server says anything within :data:`_LAST_WORD`.
    """
    given_up: list[BaseException] = []

    def wanted() -> Iterator[bytes]:
        for piece in pieces:
            # obstore has the server forget the parts when there is no next piece.
            if given_up:
                raise given_up[0]
            yield piece

    async def sent() -> None:
        sending = asyncio.ensure_future(
            obstore.put_async(
                store, key, cast("Any", wanted()), chunk_size=_PART, max_concurrency=_AT_ONCE
            )
        )
        try:
            while not (await asyncio.wait({sending}, timeout=_LOOK))[0]:
                waits()
        except BaseException as error:
            given_up.append(error)
            await asyncio.wait({sending}, timeout=_LAST_WORD)
            raise
        finally:
            sending.cancel()
        await sending

    asyncio.run(sent())


@contextlib.contextmanager
def panics_are_errors() -> Iterator[None]:
    """Raise BaseError, obstore's own, where obstore panics: what it raises then is no Exception."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            raise BaseError(f"obstore panicked: {error}") from error
        raise


def _keys(given: dict[str, Any]) -> dict[str, Any] | None:
    """Return the keys that the options have, as obstore wants them of a provider."""
    if "access_key_id" not in given:
        return None
    return {
        "access_key_id": given["access_key_id"],
        "secret_access_key": given["secret_access_key"],
        "token": given.get("session_token"),
        "expires_at": None,
    }
