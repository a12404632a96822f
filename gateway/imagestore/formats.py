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
from typing import TYPE_CHECKING, Any, BinaryIO

from gateway.imagestore.headers import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

DRIVERS = {"vmdk": "vmdk", "vhd": "vpc", "vhdx": "vhdx"}
"""What is converted, and what QEMU calls it."""

_SECTOR = 512
_DESCRIPTOR = 20 * _SECTOR  # what QEMU reads of a descriptor in a sparse file, from the second on
_LARGEST_DESCRIPTOR = 2**20
_WHOLE = {"monolithicsparse", "streamoptimized"}
_FIXED, _DYNAMIC = 2, 3


def check(file: BinaryIO, size: int, kind: str) -> None:
    """Raise :class:`RefusedError` unless a file of that kind is a whole disk by itself."""
    looks: dict[str, Callable[[BinaryIO, int], None]] = {"vmdk": _check_vmdk, "vhd": _check_vhd}
    if kind in looks:
        looks[kind](file, size)


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


def _check_vmdk(file: BinaryIO, size: int) -> None:
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


def _check_descriptor(text: str) -> None:
    values = dict(re.findall(r'^\s*(\w+)\s*=\s*"?([^"\r\n]*)"?', text.lower(), re.MULTILINE))
    if values.get("createtype") not in _WHOLE:
        raise RefusedError(
            f"The vmdk is of the type {values.get('createtype', 'unknown')[:40]}; only whole images"
            " can be used: monolithicSparse or streamOptimized."
        )
    if values.get("parentcid", "ffffffff") != "ffffffff":
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
