# SPDX-License-Identifier: Apache-2.0
"""The guest's first file system and disk label, byte by byte where a kernel or BIOS reads them."""

from __future__ import annotations

import io
import struct

from gateway.embedded.guest import build, disk
from gateway.embedded.guest.cpio import Archive


def packed() -> bytes:
    out = io.BytesIO()
    archive = Archive(out)
    archive.directory("dev")
    archive.character_device("dev/console", 5, 1)
    archive.file("init", b"#!/bin/sh\n", 0o755)
    archive.symlink("bin", "usr/bin")
    archive.close()
    return out.getvalue()


def entries(data: bytes) -> list[tuple[str, int, int, int, bytes]]:
    """Read name, mode, major, minor and content as the kernel's initramfs.c does."""
    found: list[tuple[str, int, int, int, bytes]] = []
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, major, minor, name_size = (fields[n] for n in (1, 6, 9, 10, 11))
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        at += -(-(110 + name_size) // 4) * 4
        if name == "TRAILER!!!":
            return found
        found.append((name, mode, major, minor, data[at : at + size]))
        at += -(-size // 4) * 4


def test_the_archive_has_every_entry_with_its_kind_and_content() -> None:
    assert entries(packed()) == [
        ("dev", 0o040755, 0, 0, b""),
        ("dev/console", 0o020600, 5, 1, b""),
        ("init", 0o100755, 0, 0, b"#!/bin/sh\n"),
        ("bin", 0o120777, 0, 0, b"usr/bin"),
    ]


def test_the_same_files_give_the_same_bytes() -> None:
    assert packed() == packed()
    assert build._compressed(packed()) == build._compressed(packed())


def test_the_boot_record_has_two_partitions_inside_the_disk_and_starts_the_first() -> None:
    record = disk._master_boot_record(b"\xfa" * 440, 4096)
    assert len(record) == 512
    assert record.startswith(b"\xfa" * 440)
    assert record.endswith(b"\x55\xaa")
    found = [struct.unpack_from("<B3xB3xII", record, 446 + 16 * n) for n in range(4)]
    assert found[2:] == [(0, 0, 0, 0)] * 2
    (active, kind, start, sectors), (inactive, data_kind, data_start, data_sectors) = found[:2]
    assert (active, kind, inactive, data_kind) == (0x80, 0x0E, 0, 0x83)
    assert start + sectors <= data_start
    assert (data_start, data_sectors) == (disk.MAIN_START, 4096)


def test_every_file_that_begins_as_a_script_is_one_that_the_kernel_can_start() -> None:
    for path in build._ROOTFS.rglob("*"):
        if path.is_file() and path.read_bytes().startswith(b"#!"):
            assert path.read_text().startswith("#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n")
