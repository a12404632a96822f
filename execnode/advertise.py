# SPDX-License-Identifier: Apache-2.0
"""What the node tells the pool about itself: ClassAd lines for the startd's cron.

Runs as HTCondor's own user, so it only looks: at the configuration, the names in the image cache
and the probe's result.
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

from execnode import __version__, cache, config, counts, eviction, firmware, gate, probe

LIBVIRT_SOCKET = Path("/run/libvirt/libvirt-sock")
# The master starts the gate and the startd, whose cron this is, at the same time.
GATE_SECONDS = 3.0


def main() -> int:
    """Print the machine ad's attributes."""
    sys.stdout.write("".join(f"{line}\n" for line in advertisement(config.DEFAULT_FILE)))
    return 0


def advertisement(file: Path) -> list[str]:
    """Return the lines; a node with a problem says which and offers nothing."""
    try:
        settings = config.load(file)
        problem = _problem(settings)
        images = cache.cached(settings.cache_dir) if not problem else []
        cached = numbers(settings) if not problem else []
        virt, reason = probe.virt_type(settings.run_dir), probe.why_emulated(settings.run_dir)
    except config.ConfigError as error:
        problem, images, cached, virt, reason = str(error), [], [], "qemu", ""
    lines = [
        f"CondorCloudNode = {'false' if problem else 'true'}",
        f"CondorCloudNodeName = {quote(socket.gethostname())}",
        f"CondorCloudNodeVersion = {quote(__version__)}",
        f"CondorCloudCachedImages = {quote(','.join(images))}",
        f"CondorCloudVirtType = {quote(virt)}",
        f"CondorCloudUefi = {'true' if firmware.has_uefi() else 'false'}",
        *cached,
    ]
    if reason:
        lines.append(f"CondorCloudVirtReason = {quote(reason)}")
    if problem:
        lines.append(f"CondorCloudNodeProblem = {quote(problem)}")
    return lines


def numbers(settings: config.NodeConfig) -> list[str]:
    """Return the lines about the image cache."""
    counted = counts.read(settings.cache_dir)
    found = {
        "Bytes": eviction.held(settings.cache_dir),
        "Limit": eviction.limit(settings),
        "Hits": counted[counts.HITS],
        "Misses": counted[counts.MISSES],
        "Evictions": counted[counts.EVICTIONS],
        "DownloadedBytes": counted[counts.BYTES],
        "DownloadSeconds": round(counted[counts.SECONDS], 3),
    }
    return [f"CondorCloudCache{name} = {number}" for name, number in found.items()]


def _problem(settings: config.NodeConfig) -> str:
    for directory in (settings.cache_dir, settings.instances_dir):
        if not directory.is_dir():
            return f"{directory} is missing."
    if not probe.QEMU.exists():
        return f"{probe.QEMU} is missing."
    if settings.libvirt_uri == "qemu:///system" and not LIBVIRT_SOCKET.exists():
        return "libvirtd is not running."
    deadline = time.monotonic() + GATE_SECONDS
    while not gate.socket_path(settings).exists():
        if time.monotonic() > deadline:
            return "condor-cloud-gate is not running."
        time.sleep(0.05)
    return ""


def quote(text: str) -> str:
    """Return a ClassAd string literal."""
    flat = " ".join(text.split())
    return '"' + flat.replace("\\", "\\\\").replace('"', '\\"') + '"'
