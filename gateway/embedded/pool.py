# SPDX-License-Identifier: Apache-2.0
"""The embedded pool: one node with every HTCondor role, in namespaces of its own.

Nothing of it outlives it: processes and mounts belong to a pid and a mount namespace whose first
process dies with ours (``unshare --kill-child`` and PR_SET_PDEATHSIG). Only the guests' bridge and
its firewall table are in the host's network namespace, because clients on the host reach guests
through them; :mod:`gateway.embedded.network` takes them away.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.embedded import network, node_files
from gateway.processes import DIE_WITH_PARENT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gateway.config import Settings

HERE = Path(__file__).parent
DOMAIN = "condor-cloud"
IDENTITY = f"condor-cloud@{DOMAIN}"
STOP_LIMIT = 15.0


class PoolError(Exception):
    """The pool did not start; the text says why in one sentence."""


class EmbeddedPool:
    """Starts and stops the pool; one object for one run."""

    def __init__(
        self, settings: Settings, root: Path, kernel: Path, say: Callable[[str], None]
    ) -> None:
        """Use the cached ``root``; ``say`` gets a line for each step of the start.

        ``kernel`` is what the node boots to prove that KVM works.
        """
        self.settings = settings
        self.root = root
        self.kernel = kernel
        self.say = say
        self.top = settings.pool_dir
        self.process: subprocess.Popen[str] | None = None
        self._ready = threading.Event()
        self._failure = ""

    def start(self) -> None:
        """Start the pool and wait until its node is in the collector."""
        network.remove(self.settings, self.root)
        self._lay_out()
        network.add_rules(self.settings, self.root)
        name = "condor-cloud"
        with (self.top / "log" / "pool.err").open("wb") as errors:
            self.process = subprocess.Popen(
                [
                    *DIE_WITH_PARENT,
                    "unshare",
                    "--mount",
                    "--pid",
                    "--uts",
                    "--ipc",
                    "--fork",
                    "--kill-child=KILL",
                    "--propagation",
                    "private",
                    "/bin/sh",
                    str(HERE / "enter.sh"),
                    str(self.root),
                    str(self.top),
                    name,
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
            )
        threading.Thread(target=self._listen, daemon=True).start()
        self._ready.wait()
        if self._failure:
            self.stop()
            raise PoolError(self._failure)

    def _listen(self) -> None:
        process = self.process
        if process is None or process.stdout is None:
            return
        for line in process.stdout:
            kind, _, text = line.rstrip("\n").partition(" ")
            if kind == "step":
                self.say(text)
            elif kind == "ready":
                self._ready.set()
            elif kind == "failed":
                self._failure = f"The embedded pool did not start: {text}."
                self._ready.set()
        if not self._ready.is_set():
            err = (self.top / "log" / "pool.err").read_text(errors="replace").strip()
            last = err.splitlines()[-1] if err else "no message"
            self._failure = f"The embedded pool ended while it started: {last}."
            self._ready.set()

    def alive(self) -> bool:
        """Tell whether the pool's first process runs."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Stop in order, then by force; take the bridge and its rules away."""
        process = self.process
        if process is not None and process.poll() is None:
            for pid in _children(process.pid):
                os.kill(pid, signal.SIGTERM)
            try:
                process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        network.remove(self.settings, self.root)

    def _lay_out(self) -> None:
        top = self.top
        shutil.rmtree(top / "layers", ignore_errors=True)
        shutil.rmtree(top / "share", ignore_errors=True)
        for name in ("spool", "node", "log", "libvirt", "share", "layers/upper"):
            (top / name).mkdir(parents=True, exist_ok=True)
        (top / "share").chmod(0o700)
        # The numbers of the pool's users are other users' here. Inside, all of it is mounted at
        # other places, so nobody there needs a way through this one.
        top.chmod(0o700)
        node_files.write(self.settings, self.root, self.kernel, top / "layers" / "upper")
        (top / "share" / "pool.json").write_text(
            json.dumps(
                {
                    "network": network.NAME,
                    "network_xml": network.libvirt_xml(self.settings),
                    "identity": IDENTITY,
                    "kvm": _device(Path("/dev/kvm")),
                }
            )
        )


def remove_disks(settings: Settings, kept: Collection[str]) -> None:
    """Remove what is left on the node of all instances but those named; no pool runs.

    No guest outlives the namespaces that it ran in, so nothing there is in use.
    """
    directory = settings.pool_dir / "node" / "instances"
    for path in directory.iterdir() if directory.is_dir() else ():
        if path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)


def _device(path: Path) -> tuple[int, int] | None:
    """Return the numbers of a character device; None where there is none."""
    try:
        number = path.stat().st_rdev
    except FileNotFoundError:
        return None
    return os.major(number), os.minor(number)


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in text.split()]
