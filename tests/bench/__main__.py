# SPDX-License-Identifier: Apache-2.0
"""``make bench``: starts a private Condor Cloud, measures, writes bench/<commit>.json, prints.

Each figure stands beside its yardstick, measured in the same run with the two taking turns, so
that a busy machine slows both.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from private_cloud import Cloud, client, settings_for, start  # the tests' own way to start one

from tests.bench import documents

ROUNDS = 12
WARM_UP = 2
POLL = 0.01
LIMIT = 120.0
YARDSTICK = Path(__file__).parent / "yardstick.py"


def until(ready: Any) -> None:
    limit = time.monotonic() + LIMIT
    while not ready():
        if time.monotonic() > limit:
            raise SystemExit("a measured step did not come to its end")
        time.sleep(POLL)


def state(ec2: Any, instance_id: str) -> str:
    [reservation] = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    name: str = reservation["Instances"][0]["State"]["Name"]
    return name


def virsh(cloud: Cloud, count: int, xml: str) -> dict[str, list[float]]:
    init = cloud.pool_init()
    root = cloud.state / "pool" / "layers" / "root"
    done = subprocess.run(
        ["nsenter", "--target", str(init), "--mount", "--pid", "--uts"]
        + ["chroot", str(root), "python3", "-c", YARDSTICK.read_text(), str(count)],
        input=xml,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"the yardstick failed:\n{done.stderr}")
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def launch_and_end(cloud: Cloud, ec2: Any, series: dict[str, list[float]]) -> None:
    image = cloud.environment["DEMO_AMI"]
    began = time.perf_counter()
    launched = ec2.run_instances(ImageId=image, InstanceType="small", MinCount=1, MaxCount=1)
    answered = time.perf_counter()
    instance_id = launched["Instances"][0]["InstanceId"]
    until(lambda: state(ec2, instance_id) == "running")
    running = time.perf_counter()
    xml = cloud.inside("virsh", "dumpxml", "--inactive", instance_id).stdout
    time.sleep(0.5)
    yard = virsh(cloud, 1, xml)
    ending = time.perf_counter()
    ec2.terminate_instances(InstanceIds=[instance_id])
    directory = cloud.state / "pool" / "node" / "instances" / instance_id
    until(lambda: state(ec2, instance_id) == "terminated" and not directory.exists())
    ended = time.perf_counter()
    series["run_instances_call"].append(answered - began)
    series["launch_to_running"].append(running - began)
    series["virsh_create"] += yard["create"]
    series["terminate_to_gone"].append(ended - ending)
    series["virsh_destroy"] += yard["destroy"]


def measure(cloud: Cloud) -> dict[str, list[float]]:
    ec2 = client(cloud)
    names = ("run_instances_call", "launch_to_running", "virsh_create")
    series: dict[str, list[float]] = {
        name: [] for name in (*names, "terminate_to_gone", "virsh_destroy", "describe_one_call")
    }
    for _ in range(WARM_UP):
        launch_and_end(cloud, ec2, {name: [] for name in series})
    for number in range(ROUNDS):
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
        launch_and_end(cloud, ec2, series)
    instance_id = ec2.run_instances(
        ImageId=cloud.environment["DEMO_AMI"], InstanceType="small", MinCount=1, MaxCount=1
    )["Instances"][0]["InstanceId"]
    ec2.terminate_instances(InstanceIds=[instance_id])
    until(lambda: state(ec2, instance_id) == "terminated")
    for _ in range(50):
        began = time.perf_counter()
        ec2.describe_instances(InstanceIds=[instance_id])
        series["describe_one_call"].append(time.perf_counter() - began)
    return series


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        state_dir = Path(directory) / "state"
        state_dir.mkdir()
        number = os.getpid() % 5000
        variables = settings_for(state_dir, number)
        cloud = Cloud(start(state_dir, variables), state_dir, variables, f"cctest{number}")
        try:
            series = measure(cloud)
        finally:
            cloud.process.send_signal(signal.SIGINT)
            cloud.process.wait(60)
    series |= documents.measure()
    model = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    report = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        "machine": {
            "cpus": os.cpu_count(),
            "model": model[0].partition(":")[2].strip() if model else platform.machine(),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
        "parameters": {"rounds": ROUNDS, "warm_up": WARM_UP, "poll_seconds": POLL, "type": "small"},
        "seconds": series,
    }
    target = Path("bench") / f"{report['commit'][:12] or 'no-commit'}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(report, indent=1) + "\n")
    medians = {name: statistics.median(values) for name, values in series.items()}
    for name, values in series.items():
        span = f"{min(values) * 1000:.1f} to {max(values) * 1000:.1f}"
        print(f"{name:20} median {medians[name] * 1000:8.1f} ms   {span}")
    above = medians["launch_to_running"] - medians["virsh_create"]
    print(f"launch to running, above virsh create:   {above * 1000:+.0f} ms")
    above = medians["terminate_to_gone"] - medians["virsh_destroy"]
    print(f"terminate to gone, above virsh destroy:  {above * 1000:+.0f} ms")
    print(f"raw series: {target}")


if __name__ == "__main__":
    main()
