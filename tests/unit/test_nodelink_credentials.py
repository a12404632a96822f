# SPDX-License-Identifier: Apache-2.0
"""The node link's key and certificate."""

from __future__ import annotations

import dataclasses
import stat
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from gateway.config import Settings
from gateway.nodelink import credentials

if TYPE_CHECKING:
    from pathlib import Path

LOCAL = {"127.0.0.1", "::1", "localhost"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state")


def names(settings: Settings) -> set[str]:
    found = x509.load_pem_x509_certificate(credentials.certificate(settings).read_bytes())
    covered = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = covered.get_values_for_type(x509.IPAddress)
    return {*covered.get_values_for_type(x509.DNSName), *map(str, addresses)}


def belong_together(settings: Settings) -> bool:
    found = x509.load_pem_x509_certificate(credentials.certificate(settings).read_bytes())
    key = serialization.load_pem_private_key(credentials.private_key(settings).read_bytes(), None)
    return bool(found.public_key() == key.public_key())


def test_a_certificate_that_covers_the_settings_is_kept(settings: Settings) -> None:
    named = dataclasses.replace(settings, nodelink_host="gateway.example")
    made = credentials.certificate(named).read_bytes()
    assert names(named) == LOCAL | {"gateway.example"}
    assert credentials.certificate(named).read_bytes() == made
    assert credentials.certificate(settings).read_bytes() == made


def test_another_host_gets_another_certificate_and_keeps_the_key(settings: Settings) -> None:
    assert names(settings) == LOCAL
    key = credentials.private_key(settings).read_bytes()
    assert names(dataclasses.replace(settings, nodelink_host="192.0.2.1")) == LOCAL | {"192.0.2.1"}
    assert credentials.private_key(settings).read_bytes() == key
    assert belong_together(settings)


@pytest.mark.parametrize("anywhere", ["0.0.0.0", "::"])  # noqa: S104 - nothing listens
def test_for_any_address_the_names_are_what_nodes_call(settings: Settings, anywhere: str) -> None:
    given = dataclasses.replace(
        settings, nodelink_host=anywhere, nodelink_names="gateway.example, 192.0.2.1,2001:db8::1"
    )
    assert names(given) == LOCAL | {"gateway.example", "192.0.2.1", str(ip_address("2001:db8::1"))}


@pytest.mark.parametrize("lost", ["key.pem", "certificate.pem"])
@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN"])
def test_a_file_that_is_lost_or_torn_is_made_anew(
    settings: Settings, lost: str, content: bytes | None
) -> None:
    file = credentials.certificate(settings).with_name(lost)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    assert belong_together(settings)
    mode = credentials.private_key(settings).stat().st_mode
    assert not mode & (stat.S_IRWXG | stat.S_IRWXO)


def test_a_certificate_of_another_key_is_made_anew(settings: Settings, tmp_path: Path) -> None:
    other = dataclasses.replace(settings, state_dir=tmp_path / "other")
    foreign = credentials.certificate(other).read_bytes()
    credentials.certificate(settings).write_bytes(foreign)
    assert belong_together(settings)
