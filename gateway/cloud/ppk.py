# SPDX-License-Identifier: Apache-2.0
"""PuTTY's form of a private key, version 2, which every PuTTY since 0.68 reads; not encrypted.

The form: PuTTY User Manual, appendix C (PPK file format).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ed25519

MAC_KEY = b"putty-private-key-file-mac-key"
LINE = 64


def encode(
    private: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, comment: str = "imported-openssh-key"
) -> str:
    """Return the file's text."""
    openssh = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    name, blob = openssh.split()[:2]
    public = base64.b64decode(blob)
    if isinstance(private, rsa.RSAPrivateKey):
        numbers = private.private_numbers()
        secret = b"".join(map(_number, (numbers.d, numbers.p, numbers.q, numbers.iqmp)))
    else:
        raw = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        secret = _string(raw)
    # Over everything but the line breaks: what is signed is what the lines say.
    signed = b"".join(map(_string, (name, b"none", comment.encode(), public, secret)))
    key = hashlib.sha1(MAC_KEY, usedforsecurity=False).digest()
    mac = hmac.new(key, signed, hashlib.sha1).hexdigest()
    lines = [
        f"PuTTY-User-Key-File-2: {name.decode()}",
        "Encryption: none",
        f"Comment: {comment}",
        *_lines("Public", public),
        *_lines("Private", secret),
        f"Private-MAC: {mac}",
    ]
    return "\r\n".join(lines) + "\r\n"


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _number(value: int) -> bytes:
    # RFC 4251, mpint: a first bit of 1 would be a sign.
    return _string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _lines(title: str, data: bytes) -> list[str]:
    text = base64.b64encode(data).decode()
    lines = [text[start : start + LINE] for start in range(0, len(text), LINE)]
    return [f"{title}-Lines: {len(lines)}", *lines]
