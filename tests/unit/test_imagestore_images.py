# SPDX-License-Identifier: Apache-2.0
"""Images are looked at before they are trusted: the corpus of those that must be refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.imagestore import qemu_img as qemu_img_module
from gateway.imagestore.headers import RefusedError
from gateway.imagestore.inspection import ImageFacts, inspect
from gateway.imagestore.qemu_img import QemuImg, QemuImgError, confinement
from gateway.imagestore.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 2**20
LIMIT = 64 * 2**30
BOOT_SECTOR = bytes(510) + b"\x55\xaa"


def qcow2_header(**changed: int) -> bytes:
    """Return the header of a 1 MiB version 3 image, with some fields changed."""
    fields = {
        "magic": 0x514649FB,
        "version": 3,
        "backing_file": 0,
        "backing_file_size": 0,
        "cluster_bits": 16,
        "virtual_size": MIB,
        "encryption": 0,
        "l1_entries": 1,
        "l1_table": 3 << 16,
        "refcount_table": 1 << 16,
        "refcount_clusters": 1,
        "snapshots": 0,
        "snapshot_table": 0,
        "incompatible": 0,
        "compatible": 0,
        "autoclear": 0,
        "refcount_order": 4,
        "header_length": 104,
    } | changed
    return struct.pack(">IIQIIQIIQQIIQQQQII", *fields.values())


def sparse(head: bytes, size: int = 4 << 16) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        with file.open("wb") as out:
            out.write(head)
            out.truncate(size)

    return write


def whole(data: bytes) -> Callable[[Path], None]:
    return sparse(data, len(data))


VMDK_OUTSIDE = b"""# Disk DescriptorFile
version=1
CID=fffffffe
parentCID=ffffffff
createType="monolithicFlat"
RW 2048 FLAT "/etc/passwd" 0
"""

REFUSED = {
    "empty": (whole(b""), "is empty"),
    "a web page": (whole(b"<html>404</html>" * 100), "neither qcow2 nor a raw disk"),
    "shorter than a sector": (whole(b"x"), "neither qcow2 nor a raw disk"),
    "only a magic number": (whole(b"QFI\xfb"), "truncated"),
    "cut in the header": (whole(qcow2_header()[:90]), "truncated"),
    "cut after the header": (whole(qcow2_header()), "truncated"),
    "backing file": (
        sparse(qcow2_header(backing_file=104, backing_file_size=11) + b"/etc/passwd"),
        "backing file",
    ),
    "backing file that hides in version 2": (
        sparse(qcow2_header(version=2, backing_file=104, backing_file_size=11) + b"/etc/passwd"),
        "backing file",
    ),
    "external data file": (sparse(qcow2_header(incompatible=4)), "external data file"),
    "encrypted": (sparse(qcow2_header(encryption=2)), "encrypted"),
    "corrupt": (sparse(qcow2_header(incompatible=2)), "corrupt"),
    "features from the future": (sparse(qcow2_header(incompatible=1 << 40)), "not known"),
    "version 1": (sparse(qcow2_header(version=1)), "version 1"),
    "version 9": (sparse(qcow2_header(version=9)), "version 9"),
    "clusters of a byte": (sparse(qcow2_header(cluster_bits=0)), "cluster size"),
    "clusters of 4 GiB": (sparse(qcow2_header(cluster_bits=32)), "cluster size"),
    "huge L1 table": (sparse(qcow2_header(l1_entries=2**32 - 1)), "L1 table"),
    "L1 table behind the end": (sparse(qcow2_header(l1_table=2**62)), "truncated"),
    "refcounts behind the end": (sparse(qcow2_header(refcount_clusters=2**31)), "truncated"),
    "no bytes in the disk": (sparse(qcow2_header(virtual_size=0)), "no bytes"),
    "a petabyte": (sparse(qcow2_header(virtual_size=2**50, l1_entries=2**21), 2**25), "allowed"),
    "a million snapshots": (sparse(qcow2_header(snapshots=10**6)), "snapshots"),
    "vmdk that names another file": (whole(VMDK_OUTSIDE), "format vmdk"),
    "sparse vmdk": (sparse(b"KDMV"), "format vmdk"),
    "vhdx": (sparse(b"vhdxfile"), "format vhdx"),
    "vhd": (whole(BOOT_SECTOR + b"conectix".ljust(512, b"\0")), "format vhd"),
    "vdi": (whole(bytes(64) + b"\x7f\x10\xda\xbe" + bytes(500)), "format vdi"),
    "luks": (sparse(b"LUKS\xba\xbe"), "format luks"),
    "packed": (sparse(b"\x1f\x8b\x08"), r"packed \(gzip\)"),
}


@pytest.fixture(scope="module")
def qemu_img() -> QemuImg:
    try:
        return QemuImg()
    except QemuImgError as error:
        pytest.skip(str(error))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return tmp_path / "image"


def run_qemu_img(*arguments: str | Path) -> None:
    subprocess.run(["qemu-img", *arguments], check=True, capture_output=True)


@pytest.mark.parametrize("name", REFUSED)
def test_an_image_that_cannot_be_trusted_is_refused_with_a_sentence(
    image: Path, name: str, qemu_img: QemuImg
) -> None:
    write, sentence = REFUSED[name]
    write(image)
    with pytest.raises(RefusedError, match=sentence) as refused:
        inspect(image, qemu_img, LIMIT)
    assert re.fullmatch(r"[A-Z].*\.", str(refused.value))


def test_a_qcow2_image_passes(image: Path, qemu_img: QemuImg) -> None:
    run_qemu_img("create", "-f", "qcow2", image, "10M")
    facts = inspect(image, qemu_img, LIMIT)
    assert facts == ImageFacts("qcow2", image.stat().st_size, 10 * MIB)


@pytest.mark.parametrize(
    "options",
    ["compat=0.10", "cluster_size=2M", "lazy_refcounts=on", "extended_l2=on,cluster_size=128k"],
)
def test_qcow2_in_its_varieties_passes(image: Path, qemu_img: QemuImg, options: str) -> None:
    run_qemu_img("create", "-f", "qcow2", "-o", options, image, "10M")
    assert inspect(image, qemu_img, LIMIT).virtual_size == 10 * MIB


def test_a_raw_disk_passes_and_counts_whole_sectors(image: Path, qemu_img: QemuImg) -> None:
    image.write_bytes(BOOT_SECTOR + bytes(MIB) + b"x")
    facts = inspect(image, qemu_img, LIMIT)
    assert facts == ImageFacts("raw", MIB + 513, MIB + 1024)


def test_a_raw_disk_whose_boot_sector_holds_a_qcow2_header_is_qcow2_and_refused(
    image: Path, qemu_img: QemuImg
) -> None:
    head = qcow2_header(backing_file=104, backing_file_size=11) + b"/etc/passwd"
    image.write_bytes(head.ljust(510, b"\0") + b"\x55\xaa" + bytes(MIB))
    with pytest.raises(RefusedError, match="backing file"):
        inspect(image, qemu_img, LIMIT)


def test_images_that_qemu_img_itself_made_with_outside_files_are_refused(
    tmp_path: Path, qemu_img: QemuImg
) -> None:
    base, backed, data = tmp_path / "base", tmp_path / "backed", tmp_path / "data"
    run_qemu_img("create", "-f", "qcow2", base, "1M")
    run_qemu_img("create", "-f", "qcow2", "-F", "qcow2", "-b", base, backed)
    run_qemu_img("create", "-f", "qcow2", "-o", f"data_file={tmp_path / 'raw'}", data, "1M")
    with pytest.raises(RefusedError, match="backing file"):
        inspect(backed, qemu_img, LIMIT)
    with pytest.raises(RefusedError, match="external data file"):
        inspect(data, qemu_img, LIMIT)


def test_a_cut_qcow2_image_is_refused_though_its_header_is_whole(
    tmp_path: Path, image: Path, qemu_img: QemuImg
) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"data" * MIB)
    run_qemu_img("convert", "-f", "raw", "-O", "qcow2", disk, image)
    with image.open("r+b") as file:
        file.truncate(image.stat().st_size - MIB)
    with pytest.raises(RefusedError, match="damaged or truncated"):
        inspect(image, qemu_img, LIMIT)


def test_an_image_above_the_limit_is_refused(image: Path, qemu_img: QemuImg) -> None:
    run_qemu_img("create", "-f", "qcow2", image, "10M")
    with pytest.raises(RefusedError, match="10485760 bytes; 1048576 are allowed"):
        inspect(image, qemu_img, MIB)


def test_a_header_that_lies_about_the_format_stays_within_one_file(
    tmp_path: Path, image: Path, qemu_img: QemuImg
) -> None:
    # What the guest of a raw disk could write into its first sector is never followed, whoever
    # asks: the format is named, so that qemu-img does not look for one.
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 1000)
    run_qemu_img("create", "-f", "qcow2", "-u", "-F", "raw", "-b", secret, image, "1M")
    with image.open("rb") as file:
        told = qemu_img.info(file, "raw")
    assert told["format"] == "raw"
    assert "backing-filename" not in told
    assert str(secret) not in json.dumps(told)


def test_qemu_img_is_confined_to_its_limits(image: Path, qemu_img: QemuImg) -> None:
    # 32 MiB of L1 table are legal; with a refcount table of the same kind qemu-img needs more
    # memory and time than an honest image. It ends with an answer or a refusal, never for ever.
    head = qcow2_header(virtual_size=2**51, l1_entries=2**22, refcount_clusters=128, l1_table=2**24)
    sparse(head, 2**26)(image)
    with pytest.raises(RefusedError):
        inspect(image, qemu_img, 2**62)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take its privileges away")
def test_as_root_qemu_img_runs_as_nobody_alone_and_without_a_network() -> None:
    script = "id -u; cat /proc/self/status; ls /proc; cat /proc/net/dev"
    told = subprocess.run(
        [*confinement(Path("/")), "sh", "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert told.startswith("65534\n")
    assert re.search(r"CapBnd:\s+0+\n", told)
    assert re.search(r"CapEff:\s+0+\n", told)
    assert re.search(r"NoNewPrivs:\s+1\n", told)
    assert len(re.findall(r"^\d+$", told, re.MULTILINE)) <= 3, "it sees other processes"
    assert re.findall(r"^\s*(\w+):.* \d+ ", told, re.MULTILINE)[-1:] == ["lo"]


def test_without_the_program_the_image_is_not_to_blame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("qemu-img") is None
    with pytest.raises(QemuImgError, match="qemu-utils"):
        QemuImg(tmp_path)


@pytest.fixture
def instead(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return what lets a shell's words run where qemu-img would."""

    def replace(words: str) -> None:
        monkeypatch.setattr(qemu_img_module, "confinement", lambda _: ("sh", "-c", words))

    return replace


def test_what_is_not_wanted_any_more_ends_the_program(
    image: Path, qemu_img: QemuImg, instead: Callable[[str], None], tmp_path: Path
) -> None:
    image.write_bytes(BOOT_SECTOR)
    pipe, began = tmp_path / "pipe", b""
    os.mkfifo(pipe)  # a file is more than it may write
    told = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    instead(f"echo $$ > {pipe}; exec sleep 600")

    def waits() -> None:
        nonlocal began
        began += os.read(told, 64)
        if began:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inspect(image, qemu_img, LIMIT, waits)
    os.close(told)
    with pytest.raises(ProcessLookupError):
        os.kill(int(began), 0)


def test_a_store_that_is_gone_meanwhile_is_not_the_images_fault(
    image: Path, qemu_img: QemuImg, instead: Callable[[str], None]
) -> None:
    image.write_bytes(BOOT_SECTOR)
    instead("echo 'qemu-img: error while reading at byte 0: Stale file handle' >&2; exit 1")
    with pytest.raises(StoreError, match="cannot be used: Stale file handle") as caught:
        inspect(image, qemu_img, LIMIT)
    assert type(caught.value) is StoreError
