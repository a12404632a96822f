# SPDX-License-Identifier: Apache-2.0
"""A disk that boots with SYSLINUX, laid out in a plain file by the tools of a Debian tree.

An MBR with SYSLINUX's loader; partition 1, FAT16, with SYSLINUX, the kernel and its first file
system; partition 2 is the guest's own, and its file system is made by the caller.
"""

from __future__ import annotations

import os
import struct
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SECTOR = 512
MIB = 2**20 // SECTOR
"""Sectors in a mebibyte."""
MAIN_START = 32 * MIB
"""The sector at which the guest's own partition begins."""
_BOOT_START, _BOOT_SECTORS = 1 * MIB, 31 * MIB
_FAT16, _LINUX = 0x0E, 0x83
# Fixed so that the bytes are; nothing looks for these.
_DISK_ID = 0x434F4E44
_FAT_ID = "434f4e44"
_EPOCH = "1735689600"


class GuestBuildError(Exception):
    """A tool failed while a guest was built; the text has its command and its words."""


def in_tree(tree: Path, *command: str) -> str:
    """Run a program of the tree in its /bench, with a clock that stands still."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin",
        "LC_ALL": "C",
        "TZ": "UTC",
        "SOURCE_DATE_EPOCH": _EPOCH,
        "E2FSPROGS_FAKE_TIME": _EPOCH,
        "MTOOLS_SKIP_CHECK": "1",
    }
    # SYSLINUX's installer reaches the image through /proc, which ends with the namespace.
    inside = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    return run((*inside, f"--root={tree}", "--wd=/bench", *command), environment)


def run(command: Sequence[str], environment: dict[str, str]) -> str:
    """Run a program; its output. Raises :class:`GuestBuildError`."""
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise GuestBuildError(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def lay_out(tree: Path, bench: Path, main_sectors: int) -> None:
    """Make ``disk.raw`` in the tree's /bench from what is there: linux, initrd, syslinux.cfg.

    The second partition is empty and has so many sectors.
    """
    offset = _BOOT_START * SECTOR
    loader = (tree / "usr/lib/SYSLINUX/mbr.bin").read_bytes()
    with (bench / "disk.raw").open("wb") as disk:
        disk.write(_master_boot_record(loader, main_sectors))
        disk.truncate((MAIN_START + main_sectors) * SECTOR)
    fat = f"disk.raw@@{offset}"
    in_tree(
        tree,
        *("mformat", "-i", fat, "-T", str(_BOOT_SECTORS), "-h", "64", "-s", "32"),
        *("-H", str(_BOOT_START), "-c", "8", "-v", "CONDORBOOT", "-N", _FAT_ID, "::"),
    )
    in_tree(tree, "syslinux", "--offset", str(offset), "--install", "disk.raw")
    for file in bench.iterdir():
        os.utime(file, (int(_EPOCH), int(_EPOCH)))
    in_tree(tree, "mcopy", "-m", "-i", fat, "linux", "initrd", "syslinux.cfg", "::")


def _master_boot_record(loader: bytes, main_sectors: int) -> bytes:
    def partition(kind: int, start: int, sectors: int, *, active: bool) -> bytes:
        # The old cylinder addresses are filled with "beyond": every loader goes by sectors.
        beyond = b"\xfe\xff\xff"
        flag = b"\x80" if active else b"\0"
        return flag + beyond + bytes([kind]) + beyond + struct.pack("<II", start, sectors)

    table = partition(_FAT16, _BOOT_START, _BOOT_SECTORS, active=True)
    table += partition(_LINUX, MAIN_START, main_sectors, active=False)
    head = loader[:440].ljust(440, b"\0") + struct.pack("<IH", _DISK_ID, 0)
    return (head + table).ljust(510, b"\0") + b"\x55\xaa"
