# SPDX-License-Identifier: Apache-2.0
"""The claim's answer, the configuration file and the table of exits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from execnode_gateway import specification

from execnode import config, exits, order, spec

if TYPE_CHECKING:
    from pathlib import Path

THREE = 'gateway = "https://g:8774"\ntoken_file = "/t"\nca_file = "/c"\n'


def test_a_claims_answer_becomes_a_spec() -> None:
    read = spec.read(specification(b"disk", user_data="aGVsbG8="))
    assert (read.instance_id, read.run, read.user_data) == ("i-0123456789abcdef0", 1, b"hello")
    assert read.disk_bytes == read.image.virtual_size
    assert read.ssh_keys[0].name == "k"


def test_a_bigger_disk_than_the_image_is_honoured() -> None:
    assert spec.read(specification(b"disk", disk_bytes=2**31)).disk_bytes == 2**31


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("v", 2),
        ("instance_id", "../../etc"),
        ("instance_id", "i-0123456789abcdef0\n"),
        ("run", True),
        ("vcpus", 0),
        ("memory_mib", "512"),
        ("disk_bytes", 1),
        ("architecture", "arm64"),
        ("boot_mode", "uefi-preferred"),
        ("mac", "52:54:00:12:34:5G"),
        ("hostname", "a\nb"),
        ("user_data", "not base64!"),
        ("ssh_keys", {}),
        ("image", []),
    ],
)
def test_a_member_that_is_not_as_agreed_is_named(member: str, value: object) -> None:
    with pytest.raises(spec.SpecError, match=member):
        spec.read(specification(b"disk") | {member: value})


def test_how_a_guest_boots_is_read_and_is_bios_where_nothing_is_said() -> None:
    assert spec.read(specification(b"disk")).boot_mode == "legacy-bios"
    assert spec.read(specification(b"disk", boot_mode="uefi")).boot_mode == "uefi"
    with pytest.raises(spec.SpecError, match="boot_mode"):
        spec.read(specification(b"disk", boot_mode="uefi", architecture="i386"))


@pytest.mark.parametrize("member", ["sha256", "size", "format", "virtual_size", "path"])
def test_a_missing_member_of_the_image_is_named(member: str) -> None:
    document = specification(b"disk")
    del document["image"][member]
    with pytest.raises(spec.SpecError, match=f"image.{member}"):
        spec.read(document)


def test_an_image_path_elsewhere_is_refused() -> None:
    document: dict[str, Any] = specification(b"disk")
    document["image"]["path"] = "/v1/images/../../etc/passwd"
    with pytest.raises(spec.SpecError, match=r"image\.path"):
        spec.read(document)


def test_a_key_that_would_begin_a_second_line_is_refused() -> None:
    keys = [{"name": "k", "key": "ssh-rsa A\nssh-rsa B"}]
    with pytest.raises(spec.SpecError, match=r"ssh_keys\[0\]\.key"):
        spec.read(specification(b"disk", ssh_keys=keys))


def test_a_configuration_with_the_three_settings_is_enough(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text(THREE)
    settings = config.load(file)
    assert settings.network == "condor-cloud"
    assert str(settings.cache_dir) == "/var/lib/condor-cloud-node/cache"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "gateway is missing"),
        (THREE.replace("https", "http"), "must be an https"),
        (THREE + 'colour = "red"', "no setting named colour"),
        (THREE + 'state_dir = "here"', "must be an absolute path"),
        (THREE + "network = 1", "must be of type str"),
        ("gateway =", "is not TOML"),
    ],
)
def test_a_wrong_configuration_is_refused_in_a_sentence(
    tmp_path: Path, text: str, sentence: str
) -> None:
    file = tmp_path / "node.toml"
    file.write_text(text)
    with pytest.raises(config.ConfigError, match=sentence):
        config.load(file)


def test_exits_have_names_and_codes_of_their_own() -> None:
    assert len({e.name for e in exits.TABLE}) == len({e.code for e in exits.TABLE})
    assert len({e.name for e in exits.TABLE}) == len(exits.TABLE)


def test_an_endings_message_is_one_bounded_line() -> None:
    ended = exits.EndedError(exits.HYPERVISOR_ERROR, "a\nb " + "x" * 1000)
    assert len(ended.message) == exits.MESSAGE_LIMIT
    assert ended.message.startswith("The hypervisor refused the instance. a b xxx")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--instance i-12345678",
        "--instance i-12345678 --run 0",
        "--instance x --run 1",
        "--instance i-12345678 --run 1 --run",
        "--instance i-12345678 --run 1 --colour red",
    ],
)
def test_a_command_line_that_is_not_understood_is_refused(line: str) -> None:
    assert order.read(line.split()) is None


def test_a_command_line_names_instance_and_run() -> None:
    read = order.read(["--instance", "i-12345678", "--run", "2", "--config", "/n.toml"])
    assert read is not None
    assert (read.instance, read.run, str(read.config)) == ("i-12345678", 2, "/n.toml")
