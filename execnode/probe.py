# SPDX-License-Identifier: Apache-2.0
"""Does KVM really boot a kernel here? Run once after boot; a supervisor reads the answer.

A KVM device that opens proves nothing: on some nested hosts a virtual CPU cannot be set up, or
spins for ever in the guest's kernel. So a kernel is booted until it says that it has arrived. No
answer, a failed one, or one for another boot or another QEMU means emulation.
"""

from __future__ import annotations

import glob
import json
import os
import selectors
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from execnode import config

if TYPE_CHECKING:
    from execnode.config import NodeConfig

QEMU = Path("/usr/bin/qemu-system-x86_64")
KVM = Path("/dev/kvm")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
NO_DEVICE = f"there is no {KVM}"
BOOT_SECONDS = 20.0
FIRST_WORD_SECONDS = 5.0  # a kernel that runs says something within a second
# Without a disk the kernel gets as far as looking for one; with an initramfs, to its init.
ARRIVED = (b"Kernel panic - not syncing: VFS", b"Run /init as init process")


def virt_type(run_dir: Path) -> str:
    """Return ``kvm`` where the probe has proved it for this boot and this QEMU, else ``qemu``."""
    proved = _known(run_dir) is True and KVM.exists()
    return "kvm" if proved else "qemu"


def why_emulated(run_dir: Path) -> str:
    """Return why guests are emulated, as a sentence; empty where they are not."""
    if virt_type(run_dir) == "kvm":
        return ""
    result = _valid(run_dir)
    if result is not None and not result["kvm"]:
        told = str(result.get("reason") or "KVM does not work")
    elif not KVM.exists():
        told = NO_DEVICE
    else:
        told = "condor-cloud-probe has no answer for this boot and this QEMU"
    return f"{told[:1].upper()}{told[1:]}."


def is_known(run_dir: Path) -> bool:
    """Tell whether the probe has an answer for this boot and this QEMU, whichever it is."""
    return _known(run_dir) is not None


def _known(run_dir: Path) -> bool | None:
    result = _valid(run_dir)
    return None if result is None else bool(result["kvm"])


def _valid(run_dir: Path) -> dict[str, Any] | None:
    try:
        result: dict[str, Any] = json.loads((run_dir / "probe.json").read_text())
        return result if "kvm" in result and result["key"] == _key() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def main() -> int:
    """Probe, write ``run_dir/probe.json`` and print the result."""
    try:
        settings = config.load()
    except config.ConfigError as error:
        sys.stderr.write(f"condor-cloud-probe: {error}\n")
        return 1
    result = probe(settings)
    write(settings.run_dir, result)
    text = "KVM works." if result["kvm"] else f"Guests will be emulated: {result['reason']}."
    sys.stdout.write(f"{text}\n")
    return 0


def probe(settings: NodeConfig) -> dict[str, Any]:
    """Try to boot; the result has ``kvm``, ``reason`` and what it is valid for."""
    kernels = sorted(glob.glob(settings.probe_kernel))  # noqa: PTH207 - the setting is absolute
    if not KVM.exists():
        return _result(kvm=False, reason=NO_DEVICE)
    if not os.access(KVM, os.R_OK | os.W_OK):
        return _result(kvm=False, reason="/dev/kvm may not be opened")
    if not kernels:
        return _result(kvm=False, reason=f"there is no kernel {settings.probe_kernel} to try it")
    reason = _boot(kernels[-1])
    return _result(kvm=not reason, reason=reason)


def write(run_dir: Path, result: dict[str, Any]) -> None:
    """Keep a result where supervisors look."""
    run_dir.mkdir(parents=True, exist_ok=True)
    temporary = run_dir / "probe.json.new"
    temporary.write_text(json.dumps(result) + "\n")
    temporary.chmod(0o644)
    temporary.rename(run_dir / "probe.json")


def _result(*, kvm: bool, reason: str) -> dict[str, Any]:
    return {"kvm": kvm, "reason": reason, "key": _key(), "at": int(time.time())}


def _key() -> list[Any]:
    """Identify this boot and this QEMU, by its file: quicker than asking for its version."""
    seen = QEMU.stat()
    return [BOOT_ID.read_text().strip(), seen.st_ino, seen.st_size, int(seen.st_mtime)]


def _boot(kernel: str) -> str:
    """Boot the kernel; return why it did not arrive, or nothing."""
    command = [str(QEMU), "-machine", "pc,accel=kvm", "-cpu", "host", "-m", "256"]
    command += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    command += [
        "-serial",
        "stdio",
        "-kernel",
        kernel,
        "-append",
        "console=ttyS0 earlyprintk=ttyS0 panic=-1",
    ]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as qemu:
        try:
            return _watch(qemu)
        finally:
            qemu.kill()


def _watch(qemu: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + BOOT_SECONDS
    output = b""
    assert qemu.stdout is not None  # noqa: S101 - it was opened with a pipe
    with selectors.DefaultSelector() as selector:
        selector.register(qemu.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left if output else min(left, FIRST_WORD_SECONDS)):
                break
            data = os.read(qemu.stdout.fileno(), 65536)
            output = (output + data)[-65536:]
            if any(text in output for text in ARRIVED):
                return ""
            if not data:
                last = output.decode(errors="replace").strip().splitlines()[-1:] or ["nothing"]
                return f"QEMU ended and said: {last[0]}"
    if not output:
        return f"the kernel said nothing for {FIRST_WORD_SECONDS:.0f} seconds"
    return f"the kernel did not arrive within {BOOT_SECONDS:.0f} seconds"
