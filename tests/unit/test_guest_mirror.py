# SPDX-License-Identifier: Apache-2.0
"""The Debian archive is derived from what the machine's apt says, in its several spellings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.embedded import mirror
from gateway.embedded.mirror import MirrorError, Source

if TYPE_CHECKING:
    from pathlib import Path

ARCHIVE = "http://mirror.example/debian"
SECURITY = "http://mirror.example/debian-security"


def target(origin: str, release: str, uri: str, entry: str = "/nowhere:1") -> str:
    return f"{origin}|main|{release}|{uri}/|{entry}"


def test_the_parts_of_a_release_become_those_of_another() -> None:
    sources = mirror._sources(
        [
            target("Debian", "bookworm-security", SECURITY),
            target("Debian", "bookworm", ARCHIVE),
            target("Debian", "bookworm-updates", ARCHIVE),
            target("Debian", "bookworm-backports", ARCHIVE),
        ]
    )
    assert [source.line("trixie") for source in sources] == [
        f"deb {ARCHIVE} trixie main",
        f"deb {ARCHIVE} trixie-updates main",
        f"deb {SECURITY} trixie-security main",
    ]


def test_other_archives_are_left_aside() -> None:
    sources = mirror._sources(
        [
            target("Vendor", "nodistro", "https://vendor.example"),
            f"Debian|contrib|bookworm|{ARCHIVE}-contrib/|/nowhere:1",
            target("Debian", "bookworm", ARCHIVE),
        ]
    )
    assert sources == [Source(ARCHIVE, "", "")]


def test_before_the_first_update_the_archive_is_known_by_its_release() -> None:
    assert mirror._sources([target("$(ORIGIN)", "bookworm", ARCHIVE)])[0].uri == ARCHIVE


def test_a_machine_without_a_debian_archive_is_told_so() -> None:
    with pytest.raises(MirrorError, match="no Debian archive"):
        mirror._sources([target("Ubuntu", "noble", "http://mirror.example/ubuntu")])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "debian.sources",
            (
                "Types: deb\nURIs: http://other.example\nSigned-By: /keys/other.gpg\n\n"
                f"Types: deb\nURIs: {ARCHIVE}\nSuites: bookworm\nSigned-By: /keys/debian.gpg\n"
            ),
        ),
        (
            "debian.list",
            (
                "deb [signed-by=/keys/other.gpg] http://other.example x main\n"
                f"deb [arch=amd64 signed-by=/keys/debian.gpg] {ARCHIVE} bookworm main\n"
            ),
        ),
    ],
)
def test_the_keyring_that_the_machine_demands_is_demanded_again(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    found = mirror._sources([target("Debian", "bookworm", ARCHIVE, f"{tmp_path / name}:2")])
    assert found == [Source(ARCHIVE, "", "/keys/debian.gpg")]


def test_proxies_and_certificates_are_passed_on_and_nothing_else() -> None:
    proxy = 'Acquire::http::Proxy "http://proxy.example:3128";'
    authority = 'Acquire::https::CAInfo "/etc/ssl/site.pem";'
    options = mirror._options([proxy, authority, 'Dir::State "var";', 'Acquire::httpx "no";'])
    assert proxy in options
    assert authority in options
    assert not any("Dir::State" in option or "httpx" in option for option in options)


def test_progress_never_goes_back() -> None:
    seen: list[float] = []
    meter = mirror._Meter(lambda done, _what: seen.append(done), "trixie")
    meter.read("Get:1 http://mirror.example trixie InRelease\n")
    meter.read("I: downloading packages with apt...\n")
    for stage in range(3):
        meter.read("0 upgraded, 20 newly installed, 0 to remove\n")
        for number in range(20):
            meter.read(
                (f"Get:{number} x\n", "Unpacking x (1) ...\n", "Setting up x (1) ...\n")[stage]
            )
    assert seen == sorted(seen)
    assert seen[0] == 0.0
    assert seen[-1] == pytest.approx(1.0)
