# SPDX-License-Identifier: Apache-2.0
"""Buckets of S3 and its relatives, opened with what a file of options says of them."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from obstore.store import S3Store

OPTIONS = (
    *("access_key_id", "secret_access_key", "session_token", "region", "endpoint"),
    *("skip_signature", "virtual_hosted_style_request"),
)
"""What a file of options may say; obstore's names of them."""

# A part that takes longer than this is sent again.
CLIENT = {"timeout": "300s", "connect_timeout": "10s"}
RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(minutes=1)}
NOT_PARTIAL = "non-partial response"  # what obstore says when a server ignores a range
_REGION = "us-east-1"


def options(file: str) -> dict[str, Any]:
    """Read a TOML file; nothing for the empty name. Raises OSError and ValueError."""
    if not file:
        return {}
    found = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    for name in found:
        if name not in OPTIONS:
            raise ValueError(f"{file}: there is no option named {name}")
    return found


def opened(bucket: str, prefix: str, given: dict[str, Any]) -> S3Store:
    """Return a bucket below a prefix, of which nothing is asked yet.

    Raises obstore's BaseError, ValueError and TypeError for options that make no sense.
    """
    region = given.get("region", _REGION)
    endpoint = given.get("endpoint", f"https://s3.{region}.amazonaws.com")
    if not isinstance(endpoint, str):
        raise ValueError("endpoint is not an address")  # noqa: TRY004 - the option, not the code
    keys = _keys(given)
    if keys is None and "endpoint" in given and not given.get("skip_signature"):
        # The machine's role, and what the environment has, are for AWS.
        raise ValueError("an endpoint needs access_key_id and secret_access_key, or skip_signature")
    client = CLIENT | {"allow_http": endpoint.startswith("http:")}
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
        retry_config=RETRIES,
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
