# SPDX-License-Identifier: Apache-2.0
"""Which of QEMU's firmware descriptors make a node one that boots by UEFI."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from execnode import firmware

if TYPE_CHECKING:
    from pathlib import Path


def descriptor(place: Path, name: str = "60-uefi", **changes: object) -> None:
    """Write a descriptor like Debian's beside the files that it names."""
    place.mkdir(exist_ok=True)
    for part in ("CODE", "VARS"):
        (place / part).touch()
    document: dict[str, Any] = {
        "interface-types": ["uefi"],
        "mapping": {
            "device": "flash",
            "executable": {"filename": str(place / "CODE"), "format": "raw"},
            "nvram-template": {"filename": str(place / "VARS"), "format": "raw"},
        },
        "targets": [{"architecture": "x86_64", "machines": ["pc-i440fx-*", "pc-q35-*"]}],
        "features": ["acpi-s3", "verbose-dynamic"],
    }
    (place / f"{name}.json").write_text(json.dumps(document | changes))


def test_firmware_that_fits_is_found(tmp_path: Path) -> None:
    assert not firmware.has_uefi([tmp_path / "none"])
    descriptor(tmp_path)
    assert firmware.has_uefi([tmp_path / "none", tmp_path])


def test_a_file_that_it_names_must_be_there(tmp_path: Path) -> None:
    descriptor(tmp_path)
    (tmp_path / "VARS").unlink()
    assert not firmware.has_uefi([tmp_path])


@pytest.mark.parametrize(
    "changes",
    [
        {"interface-types": ["bios"]},
        {"features": ["secure-boot", "requires-smm"]},
        {"targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}]},
        {"targets": [{"architecture": "i386", "machines": ["pc-i440fx-*"]}]},
        {"mapping": {"device": "memory", "filename": "/dev/null"}},
        {"mapping": None},
        {"targets": "all"},
    ],
)
def test_firmware_that_does_not_fit_is_none(tmp_path: Path, changes: dict[str, object]) -> None:
    descriptor(tmp_path, **changes)
    assert not firmware.has_uefi([tmp_path])


def test_what_is_no_descriptor_hides_no_other(tmp_path: Path) -> None:
    descriptor(tmp_path)
    (tmp_path / "10-broken.json").write_text("{")
    (tmp_path / "20-list.json").write_text("[]")
    assert firmware.has_uefi([tmp_path])


def test_the_administrators_file_takes_the_place_of_the_packages(tmp_path: Path) -> None:
    packaged, own = tmp_path / "packaged", tmp_path / "own"
    descriptor(packaged)
    own.mkdir()
    (own / "60-uefi.json").touch()
    assert not firmware.has_uefi([packaged, own])
