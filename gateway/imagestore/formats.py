# SPDX-License-Identifier: Apache-2.0
"""Disks in other programs' formats: which of them may be converted, looked at before that is done.

Such a file may name others: a parent that it differs from, or extents that its bytes are in. What
does is refused by its own header, and qemu-img is told to follow nothing.

vmdk: VMware's "Virtual Disk Format 5.0"; vhd: Microsoft's "Virtual Hard Disk Image Format
Specification"; what QEMU makes of them: its block/vmdk.c and block/vpc.c.
"""

from __future__ import annotations

import re
import struct
import sys
from array import array
from typing import Any, BinaryIO

from gateway.imagestore.headers import RefusedError

DRIVERS = {"vmdk": "vmdk", "vhd": "vpc", "vhdx": "vhdx"}
"""What is converted, and what QEMU calls it."""

_SECTOR = 512
_DESCRIPTOR = 20 * _SECTOR  # what QEMU reads of a descriptor in a sparse file, from the second on
_LARGEST_DESCRIPTOR = 2**20
_WHOLE = {"monolithicsparse", "streamoptimized"}
_FIXED, _DYNAMIC = 2, 3
_SMALLEST_GRAIN, _ENTRIES = 8, 512  # sectors, and numbers in a table


def check(file: BinaryIO, size: int, kind: str, limit: int) -> None:
    """Raise :class:`RefusedError` unless a file of that kind is a whole disk by itself.

    The disk in it has no more than `limit` bytes.
    """
    if kind == "vmdk":
        _check_vmdk(file, size, limit)
    elif kind == "vhd":
        _check_vhd(file, size)
    elif size % _SECTOR:
        # QEMU looks at the blocks' ends, and is mistaken by one byte.
        raise RefusedError("The vhdx is truncated: it ends within a sector.")


def source(kind: str) -> dict[str, Any]:
    """Return what tells QEMU to read its standard input as that kind and to follow nothing."""
    named: dict[str, Any] = {
        "driver": DRIVERS[kind],
        "read-only": True,
        "file": {"driver": "file", "filename": "/proc/self/fd/0", "locking": "off"},
    }
    if kind == "vmdk":
        named["backing"] = None
    return named


def _check_vmdk(file: BinaryIO, size: int, limit: int) -> None:
    file.seek(0)
    head = file.read(_SECTOR)
    if not head.startswith(b"KDMV") or len(head) < _SECTOR:
        raise RefusedError(
            "The image is a vmdk of several files, or a part of one; only whole images can be"
            " used: one file, monolithicSparse or streamOptimized."
        )
    capacity, _, begin, length = struct.unpack_from("<QQQQ", head, 12)
    if capacity == 0:
        raise RefusedError("The vmdk has no disk of its own, but names other files.")
    if not begin or not 0 < length * _SECTOR <= _LARGEST_DESCRIPTOR or begin * _SECTOR >= size:
        raise RefusedError("The vmdk has no descriptor in it; only whole images can be used.")
    texts = []
    for offset, count in ((begin * _SECTOR, length * _SECTOR), (_SECTOR, _DESCRIPTOR)):
        file.seek(offset)
        texts.append(file.read(count).decode("latin-1"))
    _check_descriptor(texts[0])
    # QEMU looks for a parent there, wherever the header says that the descriptor is.
    if "parentfilenamehint" in (texts[0] + texts[1]).lower():
        raise RefusedError("The vmdk differs from another file; only whole images can be used.")
    if capacity * _SECTOR > limit:
        raise RefusedError(f"The image's disk has {capacity * _SECTOR} bytes; {limit} are allowed.")
    if _createtype(texts[0]) == "monolithicsparse":
        _check_grains(file, size, head)


def _check_grains(file: BinaryIO, size: int, head: bytes) -> None:
    """Refuse a vmdk whose last grain is cut: qemu-img reads zeros for what is missing of it."""
    capacity, grain = struct.unpack_from("<QQ", head, 12)
    entries, _, directory = struct.unpack_from("<IQQ", head, 44)
    if grain < _SMALLEST_GRAIN or entries != _ENTRIES:
        raise RefusedError("The vmdk's header makes no sense.")
    sectors = size // _SECTOR
    tables = _numbers(file, sectors, directory, -(-capacity // (grain * entries)))
    for number, table in enumerate(tables):
        begins = _numbers(file, sectors, table, entries) if table else ()
        if max(begins, default=0) + grain <= sectors:
            continue
        for place, begin in enumerate(begins, number * entries):
            # 0: nothing is there; 1: zeros. The disk's last grain need not be all there.
            used = min(grain, capacity - grain * place)
            if begin > 1 and used > 0 and begin + used > sectors:
                raise RefusedError("The vmdk is truncated: its disk's end is missing.")


def _numbers(file: BinaryIO, sectors: int, begin: int, count: int) -> array[int]:
    """Read so many numbers of 32 bits from a sector of a file on, which has so many sectors."""
    found = array("I")
    if begin * _SECTOR + count * found.itemsize > sectors * _SECTOR:
        raise RefusedError("The vmdk is truncated: its tables are not all there.")
    file.seek(begin * _SECTOR)
    found.frombytes(file.read(count * found.itemsize))
    if sys.byteorder == "big":
        found.byteswap()
    return found


def _createtype(text: str) -> str:
    return _values(text).get("createtype", "unknown")


def _values(text: str) -> dict[str, str]:
    return dict(re.findall(r'^\s*(\w+)\s*=\s*"?([^"\r\n]*)"?', text.lower(), re.MULTILINE))


def _check_descriptor(text: str) -> None:
    if (kind := _createtype(text)) not in _WHOLE:
        raise RefusedError(
            f"The vmdk is of the type {kind[:40]}; only whole images can be used:"
            " monolithicSparse or streamOptimized."
        )
    if _values(text).get("parentcid", "ffffffff") != "ffffffff":
        raise RefusedError("The vmdk differs from another file; only whole images can be used.")
    extents = re.findall(r"^\s*(?:rw|rdonly|noaccess)\s+\d+\s+(\w+)", text.lower(), re.MULTILINE)
    if extents != ["sparse"]:
        raise RefusedError("The vmdk's bytes are in other files; only whole images can be used.")


def _check_vhd(file: BinaryIO, size: int) -> None:
    for offset in (0, size - _SECTOR):
        file.seek(max(offset, 0))
        footer = file.read(_SECTOR)
        if footer.startswith(b"conectix"):
            (found,) = struct.unpack_from(">I", footer.ljust(64, b"\0"), 60)
            if found not in (_FIXED, _DYNAMIC):
                raise RefusedError(
                    "The vhd differs from another file; only whole images can be used."
                )
