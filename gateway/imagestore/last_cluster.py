# SPDX-License-Identifier: Apache-2.0
"""Whether a qcow2 file was cut within its last cluster: qemu-img reads zeros there without a word.

A last cluster need not be whole by itself: what was compressed ends where it ends, and so does a
table. So what hangs on the missing bytes is looked for. qcow2: QEMU's docs/interop/qcow2.rst.
"""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING, BinaryIO

from gateway.imagestore.headers import FIRST, Qcow2, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SECTOR = 512
_PLACE = 0x00FF_FFFF_FFFF_FE00  # in an entry: where the table or the cluster is
_COPIED, _COMPRESSED = 1 << 63, 1 << 62
_SUBCLUSTERS = 32


def check(file: BinaryIO, size: int, end: int, waits: Callable[[], object]) -> None:
    """Raise :class:`RefusedError` if the disk in a file of `size` bytes has some behind its end.

    `end` is where its last cluster ends. The file's tables are consistent: qemu-img checked them.
    `waits` is called again and again; what it raises ends the work.
    """
    if size >= end:
        return
    file.seek(0)
    header = Qcow2.unpack(file.read(FIRST))
    cluster = 1 << header.cluster_bits
    last = end - cluster
    in_a_table = cluster // (16 if header.has_subclusters else 8)
    count = min(header.l1_entries, -(-header.virtual_size // (in_a_table * cluster)))
    tables = _numbers(file, header.l1_table, count)
    looked_at = {0}
    for number, entry in enumerate(tables):
        waits()
        if (place := entry & _PLACE) in looked_at:
            continue
        looked_at.add(place)
        table = _numbers(file, place, cluster // 8)
        missing = max(_ends(table, header, number * in_a_table, last), default=0) - size
        if missing > 0:
            raise _cut(missing)


def _ends(table: array[int], header: Qcow2, begin: int, last: int) -> Iterator[int]:
    """Yield where in the file ends what a table, whose first cluster is `begin`, has in the last.

    Of what was compressed that is the first byte of its last sector: no table knows it better.
    """
    cluster = 1 << header.cluster_bits
    step = 2 if header.has_subclusters else 1
    bits = 62 - (header.cluster_bits - 8)
    # What is said to be zeros has another flag, and need not be there.
    if step == 1 and last not in table and _COPIED | last not in table:
        entries = [(place, entry) for place, entry in enumerate(table) if entry & _COMPRESSED]
    else:
        entries = list(enumerate(table[::step]))
    for place, entry in entries:
        if entry & _COMPRESSED:
            sectors = (entry & ~_COMPRESSED) >> bits
            yield ((entry & ((1 << bits) - 1)) // _SECTOR + sectors) * _SECTOR + 1
        elif entry & _PLACE == last:
            # The disk's end need not be one of a cluster.
            used = min(cluster, header.virtual_size - (begin + place) * cluster)
            if step == 2:
                written = (table[2 * place + 1] & 0xFFFF_FFFF).bit_length()
                used = min(used, written * cluster // _SUBCLUSTERS)
            yield last + used


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


def _cut(missing: int) -> RefusedError:
    return RefusedError(f"The image is truncated: {missing} bytes or more are missing at its end.")
