# SPDX-License-Identifier: Apache-2.0
"""An OVA's first disk: a tar archive with a description, its disks, and nothing unpacked.

DMTF's DSP0243, "Open Virtualization Format Specification": the description comes first, and says
which file of the archive is which disk.
"""

from __future__ import annotations

import os
import tarfile
from typing import IO, TYPE_CHECKING, BinaryIO, NamedTuple, NoReturn, cast
from xml.etree import ElementTree as ET
from xml.parsers import expat

from gateway.imagestore.headers import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LARGEST_DESCRIPTION = 4 * 2**20
_MOST_MEMBERS = 1000
# What the library may read: all together, where a thousand files have half of it; at once; and of
# what is longer than a plain header, whose text it looks through in the square of its length.
_MOST_READ, _MOST_AT_ONCE, _MOST_EXTENDED = 2 * 2**20, 2048, 64 * 1024
_CHUNK = 2**20


class Disk(NamedTuple):
    """Where in the archive the disk's bytes are."""

    offset: int
    size: int

    def chunks(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield the disk's bytes."""
        file.seek(self.offset)
        left = self.size
        while left:
            data = file.read(min(_CHUNK, left))
            if not data:
                raise RefusedError("The OVA is truncated: its disk's end is missing.")
            left -= len(data)
            yield data


def first_disk(file: BinaryIO) -> Disk:
    """Return where the first disk of an OVA is; raises :class:`RefusedError`."""
    try:
        # The library reads the headers and nothing else.
        with tarfile.open(fileobj=cast("IO[bytes]", _Bounded(file)), mode="r:") as archive:
            return _find(file, _members(archive))
    except RecursionError:
        raise RefusedError("The OVA's archive cannot be read: too many long names.") from None
    except (tarfile.TarError, EOFError, OverflowError, ValueError) as error:
        raise RefusedError(f"The OVA's archive cannot be read: {error}.") from None


class _Bounded:
    """An archive of which not much is read: an extended header is as long as it says it is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = _MOST_READ
        self._extended = _MOST_EXTENDED
        self._end = file.seek(0, os.SEEK_END)
        self.tell = file.tell
        file.seek(0)

    def seek(self, place: int) -> int:
        # No file system goes everywhere that a header can name.
        if not 0 <= place <= self._end:
            raise RefusedError("The OVA is truncated: the end of a file in it is missing.")
        return self._file.seek(place)

    def read(self, size: int) -> bytes:
        self._left -= size
        self._extended -= size if size > tarfile.BLOCKSIZE else 0
        if not 0 <= size <= _MOST_AT_ONCE or self._left < 0 or self._extended < 0:
            raise RefusedError("The OVA's headers are too long.")
        return self._file.read(size)


def _members(archive: tarfile.TarFile) -> list[tarfile.TarInfo]:
    found: list[tarfile.TarInfo] = []
    for member in archive:
        found.append(member)
        if len(found) > _MOST_MEMBERS:
            raise RefusedError(f"The OVA has more than {_MOST_MEMBERS} files.")
    return found


def _find(file: BinaryIO, members: list[tarfile.TarInfo]) -> Disk:
    files = {member.name: member for member in members if member.isreg() and not member.sparse}
    description = next((one for name, one in files.items() if name.lower().endswith(".ovf")), None)
    if description is None:
        raise RefusedError("The image is a tar archive without an OVF description: not an OVA.")
    if description.size > _LARGEST_DESCRIPTION:
        raise RefusedError("The OVA's description is too large.")
    end = file.seek(0, os.SEEK_END)
    _check_place(description, end)
    file.seek(description.offset_data)
    name = _disk_name(file.read(description.size))
    disk = files.get(name)
    if disk is None:
        raise RefusedError("The OVA's first disk is not in it.")
    _check_place(disk, end)
    return Disk(disk.offset_data, disk.size)


def _check_place(member: tarfile.TarInfo, end: int) -> None:
    """Refuse what is not in the archive as it is: an extended header may say anything."""
    if member.size < 0 or any(key.startswith("GNU.sparse") for key in member.pax_headers):
        raise RefusedError("The OVA's archive cannot be read: its sizes make no sense.")
    if member.offset_data + member.size > end:
        raise RefusedError("The OVA is truncated: the end of a file in it is missing.")


def _disk_name(text: bytes) -> str:
    # An entity could be a file's content, or grow without end: no description needs one.
    reader = expat.ParserCreate()
    reader.StartDoctypeDeclHandler = _refuse_document_type
    try:
        reader.Parse(text, True)  # noqa: FBT003 - expat's
        tree = ET.fromstring(text)  # noqa: S314 - see above; and its size is bounded
    except (ET.ParseError, expat.ExpatError, LookupError) as error:
        raise RefusedError(f"The OVA's description cannot be read: {error}.") from None
    files = {_value(one, "id"): one for one in tree.iterfind(".//{*}References/{*}File")}
    for disk in tree.iterfind(".//{*}DiskSection/{*}Disk"):
        file = files.get(_value(disk, "fileRef"))
        if file is None:
            continue  # an empty disk, which the machine shall have too
        if _value(file, "compression") not in ("", "identity"):
            raise RefusedError("The OVA's disk is packed; unpack it first.")
        return _value(file, "href")
    raise RefusedError("The OVA's description names no disk.")


def _refuse_document_type(*_: object) -> NoReturn:
    raise RefusedError("The OVA's description has a document type, which none needs.")


def _value(element: ET.Element, name: str) -> str:
    """Return an attribute, whatever the version of the format calls its namespace."""
    return next((text for key, text in element.items() if key.split("}")[-1] == name), "")
