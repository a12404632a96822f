# SPDX-License-Identifier: Apache-2.0
"""Runs inside the pool's root: times `virsh create` and `virsh destroy` of a given domain.

usage: yardstick.py COUNT < domain.xml        prints {"create": [...], "destroy": [...]} (seconds)

The domain's console socket is listened on, as a supervisor does; its overlay is made anew for
each start, outside the measured time.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path


def timed(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    root = ET.fromstring(sys.stdin.read())  # noqa: S314 - libvirt's own output
    directory = Path(tempfile.mkdtemp(dir="/var/lib/condor-cloud-node"))
    directory.chmod(0o755)
    name = "yardstick"
    element = root.find("name")
    assert element is not None
    element.text = name
    uuid = "sysinfo/system/entry[@name='uuid']"
    for gone in ("uuid", uuid, "devices/interface/mac", "devices/interface/target"):
        parent, _, tag = gone.rpartition("/")
        holder = root.find(parent) if parent else root
        assert holder is not None
        for child in holder.findall(tag):
            holder.remove(child)
    overlay = directory / "overlay.qcow2"
    source = root.find("devices/disk/source")
    base = root.find("devices/disk/backingStore/source")
    kind = root.find("devices/disk/backingStore/format")
    assert source is not None
    assert base is not None
    assert kind is not None
    source.set("file", str(overlay))
    console = directory / "console"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(console))
    listener.listen(8)
    console.chmod(0o666)
    for path in root.findall("devices/serial/source") + root.findall("devices/console/source"):
        path.set("path", str(console))
    (directory / "domain.xml").write_text(ET.tostring(root, encoding="unicode"))
    series: dict[str, list[float]] = {"create": [], "destroy": []}
    for _ in range(int(sys.argv[1])):
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", kind.get("type", ""), "-b"]
            + [base.get("file", ""), str(overlay)],
            check=True,
        )
        overlay.chmod(0o666)
        series["create"].append(timed("virsh", "-q", "create", str(directory / "domain.xml")))
        series["destroy"].append(timed("virsh", "-q", "destroy", name))
    shutil.rmtree(directory)
    print(json.dumps(series))


main()
