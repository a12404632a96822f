# SPDX-License-Identifier: Apache-2.0
"""First process of the embedded pool: libvirtd, the guests' network, HTCondor.

Copied into the pool's root and run there by Debian's own Python; of ours it imports the node side
alone, which is installed there.
Standard output is read by :mod:`gateway.embedded.pool`, one line a step: ``step TEXT``,
``ready`` or ``failed TEXT``. SIGTERM stops the pool; when this process ends, so does every other
one in its namespace.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SHARE = Path("/share-condor-cloud")
NODE = Path("/var/lib/condor-cloud-node")
LIBVIRTD = ["/usr/sbin/libvirtd", "--config", "/etc/libvirt/libvirtd.conf"]
MASTER = ["/usr/sbin/condor_master", "-f"]
START_LIMIT = 60.0
STOP_LIMIT = 8.0
# A working KVM boots a kernel in a second or two; a start does not wait longer to learn it.
PROBE_LIMIT = 5.0


def say(line: str) -> None:
    """Tell the gateway's side one step."""
    print(line, flush=True)


class Init:
    """Starts the daemons, restarts libvirtd when it dies, ends them in order."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = json.loads((SHARE / "pool.json").read_text())
        self.children: dict[int, str] = {}
        self.stopping = False

    def run(self) -> int:
        """Start the pool and stay until it is stopped; return the exit status."""
        signal.signal(signal.SIGTERM, self._asked_to_stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Everything that daemonizes becomes our child: libvirt waits 40 s for each QEMU that it
        # ended and that nobody has reaped.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._wakes, wakes = socket.socketpair()
        for end in (self._wakes, wakes):
            end.settimeout(0)
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        self._clean_node()
        self._probe_kvm()
        say("step starting libvirt")
        self._spawn("libvirtd", LIBVIRTD)
        self._wait_for("libvirt", self._network_is_up)
        # libvirt asks QEMU what it can do once, and keeps the answer; better now than at a launch.
        self._spawn("warm-up", ["/usr/bin/virsh", "-q", "domcapabilities", "--virttype", "qemu"])
        say("step starting HTCondor")
        self._make_token()
        self._spawn("condor_master", MASTER)
        self._wait_for("a node in the pool", self._node_is_there, pause=0.25)
        say("ready")
        while not self.stopping:
            self._rest(1.0)
        self._stop()
        return 0

    def _asked_to_stop(self, *_: object) -> None:
        self.stopping = True

    def _clean_node(self) -> None:
        # No guest outlives the namespace that it ran in: what is here belongs to stopped instances.
        for name in ("cache", "instances"):
            (NODE / name).mkdir(parents=True, exist_ok=True)
            shutil.chown(NODE / name, "condor-cloud", "libvirt-qemu")
        (NODE / "cache").chmod(0o2755)
        (NODE / "instances").chmod(0o2711)
        Path("/run/condor-cloud-node").mkdir(exist_ok=True)
        for path in (Path("/run/libvirt"), Path("/run/condor"), Path("/run/lock")):
            path.mkdir(parents=True, exist_ok=True)
        for name in ("spool/condor", "log/condor", "run/condor", "lib/condor/execute"):
            path = Path("/var") / name
            path.mkdir(parents=True, exist_ok=True)
            shutil.chown(path, "condor", "condor")

    def _probe_kvm(self) -> None:
        # libvirt must not see a KVM that does not boot: it would wait for it at every turn.
        from execnode import probe

        device = Path("/dev/kvm")
        run_dir = NODE / "run"
        run_dir.mkdir(exist_ok=True)
        if not self.settings["kvm"]:
            return
        os.mknod(device, 0o660 | stat.S_IFCHR, os.makedev(*self.settings["kvm"]))
        shutil.chown(device, group="kvm")
        if not probe.is_known(run_dir):
            say("step trying KVM")
            self._spawn("condor-cloud-probe", ["/usr/bin/condor-cloud-probe"])
            limit = time.monotonic() + PROBE_LIMIT
            while "condor-cloud-probe" in self.children.values() and time.monotonic() < limit:
                self._rest(0.1)
        if probe.virt_type(run_dir) != "kvm":
            device.unlink()

    def _spawn(self, name: str, command: list[str]) -> None:
        log = (Path("/var/log/condor") / f"{name}.out").open("ab")
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        self.children[process.pid] = name

    def _rest(self, seconds: float) -> None:
        """Reap, and wait until a child ends or ``seconds`` have passed."""
        self._reap()
        select.select([self._wakes], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            self._wakes.recv(4096)
        self._reap()

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = self.children.pop(pid, None)
            if name == "libvirtd" and not self.stopping:
                say("step libvirtd ended; starting it again")
                self._spawn("libvirtd", LIBVIRTD)
            elif name == "condor_master" and not self.stopping:
                say("failed condor_master ended; see its log")
                self.stopping = True

    def _wait_for(self, what: str, there: Any, pause: float = 0.05) -> None:
        limit = time.monotonic() + START_LIMIT
        while not there():
            if self.stopping:
                sys.exit(0)
            if time.monotonic() > limit:
                say(f"failed {what} did not come up within {START_LIMIT:.0f} s")
                sys.exit(1)
            self._rest(pause)

    def _network_is_up(self) -> bool:
        import libvirt

        libvirt.registerErrorHandler(lambda *_: None, None)
        try:
            connection = libvirt.open("qemu:///system")
        except libvirt.libvirtError:
            return False
        try:
            connection.networkCreateXML(self.settings["network_xml"])
        except libvirt.libvirtError as error:
            say(f"failed the guests' network: {error}")
            sys.exit(1)
        finally:
            connection.close()
        return True

    def _make_token(self) -> None:
        key = Path("/etc/condor/passwords.d/POOL")
        key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # HTCondor reads a key up to its first NUL byte.
        key.write_bytes(os.urandom(64).replace(b"\0", b"\1"))
        key.chmod(0o600)
        made = subprocess.run(
            ["/usr/bin/condor_token_create", "-identity", self.settings["identity"]],
            capture_output=True,
            check=False,
        )
        if made.returncode != 0:
            say(f"failed condor_token_create: {made.stderr.decode(errors='replace').strip()}")
            sys.exit(1)
        tokens = SHARE / "tokens"
        tokens.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(tokens / "gateway", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(made.stdout)

    def _node_is_there(self) -> bool:
        asked = subprocess.run(
            ["/usr/bin/condor_status", "-constraint", "CondorCloudNode =?= true", "-af", "Name"],
            capture_output=True,
            check=False,
        )
        return bool(asked.stdout.strip())

    def _stop(self) -> None:
        self._signal("condor_master", signal.SIGQUIT)
        limit = time.monotonic() + STOP_LIMIT
        while "condor_master" in self.children.values() and time.monotonic() < limit:
            self._rest(0.1)
        # What is left of libvirt's network outside these namespaces is the guardian's to remove.
        self._signal("libvirtd", signal.SIGTERM)

    def _signal(self, name: str, number: int) -> None:
        for pid, child in self.children.items():
            if child == name:
                os.kill(pid, number)


if __name__ == "__main__":
    sys.exit(Init().run())
