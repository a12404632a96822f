# SPDX-License-Identifier: Apache-2.0
"""Copies of a running domain's disk, by libvirt; what it raises is its caller's to translate.

QEMU copies what the guest is about to overwrite before it does, so the copy is the disk at one
instant while the guest goes on. The disk and what it stands on stay as they are: a copy that is
cut, by whatever, leaves nothing behind but its own file (docs/adr/0015).
https://libvirt.org/formatbackup.html
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

from execnode.domain import AGENT

if TYPE_CHECKING:
    from pathlib import Path

AGENT_SECONDS = 5
INTERRUPTED = "It was interrupted."


def has_agent(xml: str) -> bool:
    """Tell from a live domain's XML whether the guest has opened the agent's channel.

    https://libvirt.org/formatdomain.html#channel
    """
    wanted = f"./devices/channel/target[@name='{AGENT}'][@state='connected']"
    return ET.fromstring(xml).find(wanted) is not None  # noqa: S314 - libvirt's own


def freeze(domain: Any) -> None:
    """Have the guest's agent hold its file systems; it has AGENT_SECONDS to answer."""
    domain.agentSetResponseTimeout(AGENT_SECONDS, 0)
    domain.fsFreeze()


def begin(libvirt: Any, domain: Any, disk: str, target: Path) -> None:
    """Begin to copy a disk, with what it stands on, to an empty qcow2 of its size."""
    # Taken out, so that what is found later is of this copy.
    domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    reuse = libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL
    domain.backupBegin(_described(disk, target), None, reuse)


def state(libvirt: Any, domain: Any) -> tuple[bool, str]:
    """Tell whether the copy is whole, and why it failed if it did."""
    if domain.jobStats()["type"] != libvirt.VIR_DOMAIN_JOB_NONE:
        return False, ""
    kept = libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED
    ended = domain.jobStats(kept)
    if ended["type"] == libvirt.VIR_DOMAIN_JOB_COMPLETED:
        return True, ""
    return False, str(ended.get(libvirt.VIR_DOMAIN_JOB_ERRMSG) or INTERRUPTED)


def _described(disk: str, target: Path) -> str:
    root = ET.Element("domainbackup", mode="push")
    disks = ET.SubElement(root, "disks")
    copied = ET.SubElement(disks, "disk", name=disk, backup="yes", type="file")
    ET.SubElement(copied, "driver", type="qcow2")
    file = ET.SubElement(copied, "target", file=str(target))
    # Its group lets QEMU in, as it does for the guest's own files.
    ET.SubElement(file, "seclabel", model="dac", relabel="no")
    return ET.tostring(root, encoding="unicode")
