# SPDX-License-Identifier: Apache-2.0
"""What a disk image says of itself in its first bytes, read without any help.

The format is decided here and then told to every program that opens the file, so that none of
them guesses: a guest that owns a raw disk can write any header it likes into it, and a guessing
program would follow that header to other files.

qcow2: QEMU's docs/interop/qcow2.rst.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_SECTOR = 512
_QCOW2 = b"QFI\xfb"
FIRST = 32774
"""So many bytes are looked at: up to and with ISO 9660's mark."""

# Where other formats have their marks: offset, bytes, name.
_FOREIGN = (
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vhd"),
    (64, b"\x7f\x10\xda\xbe", "vdi"),
    (0, b"QED\0", "qed"),
    (0, b"WithoutFreeSpace", "parallels"),
    (0, b"WithouFreSpacExt", "parallels"),
    (0, b"LUKS\xba\xbe", "luks"),
    (0, b"Bochs Virtual HD Image", "bochs"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"BZh", "bzip2"),
    (0, b"PK\x03\x04", "zip"),
    (257, b"ustar", "tar"),
)
_AT_THE_END = ((b"conectix", "vhd"), (b"koly", "dmg"))  # how their last sector begins
_ARCHIVES = {"gzip", "xz", "zstd", "bzip2", "zip", "tar"}

_EXTERNAL_DATA, _CORRUPT, _PACKED_OTHERWISE, _EXTENDED_L2 = 1 << 2, 1 << 1, 1 << 3, 1 << 4
_KNOWN_FEATURES = 0b11111  # dirty, corrupt, external data, compression type, extended L2
_QCOW2_HEADER = 104  # version 3's; an image of version 2 is longer than that, too
_L1_LIMIT = 32 * 2**20  # bytes; QEMU's own limit
_SNAPSHOT_LIMIT = 256


class RefusedError(Exception):
    """The image cannot be trusted or used; the text is one sentence that says why."""


class Header(NamedTuple):
    """The format, and the size in bytes of the disk that a guest would see."""

    format: str
    virtual_size: int


def read(file: BinaryIO, size: int) -> Header:
    """Read the header of a file of `size` bytes; raises :class:`RefusedError`."""
    return _read(file, kind(file, size), size)


def read_first(file: BinaryIO, whole: int | None) -> Header:
    """Read the header of a file that is not all here yet; it will have `whole` bytes, if known.

    What has its mark at its end is taken for raw. Raises :class:`RefusedError`.
    """
    return _read(file, first_kind(file), whole)


def _read(file: BinaryIO, found: str, size: int | None) -> Header:
    file.seek(0)
    head = file.read(FIRST)
    if found == "qcow2":
        return _read_qcow2(head, size)
    if found != "raw":
        raise RefusedError(_foreign(found))
    # A raw disk has no header. What no BIOS would start is none: a web page, a cut download.
    if head[510:512] != b"\x55\xaa":
        raise RefusedError(
            "The image is neither qcow2 nor a raw disk with a boot sector (it ends with 55 AA)."
        )
    return Header("raw", -(-(size or 0) // _SECTOR) * _SECTOR)


def read_overlay(file: BinaryIO, size: int) -> Header:
    """Read the header of a qcow2 that stands on another file, whatever it says that this is.

    Who opens it has to say so instead. Raises :class:`RefusedError`.
    """
    if kind(file, size) != "qcow2":
        raise RefusedError("The disk is not in the format qcow2.")
    file.seek(0)
    return _read_qcow2(file.read(FIRST), size, backed=True)


def kind(file: BinaryIO, size: int) -> str:
    """Return the name of the format whose mark a file of `size` bytes has; without any: raw.

    Raises :class:`RefusedError` for an empty file.
    """
    if size == 0:
        raise RefusedError("The image is empty.")
    if (found := first_kind(file)) != "raw" or size < _SECTOR:
        return found
    file.seek(size - _SECTOR)
    end = file.read(_SECTOR)
    return next((name for mark, name in _AT_THE_END if end.startswith(mark)), "raw")


def first_kind(file: BinaryIO) -> str:
    """Do what :func:`kind` does, by the first bytes alone."""
    file.seek(0)
    head = file.read(FIRST)
    marked = (name for offset, mark, name in _FOREIGN if head.startswith(mark, offset))
    return "qcow2" if head.startswith(_QCOW2) else next(marked, "raw")


def _foreign(name: str) -> str:
    if name in _ARCHIVES:
        return f"The image is packed ({name}); unpack it first."
    return (
        f"The image has the format {name}; only qcow2 and raw can be used as they are, and some"
        " others be imported (ImportImage)."
    )


class Qcow2(NamedTuple):
    """The fields of a qcow2 header after its magic number; offsets and sizes in bytes."""

    version: int
    backing_file: int
    backing_file_size: int
    cluster_bits: int
    virtual_size: int
    encryption: int
    l1_entries: int
    l1_table: int
    refcount_table: int
    refcount_clusters: int
    snapshots: int
    snapshot_table: int
    features: int  # the incompatible ones; version 2 has none

    @classmethod
    def unpack(cls, head: bytes) -> Qcow2:
        """Read a file's first bytes, of which there are enough."""
        fields = struct.unpack_from(">IQIIQIIQQIIQ", head, 4)
        features = struct.unpack_from(">Q", head, 72)[0] if fields[0] > 2 else 0
        return cls._make((*fields, features))

    @property
    def has_subclusters(self) -> bool:
        """Whether an entry of its L2 tables is followed by a bitmap of its subclusters."""
        return bool(self.features & _EXTENDED_L2)

    @property
    def packed_by_zlib(self) -> bool:
        """Whether its compressed clusters, if there are any, are zlib's."""
        return not self.features & _PACKED_OTHERWISE

    def end_of_tables(self) -> int:
        """Return the first byte after the tables that everything else hangs on."""
        refcounts = self.refcount_clusters << self.cluster_bits
        return max(self.l1_table + 8 * self.l1_entries, self.refcount_table + refcounts)


# In this order: a later rule may rely on the earlier ones.
_QCOW2_RULES: tuple[tuple[Callable[[Qcow2], bool], str], ...] = (
    (lambda q: q.version not in (2, 3), "The image is of qcow2's version {q.version}, not 2 or 3."),
    (
        lambda q: q.backing_file != 0,
        "The image has a backing file; only whole images can be used.",
    ),
    (
        lambda q: bool(q.features & _EXTERNAL_DATA),
        "The image has an external data file; only whole images can be used.",
    ),
    (
        lambda q: q.encryption != 0,
        "The image is encrypted; there is no way to give the nodes its key.",
    ),
    (
        lambda q: bool(q.features & _CORRUPT),
        "The image is marked as corrupt; qemu-img check -r all may repair it.",
    ),
    (
        lambda q: bool(q.features & ~_KNOWN_FEATURES),
        "The image uses qcow2 features that are not known here.",
    ),
    (
        lambda q: not 9 <= q.cluster_bits <= 21,
        "The image's cluster size, 2 to the power of {q.cluster_bits}, is not qcow2's.",
    ),
    (lambda q: q.virtual_size == 0, "The image's disk has no bytes."),
    (
        lambda q: q.snapshots > _SNAPSHOT_LIMIT,
        "The image has {q.snapshots} snapshots, more than are reasonable.",
    ),
    (
        lambda q: q.l1_entries * 8 > _L1_LIMIT,
        "The image's L1 table has {q.l1_entries} entries, more than QEMU reads.",
    ),
)


def _read_qcow2(head: bytes, size: int | None, *, backed: bool = False) -> Header:
    if len(head[:size]) < _QCOW2_HEADER:
        raise RefusedError("The image is truncated: it ends within its qcow2 header.")
    header = Qcow2.unpack(head)
    if backed:
        header = header._replace(backing_file=0)
    for broken, sentence in _QCOW2_RULES:
        if broken(header):
            raise RefusedError(sentence.format(q=header))
    if size is not None and header.end_of_tables() > size:
        raise RefusedError("The image is truncated: its tables lie behind its end.")
    return Header("qcow2", header.virtual_size)
