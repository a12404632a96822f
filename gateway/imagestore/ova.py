# SPDX-License-Identifier: Apache-2.0
"""An OVA's first disk: a tar archive with a description, its disks, and nothing unpacked.

DMTF's DSP0243, "Open Virtualization Format Specification": the description comes first, and says
which file of the archive is which disk.
"""

from __future__ import annotations

import re
import tarfile
from typing import TYPE_CHECKING, BinaryIO, NamedTuple
from xml.etree import ElementTree as ET

from gateway.imagestore.headers import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LARGEST_DESCRIPTION = 4 * 2**20
_MOST_MEMBERS = 1000
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
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            members = _members(archive)
            return _find(archive, members)
    except (tarfile.TarError, EOFError, OverflowError, ValueError) as error:
        raise RefusedError(f"The OVA's archive cannot be read: {error}.") from None


def _members(archive: tarfile.TarFile) -> list[tarfile.TarInfo]:
    found: list[tarfile.TarInfo] = []
    for member in archive:
        found.append(member)
        if len(found) > _MOST_MEMBERS:
            raise RefusedError(f"The OVA has more than {_MOST_MEMBERS} files.")
    return found


def _find(archive: tarfile.TarFile, members: list[tarfile.TarInfo]) -> Disk:
    files = {member.name: member for member in members if member.isreg() and not member.sparse}
    description = next((one for name, one in files.items() if name.lower().endswith(".ovf")), None)
    if description is None:
        raise RefusedError("The image is a tar archive without an OVF description: not an OVA.")
    if description.size > _LARGEST_DESCRIPTION:
        raise RefusedError("The OVA's description is too large.")
    stream = archive.extractfile(description)
    name = _disk_name(stream.read() if stream is not None else b"")
    disk = files.get(name)
    if disk is None:
        raise RefusedError("The OVA's first disk is not in it.")
    return Disk(disk.offset_data, disk.size)


def _disk_name(text: bytes) -> str:
    # An entity could be a file's content, or grow without end: no description needs one.
    if re.search(rb"<!(?:DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise RefusedError("The OVA's description has a document type, which none needs.")
    try:
        tree = ET.fromstring(text)  # noqa: S314 - see above; and its size is bounded
    except ET.ParseError as error:
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


def _value(element: ET.Element, name: str) -> str:
    """Return an attribute, whatever the version of the format calls its namespace."""
    return next((text for key, text in element.items() if key.split("}")[-1] == name), "")
