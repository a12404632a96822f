# SPDX-License-Identifier: Apache-2.0
"""Whether a qcow2 file was cut within its last cluster: qemu-img reads zeros there without a word.

A last cluster need not be whole by itself: what was compressed ends where it ends, and so does a
table. So what hangs on the missing bytes is looked for. qcow2: QEMU's docs/interop/qcow2.rst.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from typing import TYPE_CHECKING, BinaryIO

from gateway.imagestore.headers import FIRST, Qcow2, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

_SECTOR = 512
_PLACE = 0x00FF_FFFF_FFFF_FE00  # in an entry: where the table or the cluster is
_COPIED, _COMPRESSED = 1 << 63, 1 << 62
_SUBCLUSTERS = 32
_WINDOW = -12  # QEMU's, for zlib


def check(file: BinaryIO, size: int, end: int, waits: Callable[[], object]) -> None:
    """Raise :class:`RefusedError` if the disk in a file of `size` bytes has some behind its end.

    `end` is where its last cluster ends. The file's tables are consistent: qemu-img checked them,
    and found nothing that is more than a part of a cluster behind the end. `waits` is called again
    and again; what it raises ends the work.
    """
    if size >= end:
        return
    file.seek(0)
    header = Qcow2.unpack(file.read(FIRST))
    looks = _Looks(file, size, header)
    in_a_table = looks.cluster // (16 if header.has_subclusters else 8)
    count = min(header.l1_entries, -(-header.virtual_size // (in_a_table * looks.cluster)))
    looked_at = {0}
    for number, entry in enumerate(_numbers(file, header.l1_table, count)):
        waits()
        if (place := entry & _PLACE) not in looked_at:
            looked_at.add(place)
            looks.at(_numbers(file, place, looks.cluster // 8), number * in_a_table)


class _Looks:
    """Looks for what is missing of the clusters that a table tells of."""

    def __init__(self, file: BinaryIO, size: int, header: Qcow2) -> None:
        self._file = file
        self._size = size
        self._header = header
        self._unpacked: set[int] = set()
        self.cluster = 1 << header.cluster_bits
        self._last = size // self.cluster * self.cluster  # where the only one is that can be cut
        # What is said to be zeros has another flag, and need not be there.
        self._whole = (self._last, self._last | _COPIED)
        self._place_bits = 62 - (header.cluster_bits - 8)

    def at(self, table: array[int], begin: int) -> None:
        """Refuse what is missing in a table whose first cluster is the disk's with that number."""
        step = 2 if self._header.has_subclusters else 1
        for place in range(0, len(table), step):
            entry = table[place]
            if entry & _COMPRESSED:
                self._check_packed(entry)
            elif entry in self._whole:
                # The disk's end need not be one of a cluster.
                number = begin + place // step
                used = min(self.cluster, self._header.virtual_size - number * self.cluster)
                if step == 2:
                    written = (table[place + 1] & 0xFFFF_FFFF).bit_length()
                    used = min(used, written * self.cluster // _SUBCLUSTERS)
                self._refuse(self._last + used - self._size)

    def _check_packed(self, entry: int) -> None:
        place = entry & ((1 << self._place_bits) - 1)
        sectors = (entry & ~_COMPRESSED) >> self._place_bits
        last = (place // _SECTOR + sectors) * _SECTOR
        self._refuse(last + 1 - self._size)
        # Which of its last sector's bytes it needs, no table tells.
        unsure = last + _SECTOR > self._size and self._header.packed_by_zlib
        if unsure and entry not in self._unpacked:
            self._unpacked.add(entry)
            self._file.seek(place)
            packed = self._file.read(self._size - place)
            try:
                found = zlib.decompressobj(_WINDOW).decompress(packed, self.cluster)
            except zlib.error:
                found = b""
            self._refuse(self.cluster - len(found))

    def _refuse(self, missing: int) -> None:
        if missing > 0:
            raise RefusedError(
                f"The image is truncated: {missing} bytes or more are missing at its end."
            )


def _numbers(file: BinaryIO, begin: int, count: int) -> array[int]:
    """Read so many numbers of 64 bits from byte `begin` of a file on."""
    file.seek(begin)
    data = file.read(count * 8)
    if len(data) < count * 8:
        raise RefusedError("The image is truncated: its tables are not all there.")
    found = array("Q", data)
    if sys.byteorder == "little":
        found.byteswap()
    return found
