# SPDX-License-Identifier: Apache-2.0
"""Buckets of S3 and its relatives, opened with what a file of options says of them."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from obstore.store import S3Store

_TEXTS = ("access_key_id", "secret_access_key", "session_token", "region", "endpoint")
_SWITCHES = ("skip_signature", "virtual_hosted_style_request")
OPTIONS = (*_TEXTS, *_SWITCHES)
"""What a file of options may say; obstore's names of them."""

SILENCE = 30  # seconds without a byte


class Manner(NamedTuple):
    """How a server is asked; both in obstore's words."""

    client: dict[str, Any]
    retries: dict[str, Any]


_CONNECT: dict[str, Any] = {"connect_timeout": "10s"}
_RETRIES = {"max_retries": 3, "retry_timeout": timedelta(minutes=1)}
# A part that takes longer than this is sent again.
WRITING = Manner(_CONNECT | {"timeout": "300s"}, _RETRIES)
# All of a file may take any time, as long as it comes.
_READS = _CONNECT | {"timeout": "7days", "read_timeout": f"{SILENCE}s"}
READING = Manner(_READS, _RETRIES)
# For who goes on by itself with what is cut: obstore does not ask whether it is the same version.
READING_ONCE = Manner(_READS, {"max_retries": 0})
NOT_PARTIAL = "non-partial response"  # what obstore says when a server ignores a range
_REGION = "us-east-1"
_AWS = "https://s3.{}.amazonaws.com"


def options(file: str) -> dict[str, Any]:
    """Read a TOML file; nothing for the empty name. Raises OSError and ValueError."""
    if not file:
        return {}
    found = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    for name, value in found.items():
        if name not in OPTIONS:
            raise ValueError(f"{file}: there is no option named {name}")
        kind, called = (str, "a text") if name in _TEXTS else (bool, "true or false")
        if not isinstance(value, kind):
            raise ValueError(f"{file}: {name} is not {called}")  # noqa: TRY004 - the file, not the code
    endpoint = urlsplit(found.get("endpoint", _AWS))
    if endpoint.scheme not in ("http", "https") or not endpoint.hostname:
        raise ValueError(f"{file}: endpoint is not an address that begins with https:// or http://")
    return found


def opened(bucket: str, prefix: str, given: dict[str, Any], manner: Manner) -> S3Store:
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
    client = manner.client | {"allow_http": endpoint.lower().startswith("http:")}
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
        retry_config=cast("Any", manner.retries),
        credential_provider=cast("Any", None if keys is None else lambda: keys),
    )


def _keys(given: dict[str, Any]) -> dict[str, Any] | None:
    """Return the keys that the options have, as obstore wants them of a provider."""
    if "access_key_id" not in given and "secret_access_key" not in given:
        return None
    return {
        "access_key_id": given.get("access_key_id", ""),
        "secret_access_key": given.get("secret_access_key", ""),
        "token": given.get("session_token"),
        "expires_at": None,
    }
