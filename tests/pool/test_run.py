# SPDX-License-Identifier: Apache-2.0
"""`condor-cloud run` itself: what it refuses, and that nothing is left after any end."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from private_cloud import Cloud, all_processes, children, client, settings_for, start, until

from gateway.config import Settings
from gateway.embedded import cached, root

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 60.0


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A Condor Cloud that these tests may end; it is started again when a test needs it."""
    state = tmp_path_factory.mktemp("condor cloud") / "state"
    state.mkdir()
    number = (os.getpid() + 1) % 5000
    variables = settings_for(state, number)
    made = Cloud(start(state, variables), state, variables, f"cctest{number}")
    yield made
    if made.process.poll() is None:
        made.stop()


@pytest.fixture
def running(own: Cloud) -> Cloud:
    if own.process.poll() is not None:
        own.process = start(own.state, own.variables)
    return own


def refused(variables: dict[str, str], *, user: int | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "run"],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
        user=user,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr


def state_of(ec2: Any, instance_id: str) -> tuple[str, str]:
    [reservation] = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    instance = reservation["Instances"][0]
    return instance["State"]["Name"], instance.get("StateReason", {}).get("Message", "")


def family(pid: int) -> set[int]:
    """Return a process and all its descendants."""
    found = {pid}
    for child in children(pid):
        found |= family(child)
    return found


def traces(cloud: Cloud) -> list[str]:
    """Return what of a run can still be seen on the host."""
    seen = []
    if (Path("/sys/class/net") / cloud.bridge).exists():
        seen.append(f"bridge {cloud.bridge}")
    mounts = Path("/proc/self/mountinfo").read_text()
    if str(cloud.state).replace(" ", "\\040") in mounts:
        seen.append("a mount")
    needle = str(cloud.state).encode()
    for pid in all_processes():
        try:
            environment = (Path("/proc") / str(pid) / "environ").read_bytes()
        except OSError:
            continue
        if needle in environment and pid != os.getpid():
            seen.append(f"process {pid}")
    names = [item["table"]["name"] for item in nft("list", "tables") if "table" in item]
    return seen + [f"table {name}" for name in names if cloud.bridge in name]


def nft(*words: str) -> list[dict[str, Any]]:
    """Return what nft, the pool's own, shows of the host's rules."""
    debian = root.path(Settings().cache_dir)
    done = subprocess.run(
        ["chroot", str(debian), "nft", "-j", *words], capture_output=True, text=True, check=True
    )
    shown: list[dict[str, Any]] = json.loads(done.stdout)["nftables"]
    return shown


def test_a_second_run_with_the_same_state_is_refused_with_a_sentence(running: Cloud) -> None:
    said = refused(running.variables)
    assert said.count("\n") == 1
    assert "already runs" in said


def test_the_root_of_a_running_pool_is_seen_to_be_in_use(running: Cloud) -> None:
    used = root.path(Settings().cache_dir).name
    assert cached.is_mounted(used)
    assert not cached.is_mounted("root-trixie-000000000000")


def test_a_port_that_is_taken_is_named(running: Cloud, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        variables = settings_for(tmp_path, 4999) | {"CONDOR_CLOUD_PORT": str(port)}
        said = refused(variables)
    assert said.count("\n") == 1
    assert f"Port {port} " in said


def test_without_root_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    done = subprocess.run(
        [
            "setpriv",
            "--reuid",
            "65534",
            "--clear-groups",
            sys.executable,
            "-c",
            "from gateway.cli import main; main(['run'])",
        ],
        env=settings_for(tmp_path, 4998),
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    if "Permission denied" in done.stderr and "condor-cloud" not in done.stderr:
        pytest.skip("this checkout cannot be read by an unprivileged user")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "root" in done.stderr
    assert "sudo" in done.stderr


def test_secrets_are_readable_by_their_owner_alone(running: Cloud) -> None:
    for name in (
        "env",
        "demo.pem",
        "condor-cloud.db",
        "nodelink",
        "nodelink/key.pem",
        "pool",
        "pool/share",
    ):
        mode = (running.state / name).stat().st_mode
        assert not mode & (stat.S_IRWXG | stat.S_IRWXO), f"{name} is {stat.filemode(mode)}"


def test_guests_do_not_reach_the_hosts_metadata_service(running: Cloud) -> None:
    shown = nft("list", "table", "ip", f"condor_cloud_{running.bridge}")
    rules = [item["rule"] for item in shown if item.get("rule", {}).get("chain") == "forward"]
    first = json.dumps(rules[0]["expr"])
    assert "drop" in first
    assert running.bridge in first
    assert '"addr": "169.254.0.0", "len": 16' in first


def test_a_start_right_after_a_kill_keeps_its_bridge_and_its_instances(running: Cloud) -> None:
    running.process.kill()
    running.process.wait(LIMIT)
    running.process = start(running.state, running.variables)
    ec2 = client(running)
    launched = ec2.run_instances(
        ImageId=running.environment["DEMO_AMI"], InstanceType="small", MinCount=1, MaxCount=1
    )
    instance_id = launched["Instances"][0]["InstanceId"]
    until("the instance's start", lambda: state_of(ec2, instance_id)[0] == "running")
    assert (Path("/sys/class/net") / running.bridge).exists()
    assert nft("list", "table", "ip", f"condor_cloud_{running.bridge}")
    ec2.terminate_instances(InstanceIds=[instance_id])


def test_nothing_listens_beyond_loopback(running: Cloud) -> None:
    ours = family(running.process.pid)
    sockets = set()
    for pid in ours:
        for descriptor in (Path("/proc") / str(pid) / "fd").iterdir():
            try:
                sockets.add(os.readlink(descriptor))  # noqa: PTH115 - not a path
            except OSError:
                continue
    network = settings_network(running)
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] != "0A" or f"socket:[{fields[9]}]" not in sockets:
            continue
        address = socket.inet_ntoa(bytes.fromhex(fields[1].partition(":")[0])[::-1])
        # dnsmasq answers guests on the bridge's own address.
        assert address.startswith(("127.", network)), f"something listens on {address}"


def settings_network(cloud: Cloud) -> str:
    return cloud.variables["CONDOR_CLOUD_POOL_NETWORK"].rpartition(".")[0]


@pytest.mark.parametrize(
    ("name", "number"),
    [("Ctrl-C", signal.SIGINT), ("SIGTERM", signal.SIGTERM), ("kill -9", signal.SIGKILL)],
)
def test_after_any_end_nothing_is_left_and_instances_say_why(
    running: Cloud, name: str, number: signal.Signals
) -> None:
    ec2 = client(running)
    launched = ec2.run_instances(
        ImageId=running.environment["DEMO_AMI"], InstanceType="small", MinCount=1, MaxCount=1
    )
    instance_id = launched["Instances"][0]["InstanceId"]
    until("the instance's start", lambda: state_of(ec2, instance_id)[0] == "running")
    key_before = running.environment["AWS_ACCESS_KEY_ID"]

    running.process.send_signal(number)
    running.process.wait(LIMIT)

    limit = time.monotonic() + LIMIT
    while seen := traces(running):
        assert time.monotonic() < limit, f"after {name}: {seen}"
        time.sleep(0.1)
    running.process = start(running.state, running.variables)
    ec2 = client(running)
    assert running.environment["AWS_ACCESS_KEY_ID"] == key_before
    state, reason = state_of(ec2, instance_id)
    assert state == "terminated"
    assert "pool" in reason
    image = ec2.describe_images(ImageIds=[running.environment["DEMO_AMI"]])["Images"][0]
    assert image["State"] == "available"


def test_a_stopped_machine_outlives_the_pool_and_starts_with_its_disk(running: Cloud) -> None:
    ec2 = client(running)
    launched = ec2.run_instances(
        ImageId=running.environment["DEMO_AMI"], InstanceType="small", MinCount=1, MaxCount=1
    )
    instance_id = launched["Instances"][0]["InstanceId"]
    overlay = running.state / "pool" / "node" / "instances" / instance_id / "overlay.qcow2"
    until("the instance's start", lambda: state_of(ec2, instance_id)[0] == "running")
    ec2.stop_instances(InstanceIds=[instance_id], Force=True)
    until("the stop", lambda: state_of(ec2, instance_id)[0] == "stopped")
    disk = overlay.stat().st_ino
    running.restart()
    ec2 = client(running)
    assert state_of(ec2, instance_id)[0] == "stopped"
    assert overlay.stat().st_ino == disk
    ec2.start_instances(InstanceIds=[instance_id])
    until("the second start", lambda: state_of(ec2, instance_id)[0] == "running")
    assert overlay.stat().st_ino == disk
    # It is stopped again with the pool: its disk is one that somebody counts on.
    running.restart()
    ec2 = client(running)
    assert state_of(ec2, instance_id)[0] == "stopped"
    assert overlay.stat().st_ino == disk
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert state_of(ec2, instance_id)[0] == "terminated"
    until("the sweep", lambda: not overlay.parent.exists())
