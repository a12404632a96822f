# SPDX-License-Identifier: Apache-2.0
"""Ids as EC2 makes them: a prefix and seventeen hexadecimal digits (eight in old times).

Most are random. What an account or an instance always has one of has an id that follows from its
owner's, so that nothing needs to be written down for it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from typing import TYPE_CHECKING

from gateway.cloud.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIXES = {
    "instance": "i",
    "reservation": "r",
    "image": "ami",
    "import image task": "import-ami",
    "key pair": "key",
    "vpc": "vpc",
    "subnet": "subnet",
    "internet gateway": "igw",
    "route table": "rtb",
    "security group": "sg",
    "security group rule": "sgr",
    "network acl": "acl",
    "dhcp options": "dopt",
    "network interface": "eni",
    "spot instances request": "sir",
    "volume": "vol",
    "snapshot": "snap",
}

_DIGITS = re.compile(r"(?:[0-9a-f]{8}|[0-9a-f]{17})")
# EC2's requests for spot instances have had no longer ones.
_LETTERS = string.digits + string.ascii_lowercase
_OF_SPOT = re.compile(r"[0-9a-z]{8}")


def new(kind: str) -> str:
    """Return a fresh id: 68 random bits, so that nothing checks for collisions.

    A spot instances request's has 41 of them.
    """
    if PREFIXES[kind] == "sir":
        return f"sir-{''.join(secrets.choice(_LETTERS) for _ in range(8))}"
    return f"{PREFIXES[kind]}-{secrets.token_hex(9)[:17]}"


def derived(prefix: str, *owner: str) -> str:
    """Return the id with that prefix that always belongs to the same owner."""
    return f"{prefix}-{hashlib.sha256('/'.join((prefix, *owner)).encode()).hexdigest()[:17]}"


def sibling(kind: str, text: str) -> str:
    """Return the id of that kind with the digits of another id, which can be had back from it."""
    return f"{PREFIXES[kind]}-{text.rpartition('-')[2]}"


def kind_of(text: str) -> str | None:
    """Return the kind whose prefix a text begins with, None if there is no such kind."""
    prefix = text.rpartition("-")[0]
    return next((kind for kind, known in PREFIXES.items() if known == prefix), None)


def check(kind: str, texts: Iterable[str]) -> None:
    """Raise :class:`Malformed` for the first text that cannot be an id of that kind."""
    prefix = PREFIXES[kind] + "-"
    digits = _OF_SPOT if prefix == "sir-" else _DIGITS
    for text in texts:
        if not text.startswith(prefix) or not digits.fullmatch(text.removeprefix(prefix)):
            raise Malformed(kind, text)
