# SPDX-License-Identifier: Apache-2.0
"""A private Condor Cloud for the tests that need a pool, started by its own command.

It has ports, addresses, a bridge and a state directory (with a space in its name) of its own, so
it gets on with a `make run` in the next terminal. Only the cached Debian root is shared.
"""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

START_LIMIT = 600.0
# One that no node can hold, and one that a node can hold and QEMU's machine cannot.
TYPES = """
["test.too-large"]
vcpus = 1024
memory_mib = 512

["test.many-cpus"]
vcpus = 300
memory_mib = 512
"""


@dataclass
class Cloud:
    """A running `condor-cloud run`, and how to look at what it does."""

    process: subprocess.Popen[bytes]
    state: Path
    variables: dict[str, str]
    bridge: str

    def restart(self) -> None:
        """Stop it as Ctrl-C does and start it again with the same state."""
        self.stop()
        self.process = start(self.state, self.variables)

    def stop(self) -> int:
        """Stop it as Ctrl-C does; return the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    @property
    def environment(self) -> dict[str, str]:
        """What points an EC2 client at it: the `env` file's variables."""
        return read_environment(self.state)

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the pool's namespaces and root."""
        return subprocess.run(
            [*self.entered(), *command],
            capture_output=True,
            text=True,
            check=False,
            # Nothing of this process's: HTCondor's bindings, once imported, set CONDOR_CONFIG.
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
        )

    def entered(self) -> list[str]:
        """Return what, before a command, runs it in the pool's namespaces and root."""
        root = self.state / "pool" / "layers" / "root"
        entered = ["nsenter", "--target", str(self.pool_init()), "--mount", "--pid", "--uts"]
        return [*entered, "chroot", str(root)]

    def pool_init(self) -> int:
        """Return the pid, here, of the pool's first process."""
        root = str(self.state / "pool" / "layers" / "root")
        for pid in all_processes():
            if b"/usr/lib/condor-cloud/init.py" in command_line(pid):
                with contextlib.suppress(OSError):
                    if (Path("/proc") / str(pid) / "root").readlink() == Path(root):
                        return pid
        raise AssertionError("the pool's first process is not there")

    def pool_processes(self, program: str) -> list[int]:
        """Return the pids, here, of the pool's processes that run ``program``."""
        namespace = os.stat(f"/proc/{self.pool_init()}/ns/pid").st_ino  # noqa: PTH116
        found = []
        for pid in all_processes():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{pid}/ns/pid").st_ino != namespace:  # noqa: PTH116
                    continue
                words = [word.rpartition(b"/")[2] for word in command_line(pid)[:3]]
                if program.encode() in words:
                    found.append(pid)
        return found

    def service(self, *words: str) -> int:
        """Return the pid of one of the gateway's services, by words of its command."""
        for pid in children(self.process.pid):
            if all(word.encode() in command_line(pid) for word in words):
                return pid
        raise AssertionError(f"no service {words}")


def until(what: str, ready: Callable[[], T], limit: float = 120.0) -> T:
    """Wait until ``ready`` returns something true and return it; fail after ``limit`` seconds."""
    deadline = time.monotonic() + limit
    while not (value := ready()):
        assert time.monotonic() < deadline, f"{what} did not come within {limit} s"
        time.sleep(0.1)
    return value


def client(cloud: Cloud) -> Any:
    """Return a stock EC2 client for it."""
    variables = cloud.environment
    return boto3.client(
        "ec2",
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        region_name=variables["AWS_DEFAULT_REGION"],
    )


def left_behind(cloud: Cloud) -> dict[str, object]:
    """Return everything of any instance that is still there, by kind."""
    jobs = cloud.inside("condor_q", "-allusers", "-af", "CondorCloudInstanceId")
    network = cloud.inside("virsh", "-q", "net-dumpxml", "condor-cloud").stdout
    leases = cloud.inside("virsh", "-q", "net-dhcp-leases", "condor-cloud").stdout
    directory = cloud.state / "pool" / "node" / "instances"
    kinds = {
        "domains": domains(cloud),
        "jobs": jobs.stdout.split() if jobs.returncode == 0 else [jobs.stderr],
        "supervisors": cloud.pool_processes("condor-cloud-supervisor"),
        "machines": cloud.pool_processes("qemu-system-x86_64"),
        "directories": sorted(path.name for path in directory.iterdir()),
        "addresses": [line for line in network.splitlines() if "<host " in line],
        "leases": leases.split(),
    }
    return {kind: found for kind, found in kinds.items() if found}


def wait_until_nothing_is_left(cloud: Cloud) -> None:
    """Wait for the end of the last trace of any instance; fail with what is left."""
    deadline = time.monotonic() + 90.0
    while left := left_behind(cloud):
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.5)


def domains(cloud: Cloud) -> list[str]:
    """Return the names of the pool's libvirt domains; libvirt's complaint while it is away."""
    listed = cloud.inside("virsh", "-q", "list", "--all", "--name")
    return listed.stdout.split() if listed.returncode == 0 else [listed.stderr.strip()]


def all_processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def command_line(pid: int) -> list[bytes]:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def children(pid: int) -> list[int]:
    path = Path("/proc") / str(pid) / "task" / str(pid) / "children"
    return [int(child) for child in path.read_text().split()]


def free_port() -> int:
    """Return a port for one of the cloud's servers that stays free while the cloud is stopped.

    It is below those that the kernel gives to connections and to servers that name none, HTCondor's
    daemons among them: one of those may be taken by another while the cloud is started again.
    """
    given = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    while True:
        port = random.randrange(12000, int(given[0]))  # noqa: S311 - no secret
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def read_environment(state: Path) -> dict[str, str]:
    lines = (state / "env").read_text().splitlines()
    return dict(word.split("=", 1) for line in lines for word in shlex.split(line)[1:])


def settings_for(state: Path, number: int) -> dict[str, str]:
    """Return the variables of a Condor Cloud that shares nothing with another one's."""
    types = state / "types.toml"
    types.write_text(TYPES)
    given = {
        "STATE_DIR": str(state),
        "TYPES_FILE": str(types),
        "CPU_OVERCOMMIT": "200",
        "PORT": str(free_port()),
        "DELTACLOUD_PORT": str(free_port()),
        "NODELINK_PORT": str(free_port()),
        "METRICS_PORT": str(free_port()),
        "POOL_PORT": str(free_port()),
        "POOL_BRIDGE": f"cctest{number}",
        "POOL_NETWORK": f"10.{100 + number // 250}.{number % 250}.0/24",
        "RECONCILE_INTERVAL": "5",
        "CALL_LIMIT": "5",
        "SHUTDOWN_GRACE": "8",
        "SPOT_NOTICE": "15",
    }
    inherited = {name: value for name, value in os.environ.items() if name != "CONDOR_CONFIG"}
    return inherited | {f"CONDOR_CLOUD_{name}": value for name, value in given.items()}


def start(state: Path, variables: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start it and wait until it says that it is ready."""
    log = state.parent / "run.log"
    with log.open("ab") as output:
        began = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", "run", "--die-with-parent"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=variables,
            start_new_session=True,
        )
    limit = time.monotonic() + START_LIMIT
    while b"Condor Cloud is ready." not in log.read_bytes()[began:]:
        if process.poll() is not None or time.monotonic() > limit:
            process.kill()
            said = log.read_bytes()[began:].decode(errors="replace")
            pytest.fail(f"condor-cloud run did not start ({process.wait()}):\n{said[-4000:]}")
        time.sleep(0.1)
    return process
