# SPDX-License-Identifier: Apache-2.0
"""Supervisors that boot real guests under libvirt, as they do in a job.

To be run as root on a node of its own (Debian's python3-libvirt, a user ``condor-cloud``), with a
network named by ``CONDOR_CLOUD_TEST_NETWORK``; ``CONDOR_CLOUD_TEST_KILL_LIBVIRTD=1`` also allows
libvirtd to be killed and started again.
"""

from __future__ import annotations

import grp
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS / "unit"), str(TESTS / "vm")]

import domain_efi  # noqa: E402 - beside this file
from domain_guest import SENTENCE, disk  # noqa: E402 - beside this file
from execnode_gateway import (  # noqa: E402 - beside the unit tests
    INSTANCE,
    Gateway,
    Starter,
    eventually,
    specification,
)

from execnode import config, exits, gate, sweep  # noqa: E402 - after the others
from execnode.hypervisor import ConnectionLostError  # noqa: E402
from execnode.libvirtd import LibvirtHypervisor  # noqa: E402

USER = "condor-cloud"


class Node:
    """A node's directories and configuration, and the jobs run on it."""

    def __init__(self, place: Path, network: str) -> None:
        self.place = place
        self.gateway = Gateway(place)
        self.starter = Starter(place)
        self.jobs: list[subprocess.Popen[bytes]] = []
        group = grp.getgrnam("libvirt-qemu").gr_gid
        for name, mode in (("", 0o755), ("cache", 0o2755), ("instances", 0o2711)):
            (place / name).mkdir(exist_ok=True)
            shutil.chown(place / name, USER, group)
            (place / name).chmod(mode)
        (place / "token").write_text(self.gateway.token)
        self.file = place / "node.toml"
        self.file.write_text(
            f'gateway = "{self.gateway.url}"\ntoken_file = "{place}/token"\n'
            f'ca_file = "{self.gateway.certificate}"\nstate_dir = "{place}"\n'
            f'run_dir = "{place}/run"\nnetwork = "{network}"\n'
        )
        self.settings = config.load(self.file)
        # The node's own gate: there is one for a bridge.
        (place / "run").mkdir(mode=0o755)
        gate.socket_path(self.settings).symlink_to(gate.socket_path(config.load()))
        self.hypervisor = LibvirtHypervisor("qemu:///system", network)
        self.hypervisor.connect()
        self.offer(disk())

    def offer(self, image: bytes, **changes: object) -> None:
        self.gateway.image = image
        self.gateway.spec = specification(image, **changes)

    def limit_disk(self, mebibytes: int) -> None:
        """Give the instances' directories a disk of their own, or another size to it."""
        instances = self.place / "instances"
        how = f"remount,size={mebibytes}m" if instances.is_mount() else f"size={mebibytes}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", how, "tmpfs", str(instances)], check=True)
        shutil.chown(instances, USER, grp.getgrnam("libvirt-qemu").gr_gid)
        instances.chmod(0o2711)

    def start(self) -> subprocess.Popen[bytes]:
        command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups"]
        command += [sys.executable, "-m", "execnode", "--instance", INSTANCE, "--run", "1"]
        environment = os.environ | {
            "_CONDOR_CHIRP_CONFIG": str(self.starter.config),
            "PYTHONPATH": str(TESTS.parent),
        }
        job = subprocess.Popen([*command, "--config", str(self.file)], cwd="/", env=environment)
        self.jobs.append(job)
        return job

    def start_and_wait(self) -> subprocess.Popen[bytes]:
        job = self.start()
        eventually(lambda: "running" in self.starter.events or job.poll() is not None, 60)
        assert self.starter.events[-1] == "running"
        return job

    def clean(self) -> bool:
        """Whether nothing of the instance is left on the node."""
        return (
            INSTANCE not in self.hypervisor.domains()
            and INSTANCE not in self.hypervisor.reserved_names()
            and not (self.place / "instances" / INSTANCE).exists()
        )

    def close(self) -> None:
        for job in self.jobs:
            job.kill()
            job.wait()
        eventually(lambda: INSTANCE not in self.hypervisor.domains())
        self.hypervisor.release_address(INSTANCE)
        self.hypervisor.close()
        if (self.place / "instances").is_mount():
            subprocess.run(["umount", str(self.place / "instances")], check=True)
        self.gateway.close()
        self.starter.shutdown()
        self.starter.server_close()


@pytest.fixture
def node() -> Iterator[Node]:
    network = os.environ.get("CONDOR_CLOUD_TEST_NETWORK")
    if not network or os.geteuid() != 0:
        pytest.skip("needs root and CONDOR_CLOUD_TEST_NETWORK naming a libvirt network")
    if importlib.util.find_spec("libvirt") is None:
        pytest.skip("python3-libvirt is not installed")
    # QEMU and the jobs' user must be able to reach it: pytest's own folders are root's alone.
    place = Path(tempfile.mkdtemp(prefix="condor-cloud-node-"))
    node = Node(place, network)
    yield node
    node.close()
    shutil.rmtree(place)


def test_a_guest_boots_and_its_first_words_reach_the_gateway(node: Node) -> None:
    job = node.start_and_wait()
    eventually(lambda: SENTENCE in node.gateway.console, 30)
    running = node.starter.reports[-1]
    assert running["vnc"] >= 5900
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == exits.TERMINATED.code
    assert node.starter.events[-1] == "ended"
    assert node.clean()


def test_a_guest_that_powers_off_ends_its_job(node: Node) -> None:
    node.offer(disk(power_off=True))
    job = node.start()
    assert job.wait(60) == exits.GUEST_SHUTDOWN.code
    assert SENTENCE in node.gateway.console
    assert node.clean()


def test_a_32_bit_guest_boots(node: Node) -> None:
    node.offer(disk(power_off=True), architecture="i386")
    assert node.start().wait(120) == exits.GUEST_SHUTDOWN.code


def test_a_guest_boots_by_uefi_and_the_firmwares_variables_stay_as_long_as_its_disk(
    node: Node,
) -> None:
    image, place = domain_efi.disk(power_off=True), node.place / "instances" / INSTANCE
    node.offer(image, boot_mode="uefi")
    node.gateway.disk_answers = [(200, {"disk": "keep"})]
    assert node.start().wait(120) == exits.GUEST_SHUTDOWN.code
    assert domain_efi.SENTENCE + domain_efi.FORGOT in node.gateway.console
    assert {file.name for file in place.iterdir()} == {"base", "lock", "nvram.fd", "overlay.qcow2"}
    node.offer(image, boot_mode="uefi", disk="kept")
    assert node.start().wait(120) == exits.GUEST_SHUTDOWN.code
    assert domain_efi.SENTENCE + domain_efi.REMEMBERED in node.gateway.console
    assert node.clean()


def test_a_guest_that_cannot_write_because_the_nodes_disk_is_full_ends(node: Node) -> None:
    node.limit_disk(8)
    node.offer(disk(fill=True), disk_bytes=64 * 1024**2)
    assert node.start().wait(60) == exits.DISK_FULL.code
    assert "could not write to its disk" in node.starter.reports[-1]["message"]
    assert node.clean()


def test_a_guest_that_a_full_disk_stopped_goes_on_when_there_is_room_again(node: Node) -> None:
    node.limit_disk(8)
    node.offer(disk(fill=True), disk_bytes=64 * 1024**2)
    job = node.start_and_wait()
    eventually(lambda: node.hypervisor.is_stopped(INSTANCE), 30)
    node.limit_disk(256)
    eventually(lambda: not node.hypervisor.is_stopped(INSTANCE))
    overlay = node.place / "instances" / INSTANCE / "overlay.qcow2"
    eventually(lambda: overlay.stat().st_size > 16 * 1024**2, 30)
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == exits.TERMINATED.code
    assert node.clean()


def test_a_killed_supervisor_takes_its_guest_along_and_the_sweep_the_rest(node: Node) -> None:
    job = node.start_and_wait()
    assert sweep.sweep(node.settings, node.hypervisor, set) == []
    job.kill()
    job.wait()
    eventually(lambda: INSTANCE not in node.hypervisor.domains(), 20)
    os.utime(node.place / "instances" / INSTANCE, (0, 0))
    assert sweep.sweep(node.settings, node.hypervisor, set) == [INSTANCE]
    assert node.clean()


def test_libvirts_own_words_reach_the_report(node: Node) -> None:
    node.offer(disk(), memory_mib=2**24)
    assert node.start().wait(60) == exits.HYPERVISOR_ERROR.code
    assert "memory" in node.starter.reports[-1]["message"]
    assert node.clean()


def test_an_image_with_a_backing_file_is_refused_and_the_node_goes_on(node: Node) -> None:
    image = node.place / "evil.qcow2"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-F", "raw", "-b", "/etc/shadow"]
    subprocess.run([*command, str(image), "1M"], check=True)
    content = image.read_bytes()
    node.gateway.image, node.gateway.spec = content, specification(content, "qcow2")
    assert node.start().wait(60) == exits.IMAGE_REFUSED.code
    assert "backing file" in node.starter.reports[-1]["message"]
    node.starter.lines.clear()
    node.offer(disk())
    node.start_and_wait()


def test_a_guest_outlives_its_libvirtd_and_is_destroyed_at_the_end(node: Node) -> None:
    job = node.start_and_wait()
    _replace_libvirtd(node)
    assert node.hypervisor.is_active(INSTANCE)
    assert job.poll() is None
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == exits.TERMINATED.code
    assert node.clean()


def test_a_guest_whose_libvirtd_and_supervisor_both_died_is_swept(node: Node) -> None:
    job = node.start_and_wait()
    job.send_signal(signal.SIGSTOP)  # it cannot reconnect
    _replace_libvirtd(node)
    job.kill()
    job.wait()
    assert node.hypervisor.is_active(INSTANCE)
    os.utime(node.place / "instances" / INSTANCE, (0, 0))
    assert sweep.sweep(node.settings, node.hypervisor, set) == [INSTANCE]
    assert node.clean()


def _replace_libvirtd(node: Node) -> None:
    if os.environ.get("CONDOR_CLOUD_TEST_KILL_LIBVIRTD") != "1":
        pytest.skip("CONDOR_CLOUD_TEST_KILL_LIBVIRTD=1 does not allow it")
    pid = int(Path("/run/libvirtd.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    # Where a service manager watches over libvirtd, that one may be faster.
    subprocess.run(["libvirtd", "--daemon"], check=False, capture_output=True)
    eventually(lambda: _connected(node), 20)


def _connected(node: Node) -> bool:
    try:
        node.hypervisor.connect()
    except ConnectionLostError:
        return False
    return True
