# SPDX-License-Identifier: Apache-2.0
"""Removes what dead supervisors left on the node: domains, addresses, directories, downloads.

Normally there is nothing: libvirtd destroys a guest when its supervisor's connection closes, and
the supervisor cleans up itself. What remains is the case where both died, or the power went. Only
an instance whose lock can be taken is touched, and the lock is held while it is cleaned.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from execnode import cache, config, spec
from execnode.hypervisor import HypervisorError
from execnode.libvirtd import LibvirtHypervisor
from execnode.link import LinkError, NodeLink
from execnode.workspace import OVERLAY, Workspace, is_guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from execnode.config import NodeConfig
    from execnode.hypervisor import Hypervisor

YOUNG_SECONDS = 10.0
QEMU_LOGS = Path("/var/log/libvirt/qemu")  # libvirt keeps one for every name it ever started
QEMU_LOG_SECONDS = 24 * 3600.0


def main() -> int:
    """Sweep once, or with ``--every SECONDS`` for ever; to be run as root."""
    every = float(sys.argv[2]) if sys.argv[1:2] == ["--every"] and len(sys.argv) == 3 else None
    if every is None and sys.argv[1:]:
        sys.stderr.write("usage: condor-cloud-sweep [--every SECONDS]\n")
        return 2
    # How HTCondor's master ends a daemon; by itself SIGQUIT would leave a core file.
    for number in (signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    while True:
        status = _once()
        if every is None:
            return status
        time.sleep(every)


def _once() -> int:
    try:
        settings = config.load()
    except config.ConfigError as error:
        sys.stderr.write(f"condor-cloud-sweep: {error}\n")
        return 1
    status = 0
    for work in (_sweep_downloads, _sweep_guests):
        try:
            work(settings)
        except (HypervisorError, OSError) as error:
            sys.stderr.write(f"condor-cloud-sweep: {error}\n")
            status = 1
    return status


def _sweep_downloads(settings: NodeConfig) -> None:
    cache.sweep(settings.cache_dir)


def _sweep_guests(settings: NodeConfig) -> None:
    hypervisor = LibvirtHypervisor(settings.libvirt_uri, settings.network)
    hypervisor.connect()
    try:
        for name in sweep(settings, hypervisor, lambda names: ask(settings, names)):
            sys.stdout.write(f"swept {name}\n")
        sys.stdout.flush()
        sweep_logs(settings, QEMU_LOGS)
    finally:
        hypervisor.close()


def ask(settings: NodeConfig, names: list[str]) -> set[str]:
    """Ask the gateway which of these instances' disks may go; none where it does not answer."""
    try:
        with contextlib.closing(NodeLink(settings)) as link:
            return link.useless_disks(names)
    except (LinkError, OSError, ValueError) as error:
        sys.stderr.write(f"condor-cloud-sweep: disks are kept: {error}\n")
        return set()


def sweep(
    settings: NodeConfig, hypervisor: Hypervisor, which_are_useless: Callable[[list[str]], set[str]]
) -> list[str]:
    """Clean every instance that nobody guards; returns the ids of those of which nothing is left.

    ``which_are_useless`` tells of which instances the disks may go: the others keep theirs, and
    their addresses. One that cannot be cleaned is complained of and left to the next sweep.
    """
    directories = {path.name for path in settings.instances_dir.iterdir()}
    names = directories | set(hypervisor.domains()) | set(_reserved(hypervisor))
    names = {name for name in names if spec.INSTANCE_ID.fullmatch(name)}
    disks = [name for name in sorted(directories & names) if _has_unguarded_disk(settings, name)]
    useless = which_are_useless(disks) if disks else set()
    swept = []
    for name in sorted(names):
        try:
            if _clean(settings, hypervisor, name, disk_may_go=name in useless):
                swept.append(name)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are cleaned
            sys.stderr.write(f"condor-cloud-sweep: {name}: {type(error).__name__}: {error}\n")
    return swept


def sweep_logs(settings: NodeConfig, logs: Path) -> None:
    """Remove libvirt's old logs of instances that are no longer here."""
    for log in logs.glob("i-*.log"):
        gone = not (settings.instances_dir / log.stem).exists()
        with contextlib.suppress(FileNotFoundError):
            if gone and time.time() - log.stat().st_mtime > QEMU_LOG_SECONDS:
                log.unlink()


def _reserved(hypervisor: Hypervisor) -> list[str]:
    try:
        return hypervisor.reserved_names()
    except HypervisorError:
        return []  # no network, no addresses


def _has_unguarded_disk(settings: NodeConfig, name: str) -> bool:
    directory = settings.instances_dir / name
    return (directory / OVERLAY).exists() and not is_guarded(directory)


def _clean(settings: NodeConfig, hypervisor: Hypervisor, name: str, *, disk_may_go: bool) -> bool:
    directory = settings.instances_dir / name
    if _is_young(directory):
        return False
    workspace = Workspace.acquire(directory, settings.qemu_group, wait=False)
    if workspace is None:
        return False
    try:
        hypervisor.destroy(name)
        if (directory / OVERLAY).exists() and not disk_may_go:
            workspace.keep()
            return False
        if name in _reserved(hypervisor):
            hypervisor.release_address(name)
        workspace.remove()
    finally:
        workspace.close()
    return True


def _is_young(directory: Path) -> bool:
    try:
        return time.time() - directory.stat().st_mtime < YOUNG_SECONDS
    except FileNotFoundError:
        return False
