# SPDX-License-Identifier: Apache-2.0
"""Disks in other programs' formats: good ones from qemu-img, and the corpus of bad ones."""

from __future__ import annotations

import io
import struct
import subprocess
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OVF = """<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
  <References><File ovf:href="{href}" ovf:id="file1"{more}/></References>
  <DiskSection><Disk ovf:diskId="d1" ovf:fileRef="{ref}" ovf:capacity="1"/></DiskSection>
</Envelope>
"""

DESCRIPTOR = """# Disk DescriptorFile
version=1
CID=fffffffe
parentCID={parent}
createType="{kind}"
{more}
{extents}
"""


def convert(raw: bytes, to: Path, driver: str, *options: str) -> bytes:
    """Return a raw disk in another format."""
    source = to.with_suffix(".raw")
    source.write_bytes(raw)
    command = ["qemu-img", "convert", "-f", "raw", "-O", driver, *options, source, to]
    subprocess.run(command, check=True, capture_output=True)
    return to.read_bytes()


def ova(files: Mapping[str, bytes]) -> bytes:
    """Return an archive of these files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def headers(kind: bytes, size: int, count: int = 1) -> bytes:
    """Return the beginning of an archive: headers of a kind that say how long they are."""
    member = tarfile.TarInfo("x")
    member.size, member.type = size, kind
    # One that makes sense to the library, which goes on to the next.
    body = b"%d x=" % size + b"9" * (min(size, 4096) - len(b"%d x=" % size) - 1) + b"\n"
    return (member.tobuf(tarfile.GNU_FORMAT) + body) * count


def misled(files: Mapping[str, bytes], name: str, **said: str) -> bytes:
    """Return an archive whose extended header says something else of one of the files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for each, data in files.items():
            member = tarfile.TarInfo(each)
            member.size = len(data)
            if each == name:
                member.pax_headers = {key.replace("_", "."): text for key, text in said.items()}
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def ovf(href: str = "disk.vmdk", ref: str = "file1", more: str = "") -> bytes:
    return OVF.format(href=href, ref=ref, more=more).encode()


def vmdk(
    *,
    capacity: int = 2048,
    parent: str = "ffffffff",
    kind: str = "monolithicSparse",
    extents: str = 'RW 2048 SPARSE "disk.vmdk"',
    more: str = "",
    begin: int = 1,
    length: int = 20,
    directory: int = 26,
    tables: int = 0,
    grain: int = 128,
) -> bytes:
    """Return the beginning of a sparse vmdk with its descriptor in the second sector."""
    head = struct.pack(
        "<4sIIQQQQIQQQ", b"KDMV", 1, 3, capacity, grain, begin, length, 512, 21, directory, 128
    )
    text = DESCRIPTOR.format(parent=parent, kind=kind, extents=extents, more=more)
    made = head.ljust(512, b"\0") + text.encode().ljust(length * 512, b"\0")
    made = made.ljust(26 * 512, b"\0") + struct.pack("<I", tables)
    return made.ljust(2**16, b"\0")


OUTSIDE = "/etc/passwd"

MALICIOUS: Mapping[str, tuple[bytes, str]] = {
    "a descriptor that names another file": (
        DESCRIPTOR.format(
            parent="ffffffff", kind="monolithicFlat", more="", extents=f'RW 1 FLAT "{OUTSIDE}" 0'
        ).encode(),
        "several files",
    ),
    "a vmdk whose descriptor is all of it": (
        vmdk(capacity=0, extents=f'RW 1 FLAT "{OUTSIDE}" 0'),
        "no disk of its own",
    ),
    "a vmdk with a flat extent": (vmdk(extents=f'RW 1 FLAT "{OUTSIDE}" 0'), "in other files"),
    "a vmdk with two extents": (
        vmdk(extents='RW 1 SPARSE "a.vmdk"\nRW 1 SPARSE "b.vmdk"'),
        "in other files",
    ),
    "a vmdk of two files": (vmdk(kind="twoGbMaxExtentSparse"), "type twogbmaxextentsparse"),
    "a vmdk with a parent": (vmdk(parent="12345678"), "differs from another file"),
    "a vmdk that names its parent": (
        vmdk(more=f'parentFileNameHint="{OUTSIDE}"'),
        "differs from another file",
    ),
    "a vmdk whose descriptor is elsewhere": (vmdk(begin=2**50), "no descriptor"),
    "a vmdk with a huge descriptor": (vmdk(length=2**13), "no descriptor"),
    "a vmdk without a descriptor": (vmdk(begin=0), "no descriptor"),
    "a vmdk of a petabyte": (vmdk(capacity=2**41), "allowed"),
    "a vmdk with tables outside": (vmdk(directory=2**63), "not all there"),
    "a vmdk with a table outside": (vmdk(tables=2**31), "not all there"),
    "a vmdk without grains": (vmdk(grain=0), "no sense"),
    "a truncated vmdk": (vmdk()[:600], "the type monolithicsp;"),
    "an extent of ESX": (b"COWD" + bytes(4096), "several files"),
    "a differencing vhd": (
        b"conectix".ljust(60, b"\0") + struct.pack(">I", 4) + bytes(4096),
        "differs from another file",
    ),
    "a vhd that is only a mark": (b"conectix", "differs|refuses"),
    "a vhdx that is only a mark": (b"vhdxfile".ljust(2**20, b"\0"), "refuses"),
    "a vhdx that ends within a sector": (b"vhdxfile" + bytes(2**20), "within a sector"),
    "a packed disk": (b"\x1f\x8b\x08" + bytes(4096), "packed"),
    "an archive without a description": (ova({"disk.vmdk": b"x"}), "not an OVA"),
    "an OVA whose disk is outside": (ova({"a.ovf": ovf("../../etc/passwd")}), "is not in it"),
    "an OVA whose disk is this machine's": (ova({"a.ovf": ovf(OUTSIDE)}), "is not in it"),
    "an OVA without a disk": (ova({"a.ovf": ovf(ref="nothing")}), "names no disk"),
    "an OVA with a packed disk": (
        ova({"a.ovf": ovf(more=' ovf:compression="gzip"'), "disk.vmdk": b"x"}),
        "packed",
    ),
    "an OVA with entities": (
        ova({"a.ovf": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'}),
        "document type",
    ),
    "an OVA with entities in another encoding": (
        ova({"a.ovf": '<!DOCTYPE x [<!ENTITY a "disk.vmdk">]><x>&a;</x>'.encode("utf-16")}),
        "document type",
    ),
    "an OVA with a header of a gigabyte": (headers(tarfile.XHDTYPE, 2**30), "too long"),
    "an OVA with a name of a gigabyte": (headers(tarfile.GNUTYPE_LONGNAME, 2**30), "too long"),
    "an OVA with many long names": (headers(tarfile.GNUTYPE_LONGNAME, 512, 1500), "long names"),
    **{
        f"an OVA whose {name} has the {key} {number}": (
            misled({"a.ovf": ovf(), "disk.vmdk": b"x" * 2**16}, name, **{key: number}),
            "no sense|truncated|cannot be read|too large|allowed",
        )
        for name in ("a.ovf", "disk.vmdk")
        for key in ("size", "GNU_sparse_size", "GNU_sparse_realsize")
        for number in ("-1", str(2**50))
    },
    "an OVA in an unknown encoding": (
        ova({"a.ovf": b'<?xml version="1.0" encoding="nonsense"?><x/>'}),
        "description cannot be read",
    ),
    "an OVA with a header of many digits": (headers(tarfile.XHDTYPE, 4096), "too long"),
    "an OVA with many long headers": (headers(tarfile.XHDTYPE, 1024, 100), "too long"),
    "an OVA with many headers": (headers(tarfile.XHDTYPE, 512, 3000), "too long|cannot be read"),
    "an OVA in an OVA": (
        ova({"a.ovf": ovf(), "disk.vmdk": ova({"a.ovf": ovf()})}),
        "archive itself",
    ),
    "an OVA with a bad disk": (
        ova({"a.ovf": ovf(), "disk.vmdk": vmdk(extents=f'RW 1 FLAT "{OUTSIDE}" 0')}),
        "in other files",
    ),
    "a truncated OVA": (ova({"a.ovf": ovf(), "disk.vmdk": bytes(2**20)})[: 2**19], "read|trunc"),
}
