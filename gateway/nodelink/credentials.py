# SPDX-License-Identifier: Apache-2.0
"""What proves the gateway to the nodes, and a node to the gateway.

The gateway has a certificate of its own making, which nodes trust by having a copy. A node has a
random token, of which the gateway keeps only the hash.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import ipaddress
import os
import secrets
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.config import Settings

VALID = dt.timedelta(days=3650)


def certificate(settings: Settings) -> Path:
    """Return the certificate's file (PEM), valid for ten years.

    Made at the first call, and anew when it is not good for every name in the settings, is not
    its key's, has expired or cannot be read. The key stays. Nodes need a copy of a new one.
    """
    path = settings.state_dir / "nodelink" / "certificate.pem"
    _private(path.parent)
    with (path.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the node link and a command may come here at once
        key = _key(private_key(settings))
        names = settings.certificate_names
        if not _is_good(path, key, names):
            _write(path, _signed(key, names).public_bytes(serialization.Encoding.PEM), 0o644)
    return path


def private_key(settings: Settings) -> Path:
    """Return the file of the certificate's key, mode 0600."""
    return settings.state_dir / "nodelink" / "key.pem"


def node_token(settings: Settings, node: str) -> str:
    """Return the token of ``node``, made at the first call and kept with mode 0600."""
    directory = settings.state_dir / "nodelink"
    _private(directory)
    path = directory / "tokens" / node
    if not path.exists():
        _write(path, secrets.token_urlsafe(32).encode("ascii"), 0o600)
    return path.read_text(encoding="ascii")


def token_hash(token: str) -> str:
    """Return what is kept of a token: its SHA-256 in hex (a token is 32 random bytes)."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Return the key in a file; made where there is none that can be read."""
    try:
        found = serialization.load_pem_private_key(path.read_bytes(), None)
    except (FileNotFoundError, ValueError):
        found = None
    if isinstance(found, ec.EllipticCurvePrivateKey):
        return found
    key = ec.generate_private_key(ec.SECP256R1())
    content = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _write(path, content, 0o600)
    return key


def _is_good(path: Path, key: ec.EllipticCurvePrivateKey, names: Sequence[str]) -> bool:
    """Return whether a file has a certificate of the key's, good for the names and today."""
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
        covered = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (FileNotFoundError, ValueError, x509.ExtensionNotFound):
        return False
    return (
        found.public_key() == key.public_key()
        and found.not_valid_after_utc > dt.datetime.now(dt.UTC)
        and set(map(_general_name, names)) <= set(covered)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _signed(key: ec.EllipticCurvePrivateKey, names: Sequence[str]) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Condor Cloud node link")])
    now = dt.datetime.now(dt.UTC)
    covered = x509.SubjectAlternativeName([_general_name(one) for one in names])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + VALID)
        .add_extension(covered, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )


def _private(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)  # one that was there may be of a mode that others can look into


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a file that appears whole or not at all."""
    _private(path.parent)
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
