# SPDX-License-Identifier: Apache-2.0
"""Disks that were cut are refused, also where qemu-img would read zeros; whole ones pass."""

from __future__ import annotations

import os
import struct
import subprocess
import zlib
from typing import TYPE_CHECKING

import pytest

from gateway.imagestore.headers import RefusedError
from gateway.imagestore.inspection import inspect
from gateway.imagestore.qemu_img import QemuImg, QemuImgError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MIB = 2**20
SECTOR = 512
LIMIT = 2**40
VARIETIES = {
    "plain": (),
    "of version 2": ("-o", "compat=0.10"),
    "with small clusters": ("-o", "cluster_size=512"),
    "with large clusters": ("-o", "cluster_size=2M"),
    "with subclusters": ("-o", "extended_l2=on,cluster_size=128k"),
    "preallocated": ("-o", "preallocation=metadata"),
    "packed": ("-c",),
    "packed by zstd": ("-c", "-o", "compression_type=zstd"),
    "packed in large clusters": ("-c", "-o", "cluster_size=2M"),
    "packed with subclusters": ("-c", "-o", "extended_l2=on,cluster_size=128k"),
}
CUTS = (1, SECTOR, 20_000, MIB + MIB // 2)
# A disk of whole clusters, one that ends within a cluster, and one that ends with nothing.
DISKS = {
    "even": (4 * MIB, 4 * MIB),
    "uneven": (3 * MIB + 1024,) * 2,
    "empty": (64 * MIB, MIB + 5000),
}


@pytest.fixture(scope="module")
def qemu_img() -> QemuImg:
    try:
        return QemuImg()
    except QemuImgError as error:
        pytest.skip(str(error))


def refusal(image: Path, qemu_img: QemuImg) -> str:
    try:
        inspect(image, qemu_img, LIMIT)
    except RefusedError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("disk", DISKS)
@pytest.mark.parametrize("variety", VARIETIES)
def test_a_qcow2_that_lacks_a_piece_of_its_disk_is_refused_and_no_other(
    tmp_path: Path, qemu_img: QemuImg, variety: str, disk: str
) -> None:
    raw, image = tmp_path / "raw", tmp_path / "image"
    size, end = DISKS[disk]
    with raw.open("wb") as file:
        file.truncate(size)
        file.seek(end - 300_000)
        file.write(os.urandom(300_000))
    made = ("convert", "-f", "raw", "-O", "qcow2", *VARIETIES[variety], str(raw), str(image))
    subprocess.run(["qemu-img", *made], check=True, capture_output=True)
    whole = image.stat().st_size
    assert not refusal(image, qemu_img)
    for cut in CUTS:
        os.truncate(image, max(SECTOR, whole - cut))
        if told := refusal(image, qemu_img):
            assert "truncated" in told
        else:
            compared = ("compare", "-f", "qcow2", "-F", "raw", str(image), str(raw))
            done = subprocess.run(["qemu-img", *compared], capture_output=True, check=False)
            assert done.returncode == 0, f"{cut} of {whole} bytes are missing"
    assert told


def test_what_is_said_to_be_zeros_need_not_be_there(tmp_path: Path, qemu_img: QemuImg) -> None:
    image = tmp_path / "image"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "1M"], check=True)
    written = ("-f", "qcow2", "-c", "write 0 64k", "-c", "write -z 0 64k")
    subprocess.run(["qemu-io", *written, image], check=True, capture_output=True)
    whole = image.stat().st_size
    os.truncate(image, whole - 4096)
    assert not refusal(image, qemu_img)


def mbr(*partitions: tuple[int, int, int], code: bytes = b"", flag: int = 0x80) -> bytes:
    """Return a boot sector with partitions: kind, first sector, sectors."""
    entries = b"".join(struct.pack("<B3xB3xII", flag, *one) for one in partitions)
    return code.ljust(446, b"\0") + entries.ljust(64, b"\0") + b"\x55\xaa"


def gpt(ends: Sequence[int], *, spoilt: int = 0) -> bytes:
    """Return the first sectors of a disk whose partitions end before these sectors."""
    one = bytes(range(1, 33))
    entries = b"".join(one + struct.pack("<QQ", 2048, end - 1) + bytes(80) for end in ends)
    entries += bytes(40) + struct.pack("<Q", 10**9)  # one that is not used
    entries = entries.ljust(128 * 128, b"\0")
    # The last sector of the disk that it was made on is not to be had any more.
    fields = (1, 10**9, 34, 10**9 - 34, bytes(16), 2, 128, 128, zlib.crc32(entries))

    def header(checksum: int) -> bytes:
        told = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 2**16, 92, checksum, 0, *fields)
        assert len(told) == 92
        return told

    table = header(zlib.crc32(header(0)) + spoilt).ljust(SECTOR, b"\0")
    return mbr((0xEE, 1, 2**32 - 1), flag=0) + table + entries


CUT = {
    "MBR": mbr((0x83, 2048, 2048)),
    "MBR of two": mbr((0x82, 3000, 3000), (0x83, 100, 100)),
    "GPT": gpt([4096]),
    "GPT of three": gpt([2100, 9000, 2200]),
}
WHOLE = {
    "MBR": mbr((0x83, 1024, 1024)),
    "no table": mbr(),
    "GPT that ends before its disk": gpt([2048]),
    "GPT without partitions": gpt([]),
    "GPT that is spoilt": gpt([4096], spoilt=1),
    "protective alone": mbr((0xEE, 1, 2**32 - 1)),
    # What BIOSes start and no partition table: a FAT without partitions, FreeBSD's own.
    "code": mbr((0x83, 2048, 2048), flag=0x33),
    "code after a partition": mbr((0x83, 2048, 2048), (0x65, 2100, 50_000)),
    "from the first sector on": mbr((0xA5, 0, 50_000)),
    "ISO 9660": mbr((0x17, 64, 50_000)).ljust(32769, b"\0") + b"CD001",
}


@pytest.mark.parametrize("name", CUT)
def test_a_raw_disk_that_ends_before_its_partitions_is_refused(
    tmp_path: Path, qemu_img: QemuImg, name: str
) -> None:
    image = tmp_path / "image"
    image.write_bytes(CUT[name].ljust(MIB + SECTOR, b"\0"))
    told = f"The image is truncated: it has {MIB + SECTOR} bytes, and its partitions end at "
    assert refusal(image, qemu_img).startswith(told)


@pytest.mark.parametrize("name", WHOLE)
def test_a_raw_disk_whose_first_sectors_say_nothing_of_its_end_passes(
    tmp_path: Path, qemu_img: QemuImg, name: str
) -> None:
    image = tmp_path / "image"
    image.write_bytes(WHOLE[name].ljust(MIB, b"\0"))
    assert not refusal(image, qemu_img)
