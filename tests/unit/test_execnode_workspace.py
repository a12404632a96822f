# SPDX-License-Identifier: Apache-2.0
"""Who owns an instance's directory, and what the sweep, the probe and the advertisement see."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from execnode_gateway import INSTANCE, MAC, specification

from execnode import advertise, config, domain, probe, spec, sweep
from execnode.fake import FakeDaemon, FakeHypervisor
from execnode.hypervisor import ConnectionLostError
from execnode.workspace import Workspace, is_guarded

if TYPE_CHECKING:
    from pathlib import Path

OWNER = """
import sys, time
from pathlib import Path
from execnode.workspace import Workspace
workspace = Workspace.acquire(Path(sys.argv[1]), "no-such-group", wait=True)
print("mine", flush=True)
time.sleep(60)
"""


def own(directory: Path) -> Workspace:
    workspace = Workspace.acquire(directory, "no-such-group", wait=False)
    assert workspace is not None
    return workspace


@pytest.fixture
def settings(tmp_path: Path) -> config.NodeConfig:
    (tmp_path / "instances").mkdir()
    (tmp_path / "cache").mkdir()
    three = {"gateway": "https://g", "token_file": "/t", "ca_file": "/c"}
    places = {"state_dir": str(tmp_path), "run_dir": str(tmp_path / "run")}
    return config.from_document(three | places)


@pytest.fixture
def hypervisor() -> FakeHypervisor:
    hypervisor = FakeHypervisor(FakeDaemon())
    hypervisor.connect()
    return hypervisor


def guest(hypervisor: FakeHypervisor, settings: config.NodeConfig) -> None:
    paths = domain.Paths(*[settings.cache_dir / "x"] * 4)
    hypervisor.reserve_address(MAC, INSTANCE)
    hypervisor.create(
        domain.build(
            spec.read(specification(b"disk")), paths, "qemu", domain.Plug(settings.network, "cc0")
        )
    )


def age(directory: Path) -> None:
    os.utime(directory, (time.time() - 3600,) * 2)


def test_a_directory_has_one_owner_at_a_time(tmp_path: Path) -> None:
    first = own(tmp_path / "i")
    assert Workspace.acquire(tmp_path / "i", "no-such-group", wait=False) is None
    first.path("file").touch()
    first.remove()
    assert not (tmp_path / "i").exists()
    own(tmp_path / "i").remove()


def test_nobody_but_owner_and_qemus_group_gets_into_a_directory(tmp_path: Path) -> None:
    group = os.getgid()
    named = subprocess.run(["getent", "group", str(group)], capture_output=True, check=True)
    workspace = Workspace.acquire(tmp_path / "i", named.stdout.decode().split(":")[0], wait=False)
    assert workspace is not None
    assert workspace.directory.stat().st_mode & 0o7777 == 0o2710


def test_a_killed_owner_guards_no_longer(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path / "i")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"mine\n"
        assert is_guarded(tmp_path / "i")
        owner.send_signal(signal.SIGKILL)
    assert not is_guarded(tmp_path / "i")


def test_the_sweep_removes_what_a_dead_supervisor_left(
    settings: config.NodeConfig, hypervisor: FakeHypervisor
) -> None:
    directory = settings.instances_dir / INSTANCE
    directory.mkdir()
    (directory / "overlay.qcow2").touch()
    age(directory)
    guest(hypervisor, settings)
    assert sweep.sweep(settings, hypervisor, set) == [INSTANCE]
    assert (hypervisor.domains(), hypervisor.reserved_names()) == ([], [])
    assert list(settings.instances_dir.iterdir()) == []


def test_the_sweep_keeps_a_disk_that_may_be_needed_and_asks_of_no_other(
    settings: config.NodeConfig, hypervisor: FakeHypervisor
) -> None:
    directory = settings.instances_dir / INSTANCE
    directory.mkdir()
    for name in ("overlay.qcow2", "base", "console.log"):
        (directory / name).touch()
    (settings.instances_dir / "i-00000001").mkdir()
    for path in settings.instances_dir.iterdir():
        age(path)
    guest(hypervisor, settings)
    asked: list[list[str]] = []

    def nothing_is_useless(names: list[str]) -> set[str]:
        asked.append(names)
        return set()

    assert sweep.sweep(settings, hypervisor, nothing_is_useless) == ["i-00000001"]
    assert asked == [[INSTANCE]]
    assert {path.name for path in directory.iterdir()} == {"overlay.qcow2", "base", "lock"}
    assert (hypervisor.domains(), hypervisor.reserved_names()) == ([], [INSTANCE])


def test_a_gateway_that_does_not_answer_keeps_every_disk(
    settings: config.NodeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.ask(settings, [INSTANCE]) == set()
    assert "disks are kept" in capsys.readouterr().err


def test_the_sweep_removes_a_guest_whose_directory_is_gone(
    settings: config.NodeConfig, hypervisor: FakeHypervisor
) -> None:
    guest(hypervisor, settings)
    assert sweep.sweep(settings, hypervisor, set) == [INSTANCE]
    assert (hypervisor.domains(), hypervisor.reserved_names()) == ([], [])


def test_the_sweep_leaves_the_living_the_young_and_strangers_alone(
    settings: config.NodeConfig, hypervisor: FakeHypervisor
) -> None:
    own(settings.instances_dir / INSTANCE)
    age(settings.instances_dir / INSTANCE)
    guest(hypervisor, settings)
    (settings.instances_dir / "i-00000001").mkdir()
    (settings.instances_dir / "lost+found").mkdir()
    hypervisor.create("<domain><name>i-99999999</name></domain>")
    assert sweep.sweep(settings, hypervisor, set) == []
    assert hypervisor.is_active(INSTANCE)
    assert hypervisor.is_active("i-99999999")


def test_an_instance_that_cannot_be_swept_does_not_keep_the_others_from_it(
    settings: config.NodeConfig, hypervisor: FakeHypervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, names = f"i-{0:08x}", [f"i-{n:08x}" for n in range(3)]
    for name in names:
        (settings.instances_dir / name).mkdir()
    (settings.instances_dir / broken / "lock").mkdir()  # no file: it cannot be locked
    for name in names:
        age(settings.instances_dir / name)
    assert sweep.sweep(settings, hypervisor, set) == names[1:]
    assert broken in capsys.readouterr().err


def test_a_sweep_that_fails_lets_go_of_the_lock(
    settings: config.NodeConfig, hypervisor: FakeHypervisor
) -> None:
    directory = settings.instances_dir / INSTANCE
    directory.mkdir()
    (directory / "lock").touch()
    age(directory)
    hypervisor.close()
    with pytest.raises(ConnectionLostError):
        sweep._clean(settings, hypervisor, INSTANCE, disk_may_go=True)
    assert not is_guarded(directory)


@pytest.mark.parametrize("result", [None, "{", '{"kvm": true}', '{"kvm": true, "key": ["x"]}'])
def test_without_a_valid_proof_guests_are_emulated(
    settings: config.NodeConfig, result: str | None
) -> None:
    settings.run_dir.mkdir()
    if result is not None:
        (settings.run_dir / "probe.json").write_text(result)
    assert probe.virt_type(settings.run_dir) == "qemu"


def test_a_proof_counts_for_the_qemu_that_was_tried_alone(
    settings: config.NodeConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("QEMU", "KVM"):
        (tmp_path / name).touch()
        monkeypatch.setattr(probe, name, tmp_path / name)
    probe.write(settings.run_dir, probe._result(kvm=True, reason=""))
    assert probe.virt_type(settings.run_dir) == "kvm"
    (tmp_path / "QEMU").write_text("another version")
    assert probe.virt_type(settings.run_dir) == "qemu"


def test_a_node_advertises_what_it_has(
    tmp_path: Path, settings: config.NodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "QEMU", tmp_path)
    monkeypatch.setattr(advertise, "LIBVIRT_SOCKET", tmp_path)
    for name in (
        "b" * 64 + ".raw",
        "a" * 64 + ".qcow2",
        "c" * 64 + ".raw.part",
        "d" * 64 + ".lock",
    ):
        (settings.cache_dir / name).touch()
    file = tmp_path / "node.toml"
    file.write_text(
        'gateway = "https://g"\ntoken_file = "/t"\nca_file = "/c"\n'
        f'state_dir = "{tmp_path}"\nrun_dir = "{tmp_path}"\n'
    )
    monkeypatch.setattr(advertise, "GATE_SECONDS", 0.0)
    monkeypatch.setattr(advertise.firmware, "has_uefi", lambda: True)
    lines = advertise.advertisement(file)
    assert 'CondorCloudNodeProblem = "condor-cloud-gate is not running."' in lines
    (tmp_path / "gate.sock").touch()
    lines = advertise.advertisement(file)
    assert "CondorCloudNode = true" in lines
    assert f'CondorCloudCachedImages = "{"a" * 64},{"b" * 64}"' in lines
    assert 'CondorCloudVirtType = "qemu"' in lines
    assert "CondorCloudUefi = true" in lines
    [reason] = [line for line in lines if line.startswith("CondorCloudVirtReason")]
    assert len(reason) > len('CondorCloudVirtReason = ""')


def test_a_node_says_why_its_guests_are_emulated_and_nothing_where_they_are_not(
    settings: config.NodeConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("QEMU", "KVM"):
        (tmp_path / name).touch()
        monkeypatch.setattr(probe, name, tmp_path / name)
    assert "no answer for this boot" in probe.why_emulated(settings.run_dir)
    probe.write(settings.run_dir, probe._result(kvm=False, reason="the kernel said nothing"))
    assert probe.why_emulated(settings.run_dir) == "The kernel said nothing."
    probe.write(settings.run_dir, probe._result(kvm=True, reason=""))
    assert probe.why_emulated(settings.run_dir) == ""
    (tmp_path / "KVM").unlink()
    assert probe.why_emulated(settings.run_dir) == f"There is no {probe.NO_DEVICE.split()[-1]}."


def test_a_node_with_a_problem_says_which_in_one_classad_string(tmp_path: Path) -> None:
    file = tmp_path / 'no"de\\.toml'
    lines = advertise.advertisement(file)
    assert "CondorCloudNode = false" in lines
    problem = next(line for line in lines if line.startswith("CondorCloudNodeProblem"))
    assert 'no\\"de\\\\.toml cannot be read' in problem
