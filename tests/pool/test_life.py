# SPDX-License-Identifier: Apache-2.0
"""What a whole life leaves on the node: nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from private_cloud import Cloud, until, wait_until_nothing_is_left

from gateway.config import Settings
from gateway.embedded import root


def test_nothing_of_a_booted_machine_is_left_after_its_termination(cloud: Cloud, ec2: Any) -> None:
    launched = ec2.run_instances(
        ImageId=cloud.environment["DEMO_AMI"], InstanceType="small", MinCount=2, MaxCount=2
    )
    ids = [instance["InstanceId"] for instance in launched["Instances"]]

    def booted(instance_id: str) -> bool:
        console = ec2.get_console_output(InstanceId=instance_id, Latest=True)
        return "login:" in console.get("Output", "")

    for instance_id in ids:
        until(f"the login line of {instance_id}", lambda name=instance_id: booted(name))
    ec2.terminate_instances(InstanceIds=ids)
    wait_until_nothing_is_left(cloud)


def test_the_root_that_a_pool_runs_on_is_locked_as_long_as_it_runs(cloud: Cloud) -> None:
    used = root.path(Settings().cache_dir).with_suffix(".used").stat().st_ino
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    holders = {
        int(pid)
        for _, kind, _, mode, pid, place, *_ in locks
        if (kind, mode, int(place.rpartition(":")[2])) == ("FLOCK", "READ", used)
    }
    assert cloud.process.pid in holders
