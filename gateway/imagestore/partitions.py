# SPDX-License-Identifier: Apache-2.0
"""How long a raw disk says that it is: it has no header, but often a table of its partitions.

GPT: UEFI Specification, 5.3; MBR: its 5.2.1. ISO 9660 images have tables that suit firmware only.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from typing import BinaryIO, NamedTuple

_SECTOR = 512
_ENTRY, _FIRST_ENTRY, _ENTRIES = 16, 446, 4
_PROTECTIVE = 0xEE
_LARGEST_TABLE = 2**20
# Boot media such as iPXE's have a table of whole cylinders, and not the bytes of the last ones.
_SMALLEST = 8 * 2**20
_ISO = (32769, b"CD001")


class _Partition(NamedTuple):
    """One of an MBR's, in sectors."""

    flag: int
    kind: int
    begin: int
    sectors: int


def end(file: BinaryIO, size: int) -> int:
    """Return the byte at which the last partition of a raw disk of `size` bytes ends.

    0 where none is told of, or not in a way to rely on.
    """
    file.seek(0)
    head = file.read(_ISO[0] + len(_ISO[1]))
    if head.startswith(_ISO[1], _ISO[0]) or head[510:512] != b"\x55\xaa":
        return 0
    found = [
        _Partition(*struct.unpack_from("<B3xB3xII", head, _FIRST_ENTRY + _ENTRY * number))
        for number in range(_ENTRIES)
    ]
    used = sorted((one.begin, one.sectors) for one in found if one.kind)
    # A boot sector without a table has code there.
    if any(one.flag not in (0, 0x80) for one in found) or not all(b and c for b, c in used):
        return 0
    if any(one.kind == _PROTECTIVE for one in found):
        return _gpt_end(file, size, head) * _SECTOR
    if any(one[0] + one[1] > other[0] for one, other in itertools.pairwise(used)):
        return 0
    told = sum(used[-1]) * _SECTOR if used else 0
    return told if told > _SMALLEST else 0


def _gpt_end(file: BinaryIO, size: int, head: bytes) -> int:
    """Return the sector after the last partition's, or after the table's where that is cut."""
    if not head.startswith(b"EFI PART", _SECTOR) or len(head) < 2 * _SECTOR:
        return 0
    length, checksum = struct.unpack_from("<II", head, _SECTOR + 12)
    header = bytearray(head[_SECTOR : _SECTOR + length])
    table, count, each, table_checksum = struct.unpack_from("<QIII", head, _SECTOR + 72)
    header[16:20] = bytes(4)
    fits = 92 <= length <= _SECTOR and each >= 128 and each * count <= _LARGEST_TABLE
    if not fits or zlib.crc32(header) != checksum:
        return 0
    table_end = table + -(-each * count // _SECTOR)
    if table_end * _SECTOR > size:
        return int(table_end)
    file.seek(table * _SECTOR)
    entries = file.read(each * count)
    if zlib.crc32(entries) != table_checksum:
        return 0
    found = (entries[at : at + each] for at in range(0, len(entries), each))
    # One without a type is not used.
    ends = (struct.unpack_from("<Q", one, 40)[0] + 1 for one in found if any(one[:16]))
    return max(ends, default=0)
