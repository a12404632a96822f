# SPDX-License-Identifier: Apache-2.0
"""From RunInstances to `running`, and from TerminateInstances to nothing, beside virsh."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from private_cloud import client

from tests.bench.report import Measured
from tests.bench.watching import POLL, launch, state, until

if TYPE_CHECKING:
    from private_cloud import Cloud

ROUNDS = 12
WARM_UP = 2
YARDSTICK = Path(__file__).parent / "yardstick.py"
STEPS = (
    *("run_instances_call", "launch_to_running", "virsh_create"),
    *("terminate_to_gone", "virsh_destroy", "describe_one_call"),
)


def virsh(cloud: Cloud, count: int, xml: str) -> dict[str, list[float]]:
    done = subprocess.run(
        cloud.entered() + ["python3", "-c", YARDSTICK.read_text(), str(count)],
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


def measure(cloud: Cloud, rounds: int = ROUNDS) -> Measured:
    ec2 = client(cloud)
    series: dict[str, list[float]] = {name: [] for name in STEPS}
    for _ in range(WARM_UP):
        launch_and_end(cloud, ec2, {name: [] for name in series})
    for number in range(rounds):
        print(f"launches: round {number + 1} of {rounds}", file=sys.stderr)
        launch_and_end(cloud, ec2, series)
    [instance_id] = launch(ec2, cloud.environment["DEMO_AMI"])
    ec2.terminate_instances(InstanceIds=[instance_id])
    until(lambda: state(ec2, instance_id) == "terminated")
    for _ in range(50):
        began = time.perf_counter()
        ec2.describe_instances(InstanceIds=[instance_id])
        series["describe_one_call"].append(time.perf_counter() - began)
    parameters = {"rounds": rounds, "warm_up": WARM_UP, "poll_seconds": POLL, "type": "small"}
    return Measured(series, parameters, {})
