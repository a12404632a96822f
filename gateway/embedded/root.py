# SPDX-License-Identifier: Apache-2.0
"""The embedded pool's Debian root: built once from the machine's own package mirror, cached.

Its name holds a hash of what it is made from, so that a changed recipe builds a new one and
several versions of the gateway share a cache directory.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from typing import TYPE_CHECKING

from gateway.embedded.mirror import bootstrap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SUITE = "trixie"
PACKAGES = (
    "condor",
    "dnsmasq-base",
    "dnsmasq-utils",
    "iproute2",
    "libvirt-clients",
    "libvirt-daemon-driver-qemu",
    "libvirt-daemon-system",
    "nftables",
    "ovmf",
    "python3-libvirt",
    "qemu-system-x86",
    "qemu-utils",
    "seabios",
)
# The jobs' owner: it may talk to libvirt and read what QEMU writes.
HOOKS = (
    '--customize-hook=chroot "$1" groupadd --system condor-cloud',
    (
        '--customize-hook=chroot "$1" useradd --system --gid condor-cloud'
        " --groups libvirt,libvirt-qemu,kvm --home-dir /var/lib/condor-cloud-node"
        " --shell /usr/sbin/nologin condor-cloud"
    ),
)


def path(cache_dir: Path) -> Path:
    """Return where the root for this recipe is, or will be."""
    recipe = json.dumps([SUITE, PACKAGES, HOOKS]).encode()
    return cache_dir / f"root-{SUITE}-{hashlib.sha256(recipe).hexdigest()[:12]}"


def ensure(cache_dir: Path, progress: Callable[[float, str], None]) -> Path:
    """Return the root, built if it is not there yet (about 40 s and 500 MB).

    Who uses it for long holds :func:`gateway.embedded.cached.used` meanwhile. ``progress`` gets the
    share done (0 to 1) and what is being done. Raises
    :class:`gateway.embedded.mirror.MirrorError`.
    """
    target = path(cache_dir)
    cache_dir.mkdir(parents=True, exist_ok=True)
    # Two builders at once: the second waits and finds it done. The kernel frees the lock.
    with (cache_dir / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            bootstrap(target, SUITE, PACKAGES, "minbase", progress, extra=HOOKS)
    return target
