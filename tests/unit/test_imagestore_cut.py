# SPDX-License-Identifier: Apache-2.0
"""Disks that were cut are refused, also where qemu-img would read zeros; whole ones pass."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import zlib
from typing import TYPE_CHECKING

import pytest

from gateway.imagestore import last_cluster
from gateway.imagestore.headers import RefusedError
from gateway.imagestore.inspection import inspect
from gateway.imagestore.qemu_img import QemuImg, QemuImgError
from gateway.imagestore.uploads import unheard

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


def made(image: Path, options: str, size: str, *commands: str) -> int:
    """Make a qcow2 by qemu-img and qemu-io; return the file's size."""
    of = ("create", "-q", "-f", "qcow2", *(("-o", options) if options else ()))
    subprocess.run(["qemu-img", *of, image, size], check=True)
    words = [word for one in commands for word in ("-c", one)]
    subprocess.run(["qemu-io", "-f", "qcow2", *words, image], check=True, capture_output=True)
    return image.stat().st_size


@pytest.mark.parametrize("cut", [3, 60, 300, 600])
def test_no_byte_of_a_packed_cluster_is_missed(tmp_path: Path, qemu_img: QemuImg, cut: int) -> None:
    image, data = tmp_path / "image", tmp_path / "data"
    # What cannot be packed comes last and as it is: qemu-img would read zeros in its place.
    data.write_bytes(bytes(40_000) + os.urandom(25_536))
    whole = made(image, "", "64k", f"write -c -s {data} 0 64k")
    assert not refusal(image, qemu_img)
    os.truncate(image, whole - cut)
    assert "truncated" in refusal(image, qemu_img)


def test_what_another_program_has_packed_is_not_looked_into(
    tmp_path: Path, qemu_img: QemuImg
) -> None:
    image, data = tmp_path / "image", tmp_path / "data"
    data.write_bytes(bytes(40_000) + os.urandom(25_536))
    made(image, "compression_type=zstd", "64k", f"write -c -s {data} 0 64k")
    assert not refusal(image, qemu_img)


def test_the_cluster_that_is_cut_need_not_be_the_last_one(tmp_path: Path) -> None:
    image = tmp_path / "image"
    whole = made(image, "", "1M", "write 0 64k")
    # As where a snapshot alone has a packed one behind it.
    end = whole + 65536
    with image.open("rb") as file:
        last_cluster.check(file, whole, end, unheard)
        with pytest.raises(RefusedError, match="100 bytes or more"):
            last_cluster.check(file, whole - 100, end, unheard)


def test_a_file_may_end_where_its_disk_does(tmp_path: Path, qemu_img: QemuImg) -> None:
    image = tmp_path / "image"
    size = 2**29 + 1024  # in the second table
    whole = made(image, "", str(size), "write 512M 1k")
    os.truncate(image, whole - 65536 + 1024)
    assert not refusal(image, qemu_img)
    os.truncate(image, whole - 65536 + 1023)
    assert "truncated: 1 bytes or more" in refusal(image, qemu_img)


@pytest.mark.parametrize("options", ["", "extended_l2=on"])
def test_what_the_second_table_tells_of_is_looked_at(
    tmp_path: Path, qemu_img: QemuImg, options: str
) -> None:
    image = tmp_path / "image"
    whole = made(image, options, "1G", "write 0 64k", "write 1000M 64k")
    os.truncate(image, whole - 1)
    assert "truncated: 1 bytes or more" in refusal(image, qemu_img)


def test_subclusters_of_zeros_need_not_be_there(tmp_path: Path, qemu_img: QemuImg) -> None:
    image = tmp_path / "image"
    commands = ("write 0 64k", "write -z 32k 32k")
    whole = made(image, "extended_l2=on", "1M", *commands)
    os.truncate(image, whole - 32768)
    assert not refusal(image, qemu_img)
    os.truncate(image, whole - 32769)
    assert "truncated: 1 bytes or more" in refusal(image, qemu_img)


def test_what_is_said_to_be_zeros_need_not_be_there(tmp_path: Path, qemu_img: QemuImg) -> None:
    image = tmp_path / "image"
    whole = made(image, "", "1M", "write 0 64k", "write -z 0 64k")
    os.truncate(image, whole - 4096)
    assert not refusal(image, qemu_img)


def mbr(*partitions: tuple[int, int, int], code: bytes = b"", flag: int = 0x80) -> bytes:
    """Return a boot sector with partitions: kind, first sector, sectors."""
    entries = b"".join(struct.pack("<B3xB3xII", flag, *one) for one in partitions)
    return code.ljust(446, b"\0") + entries.ljust(64, b"\0") + b"\x55\xaa"


def gpt(
    ends: Sequence[int], *, spoilt: int = 0, spoilt_table: int = 0, table: int = 2, count: int = 128
) -> bytes:
    """Return the first sectors of a disk whose partitions end before these sectors."""
    one = bytes(range(1, 33))
    entries = b"".join(one + struct.pack("<QQ", 2048, end - 1) + bytes(80) for end in ends)
    entries += bytes(40) + struct.pack("<Q", 10**9)  # one that is not used
    entries = entries.ljust(128 * 128, b"\0")
    # The last sector of the disk that it was made on is not to be had any more.
    checksum = zlib.crc32(entries) + spoilt_table
    fields = (1, 10**9, 34, 10**9 - 34, bytes(16), table, count, 128, checksum)

    def header(checksum: int) -> bytes:
        told = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 2**16, 92, checksum, 0, *fields)
        assert len(told) == 92
        return told

    told = header(zlib.crc32(header(0)) + spoilt).ljust(SECTOR, b"\0")
    return mbr((0xEE, 1, 2**32 - 1), flag=0) + told + entries


SIZE = 10 * MIB
END = SIZE // SECTOR
CUT = {
    "MBR": mbr((0x83, 2048, END - 2047)),
    "MBR of two": mbr((0x82, END, 3000), (0x83, 100, 100)),
    "MBR of two without a gap": mbr((0x82, 2048, 2048), (0x83, 4096, END)),
    "GPT": gpt([END + 1]),
    "GPT of three": gpt([2100, 2 * END, 2200]),
    "GPT whose table is behind the end": gpt([4096], table=END),
    "GPT whose table is behind everything": gpt([4096], table=2**63),
}
WHOLE = {
    "MBR": mbr((0x83, 1024, END - 1024)),
    "no table": mbr(),
    "GPT that ends before its disk": gpt([END]),
    "GPT without partitions": gpt([]),
    "GPT that is spoilt": gpt([2 * END], spoilt=1),
    "GPT whose table is spoilt": gpt([2 * END], spoilt_table=1),
    "GPT with too many partitions": gpt([2 * END], count=2**31),
    "protective alone": mbr((0xEE, 1, 2**32 - 1)),
    # What BIOSes start and no partition table: a FAT without partitions, FreeBSD's own.
    "code": mbr((0x83, 2048, 2 * END), flag=0x33),
    "code after a partition": mbr((0x83, 2048, 2048), (0x65, 2100, 50_000)),
    "from the first sector on": mbr((0xA5, 0, 50_000)),
    "ISO 9660": mbr((0x17, 64, 50_000)).ljust(32769, b"\0") + b"CD001",
}


@pytest.mark.parametrize("name", CUT)
def test_a_raw_disk_that_ends_before_its_partitions_is_refused(
    tmp_path: Path, qemu_img: QemuImg, name: str
) -> None:
    image = tmp_path / "image"
    image.write_bytes(CUT[name].ljust(SIZE, b"\0"))
    told = refusal(image, qemu_img)
    assert told.startswith(f"The image is truncated: it has {SIZE} bytes, and its partitions end")
    [end] = set(re.findall(r"[0-9]{8,}", told)) - {str(SIZE)}
    assert told.endswith(f"truncate -s {end} makes it so long.")


@pytest.mark.parametrize("name", WHOLE)
def test_a_raw_disk_whose_first_sectors_say_nothing_of_its_end_passes(
    tmp_path: Path, qemu_img: QemuImg, name: str
) -> None:
    image = tmp_path / "image"
    image.write_bytes(WHOLE[name].ljust(SIZE, b"\0"))
    assert not refusal(image, qemu_img)


@pytest.mark.parametrize("size", [520, 590, 700, 1030])
def test_a_raw_disk_of_two_sectors_is_looked_at_as_far_as_it_goes(
    tmp_path: Path, qemu_img: QemuImg, size: int
) -> None:
    image = tmp_path / "image"
    image.write_bytes(gpt([4096])[:size])
    assert ("truncated" in refusal(image, qemu_img)) == (size > 1024)


def test_boot_media_are_shorter_than_their_table_says(tmp_path: Path, qemu_img: QemuImg) -> None:
    image = tmp_path / "image"
    ipxe = (0xEB, 32, 4064)  # in its src/arch/x86/prefix/usbdisk.S: two cylinders
    image.write_bytes(mbr(ipxe).ljust(400 * 1024, b"\0"))
    assert not refusal(image, qemu_img)
