# SPDX-License-Identifier: Apache-2.0
"""The domain's XML against golden files; tests/vm defines the same files in libvirt."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from execnode_gateway import specification

from execnode import domain, spec

GOLDEN = Path(__file__).parent / "golden"
PATHS = domain.Paths(
    Path("/var/lib/condor-cloud-node/cache/0.qcow2"),
    Path("/var/lib/condor-cloud-node/instances/i-0123456789abcdef0/overlay.qcow2"),
    Path("/var/lib/condor-cloud-node/instances/i-0123456789abcdef0/console.sock"),
    Path("/var/lib/condor-cloud-node/instances/i-0123456789abcdef0/nvram.fd"),
)


def built(virt_type: str, **changes: object) -> str:
    read = spec.read(specification(b"disk", **changes))
    root = ET.fromstring(  # noqa: S314 - our own text
        domain.build(read, PATHS, virt_type, domain.Plug("condor-cloud", "cc0123456789abc"))
    )
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


@pytest.mark.parametrize(
    ("name", "virt_type", "changes"),
    [
        ("domain-qemu", "qemu", {}),
        ("domain-kvm", "kvm", {"vcpus": 4, "memory_mib": 2048}),
        ("domain-i386", "qemu", {"architecture": "i386"}),
        ("domain-uefi", "qemu", {"boot_mode": "uefi"}),
    ],
)
def test_a_domain_is_as_its_golden_file(
    name: str, virt_type: str, changes: dict[str, object]
) -> None:
    file = GOLDEN / f"{name}.xml"
    xml = built(virt_type, **changes)
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        file.write_text(xml)
    assert xml == file.read_text()


def test_what_comes_from_outside_stays_text() -> None:
    hostile = 'a\'/><disk type="block"><!-- &amp; '
    paths = PATHS._replace(overlay=Path("/x/" + hostile))
    xml = domain.build(
        spec.read(specification(b"disk")), paths, "qemu", domain.Plug(hostile, hostile)
    )
    root = ET.fromstring(xml)  # noqa: S314 - our own text
    assert [d.get("type") for d in root.iter("disk")] == ["file"]
    network = root.find("devices/interface/source")
    assert network is not None
    assert network.get("network") == hostile


def test_libvirt_is_told_to_leave_the_owners_of_files_alone() -> None:
    root = ET.fromstring(built("qemu"))  # noqa: S314 - our own text
    with_path = [s for s in root.iter("source") if s.get("file") or s.get("path")]
    labels = [s.find("seclabel") for s in with_path]
    assert len(labels) == 3
    assert all(label is not None and label.get("relabel") == "no" for label in labels)


@pytest.mark.parametrize(("port", "answer"), [("5901", 5901), ("-1", None)])
def test_the_displays_port_is_read_when_there_is_one(port: str, answer: int | None) -> None:
    xml = f"<domain><devices><graphics type='vnc' port='{port}'/></devices></domain>"
    assert domain.vnc_port(xml) == answer
