# SPDX-License-Identifier: Apache-2.0
"""SSH key pairs. A private key is given out once, when it is made, and never stored.

Fingerprints are EC2's (EC2 User Guide, "Verify the fingerprint of your key pair"): for an RSA key
made here the SHA-1 of its private key in PKCS#8, for an imported one the MD5 of its public key,
both in DER and in colon-separated hexadecimal; for an Ed25519 key OpenSSH's SHA-256 in base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
    load_ssh_public_key,
)

from gateway.cloud import ids, ppk, quotas
from gateway.cloud.errors import Invalid, NotFound, Taken, unknown
from gateway.store import key_pairs, tags
from gateway.store.key_pairs import KeyPair

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

MAX_PUBLIC_KEY = 16 * 1024
RSA_BITS = 2048
FORMATS = ("pem", "ppk")
IMPORTED_RSA_BITS = (1024, 4096)

PublicKey = rsa.RSAPublicKey | ed25519.Ed25519PublicKey


class NewKey(NamedTuple):
    """A key that was just made; ``private`` is its text, which is given out once."""

    public: PublicKey
    private: str
    fingerprint: str


def generate(key_type: str, key_format: str = "pem") -> NewKey:
    """Make a key of the type ``rsa`` or ``ed25519``, as ``pem`` or ``ppk``.

    Raises :class:`Invalid` for any other. The fingerprint does not depend on the form.

    An RSA key takes up to a second of computing: call this outside of a writing transaction.
    """
    if key_format not in FORMATS:
        raise Invalid("key format", key_format, f"There is no key format {key_format}: pem or ppk.")
    if key_type == "rsa":
        return _new_rsa(key_format)
    if key_type == "ed25519":
        return _new_ed25519(key_format)
    raise Invalid("key type", key_type, f"There is no key type {key_type}: rsa or ed25519.")


def add(  # noqa: PLR0913 - what a key pair is
    db: Connection,
    account_id: str,
    name: str,
    key: NewKey,
    *,
    tagged: Mapping[str, str],
    now: datetime,
    limits: Mapping[str, int] = quotas.UNLIMITED,
) -> KeyPair:
    """Keep the public half of a key that was made here, under a name."""
    _check_name(db, account_id, name)
    quotas.check(db, account_id, "key-pairs", 1, limits)
    return _insert(db, account_id, name, key.public, key.fingerprint, tagged=tagged, now=now)


def create(  # noqa: PLR0913 - what a key pair is
    db: Connection,
    account_id: str,
    name: str,
    key_type: str,
    *,
    tagged: Mapping[str, str],
    now: datetime,
) -> tuple[KeyPair, str]:
    """Make a key and add it; return the pair and its private key in PEM.

    For one process that starts alone; where others may wait to write, :func:`generate` first.
    """
    key = generate(key_type)
    return add(db, account_id, name, key, tagged=tagged, now=now), key.private


def import_public_key(  # noqa: PLR0913 - what a key pair is
    db: Connection,
    account_id: str,
    name: str,
    material: bytes,
    *,
    tagged: Mapping[str, str],
    now: datetime,
    limits: Mapping[str, int] = quotas.UNLIMITED,
) -> KeyPair:
    """Take in a public key in OpenSSH's form, RFC 4716's, PEM or DER."""
    _check_name(db, account_id, name)
    quotas.check(db, account_id, "key-pairs", 1, limits)
    public = _read_public_key(material)
    if isinstance(public, rsa.RSAPublicKey):
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        fingerprint = _colons(hashlib.md5(der, usedforsecurity=False))
    else:
        fingerprint = _openssh_fingerprint(public)
    return _insert(db, account_id, name, public, fingerprint, tagged=tagged, now=now)


def find(
    db: Connection, account_id: str, *, names: Sequence[str] = (), pair_ids: Sequence[str] = ()
) -> list[KeyPair]:
    """Return the key pairs with these names and ids, or all; raise :class:`NotFound`."""
    ids.check("key pair", pair_ids)
    pairs = key_pairs.select(db, account_id)
    for asked, had in (
        (names, [pair.name for pair in pairs]),
        (pair_ids, [pair.id for pair in pairs]),
    ):
        if missing := unknown(asked, had):
            raise NotFound("key pair", *missing)
    if names or pair_ids:
        pairs = [pair for pair in pairs if pair.name in names or pair.id in pair_ids]
    return pairs


def delete(
    db: Connection, account_id: str, *, name: str | None = None, pair_id: str | None = None
) -> KeyPair | None:
    """Remove a key pair and return it, or None where there is none: EC2 does not mind that.

    Instances keep the public key that they were launched with.
    """
    pair = None
    if pair_id is not None:
        ids.check("key pair", [pair_id])
        pair = key_pairs.get_by_id(db, account_id, pair_id)
    elif name is not None:
        pair = key_pairs.get(db, account_id, name)
    if pair is not None:
        tags.delete(db, [pair.id])
        key_pairs.delete(db, pair.id)
    return pair


def _check_name(db: Connection, account_id: str, name: str) -> None:
    # The name is written behind the key into authorized_keys: one line of printable ASCII.
    if not 1 <= len(name) <= 255 or not name.isascii() or not name.isprintable():
        raise Invalid("key name", name, "Key names have from 1 to 255 printable ASCII characters.")
    if name != name.strip():
        raise Invalid("key name", name, "Key names neither begin nor end with a space.")
    existing = key_pairs.get(db, account_id, name)
    if existing is not None:
        raise Taken("key pair", name, existing.id)


def _insert(  # noqa: PLR0913 - what a key pair is
    db: Connection,
    account_id: str,
    name: str,
    public: PublicKey,
    fingerprint: str,
    *,
    tagged: Mapping[str, str],
    now: datetime,
) -> KeyPair:
    pair = KeyPair(
        id=ids.new("key pair"),
        account_id=account_id,
        name=name,
        key_type="rsa" if isinstance(public, rsa.RSAPublicKey) else "ed25519",
        fingerprint=fingerprint,
        public_key=public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
        created_at=now,
    )
    key_pairs.insert(db, pair)
    tags.insert(db, account_id, [pair.id], tagged)
    return pair


def _new_rsa(key_format: str) -> NewKey:
    private = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    fingerprint = _colons(hashlib.sha1(der, usedforsecurity=False))
    text = ppk.encode(private) if key_format == "ppk" else pem.decode()
    return NewKey(private.public_key(), text, fingerprint)


def _new_ed25519(key_format: str) -> NewKey:
    private = ed25519.Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    text = ppk.encode(private) if key_format == "ppk" else pem.decode()
    return NewKey(private.public_key(), text, _openssh_fingerprint(private.public_key()))


def _openssh_fingerprint(public: PublicKey) -> str:
    line = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    blob = base64.b64decode(line.split()[1])
    return base64.b64encode(hashlib.sha256(blob).digest()).decode()


def _colons(digest: hashlib._Hash) -> str:
    return digest.digest().hex(":")


def _read_public_key(material: bytes) -> PublicKey:
    public: object = None
    if len(material) <= MAX_PUBLIC_KEY:
        try:
            public = _parse(material.strip())
        except (ValueError, UnsupportedAlgorithm):
            public = None
    least, most = IMPORTED_RSA_BITS
    if isinstance(public, ed25519.Ed25519PublicKey) or (
        isinstance(public, rsa.RSAPublicKey) and least <= public.key_size <= most
    ):
        return public
    raise Invalid(
        "public key",
        "",
        f"It is neither an RSA key of {least} to {most} bits nor an Ed25519 key.",
    )


def _parse(material: bytes) -> object:
    if material.startswith(b"---- BEGIN SSH2 PUBLIC KEY ----"):
        return load_ssh_public_key(_from_rfc4716(material))
    if material.startswith(b"-----BEGIN "):
        return load_pem_public_key(material)
    if material.startswith((b"ssh-", b"ecdsa-", b"sk-")):
        return load_ssh_public_key(material)
    try:
        return load_der_public_key(base64.b64decode(material, validate=True))
    except (binascii.Error, ValueError):
        return load_der_public_key(material)


def _from_rfc4716(material: bytes) -> bytes:
    body = b""
    continued = False
    for line in material.splitlines()[1:-1]:
        if continued or b":" in line:
            continued = line.endswith(b"\\")
        else:
            body += line.strip()
    blob = base64.b64decode(body, validate=True)
    length = int.from_bytes(blob[:4], "big")
    return blob[4 : 4 + length] + b" " + body
