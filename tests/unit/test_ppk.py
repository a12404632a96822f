# SPDX-License-Identifier: Apache-2.0
"""Private keys in PuTTY's form."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_public_key,
)

from gateway.cloud import ppk

# What PuTTY's own puttygen 0.78 makes of the key whose 32 bytes are 0 to 31.
PUTTYGEN = """\
PuTTY-User-Key-File-2: ssh-ed25519
Encryption: none
Comment: fixed
Public-Lines: 2
AAAAC3NzaC1lZDI1NTE5AAAAIAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQS
VTG4
Private-Lines: 1
AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f
Private-MAC: 3f8debbd89960a14410f9fad9b4668aadaed9cc1
"""


def test_a_key_is_written_as_putty_writes_it() -> None:
    private = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    assert ppk.encode(private, "fixed") == PUTTYGEN.replace("\n", "\r\n")


def fields(data: bytes) -> list[bytes]:
    """Return the strings that an SSH blob is a row of."""
    found = []
    while data:
        length = int.from_bytes(data[:4], "big")
        found.append(data[4 : 4 + length])
        data = data[4 + length :]
    return found


def read(text: str) -> tuple[bytes, bytes]:
    """Return the public and the private blob of a file whose MAC is right."""
    head, lines = {}, iter(text.split("\r\n"))
    for line in lines:
        name, _, value = line.partition(": ")
        if name.endswith("-Lines"):
            value = "".join(next(lines) for _ in range(int(value)))
        head[name] = value
    public, secret = (base64.b64decode(head[f"{name}-Lines"]) for name in ("Public", "Private"))
    named = (head["PuTTY-User-Key-File-2"], head["Encryption"], head["Comment"])
    parts = [*(one.encode() for one in named), public, secret]
    signed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    key = hashlib.sha1(b"putty-private-key-file-mac-key", usedforsecurity=False).digest()
    assert hmac.new(key, signed, hashlib.sha1).hexdigest() == head["Private-MAC"]
    return public, secret


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_a_key_pair_can_be_made_in_putty_s_form(ec2: Any, kind: str) -> None:
    made = ec2.create_key_pair(KeyName="made", KeyType=kind, KeyFormat="ppk")
    public, secret = read(made["KeyMaterial"])
    [described] = ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
    assert described["KeyFingerprint"] == made["KeyFingerprint"]
    assert base64.b64decode(described["PublicKey"].split()[1]) == public
    known = load_ssh_public_key(described["PublicKey"].rpartition(" ")[0].encode())
    if kind == "ed25519":
        [seed] = fields(secret)
        assert ed25519.Ed25519PrivateKey.from_private_bytes(seed).public_key() == known
        digest = base64.b64encode(hashlib.sha256(public).digest()).decode()
        assert made["KeyFingerprint"] == digest
        return
    assert isinstance(known, rsa.RSAPublicKey)
    d, p, q, iqmp = (int.from_bytes(field, "big", signed=True) for field in fields(secret))
    numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), iqmp, known.public_numbers())
    private = numbers.private_key()
    assert private.public_key() == known
    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert made["KeyFingerprint"] == hashlib.sha1(der, usedforsecurity=False).digest().hex(":")
