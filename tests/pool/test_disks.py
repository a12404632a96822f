# SPDX-License-Identifier: Apache-2.0
"""Disks larger than their image, and room on a node that is promised once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from private_cloud import Cloud, until, wait_until_nothing_is_left

GIB = 2**30


def launch(cloud: Cloud, ec2: Any, gib: int) -> str:
    launched = ec2.run_instances(
        ImageId=cloud.environment["DEMO_AMI"],
        InstanceType="small",
        MinCount=1,
        MaxCount=1,
        BlockDeviceMappings=[{"DeviceName": "/dev/vda", "Ebs": {"VolumeSize": gib}}],
    )
    name: str = launched["Instances"][0]["InstanceId"]
    return name


def described(ec2: Any, instance_id: str) -> Any:
    return ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]


def runs(ec2: Any, instance_id: str) -> bool:
    found = described(ec2, instance_id)
    assert found["State"]["Name"] in {"pending", "running"}, found["StateReason"]
    return bool(found["State"]["Name"] == "running")


def test_a_node_promises_its_disk_s_room_once(cloud: Cloud, ec2: Any) -> None:
    told = cloud.inside("condor_status", "-af", "TotalSlotDisk").stdout
    room = int(float(told.split()[0])) // 2**20  # KiB to GiB
    assert room >= 4
    too_large = launch(cloud, ec2, room + 1)
    until("the refusal", lambda: described(ec2, too_large)["State"]["Name"] == "terminated")
    assert "No node has room" in described(ec2, too_large)["StateReason"]["Message"]

    first = launch(cloud, ec2, room * 3 // 4)
    until("the first to run", lambda: runs(ec2, first))
    overlay = f"/var/lib/condor-cloud-node/instances/{first}/overlay.qcow2"
    shown = cloud.inside("qemu-img", "info", "-U", "--output=json", overlay).stdout
    assert f'"virtual-size": {room * 3 // 4 * GIB}' in shown

    second = launch(cloud, ec2, room // 2)
    small = launch(cloud, ec2, 1)
    until("a small one beside it", lambda: runs(ec2, small))
    assert not runs(ec2, second), "both would not fit when they are full"
    ec2.terminate_instances(InstanceIds=[first])
    until("the second to run", lambda: runs(ec2, second))
    ec2.terminate_instances(InstanceIds=[second, small])
    wait_until_nothing_is_left(cloud)


def test_an_operator_sees_what_the_node_has_cached(cloud: Cloud, ec2: Any) -> None:
    def told() -> Any:
        command = [sys.executable, "-m", "gateway.cli", "image", "cache", "--json"]
        variables = os.environ | cloud.variables
        shown = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        return json.loads(shown.stdout)

    before = told()["nodes"][0]
    launched = [launch(cloud, ec2, 1) for _ in range(2)]
    for instance_id in launched:
        until("both to run", lambda name=instance_id: runs(ec2, name))

    def counted() -> bool:
        [node] = told()["nodes"]
        uses = [one["hits"] + one["misses"] for one in (before, node)]
        # Launches before these may not have been told yet.
        return bool(node["images"]) and uses[1] - uses[0] >= 2

    until("the node to tell", counted)
    ec2.terminate_instances(InstanceIds=launched)
    wait_until_nothing_is_left(cloud)
