# SPDX-License-Identifier: Apache-2.0
"""Spot instances make room for others, after a notice that their guests can read."""

from __future__ import annotations

import base64
from typing import Any

from private_cloud import Cloud, until, wait_until_nothing_is_left

WATCH = """#!/bin/sh
echo watching
(
    until wget -q -O /run/notice http://169.254.169.254/latest/meta-data/spot/instance-action
    do sleep 1
    done
    echo "the notice: $(cat /run/notice)"
) &
"""


def half_and_more(cloud: Cloud) -> int:
    """Return the GiB of a disk of which the node has room for one and not for two."""
    told = cloud.inside("condor_status", "-af", "TotalSlotDisk").stdout
    room = int(float(told.split()[0])) // 2**20  # KiB to GiB
    assert room >= 4
    return room * 3 // 4


def launch(cloud: Cloud, ec2: Any, gib: int, **other: Any) -> str:
    launched = ec2.run_instances(
        ImageId=cloud.environment["DEMO_AMI"],
        InstanceType="small",
        MinCount=1,
        MaxCount=1,
        BlockDeviceMappings=[{"DeviceName": "/dev/vda", "Ebs": {"VolumeSize": gib}}],
        **other,
    )
    name: str = launched["Instances"][0]["InstanceId"]
    return name


def described(ec2: Any, instance_id: str) -> Any:
    return ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]


def described_request(ec2: Any, name: str) -> Any:
    [found] = ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[name])[
        "SpotInstanceRequests"
    ]
    return found


def state(ec2: Any, instance_id: str) -> str:
    return str(described(ec2, instance_id)["State"]["Name"])


def console(ec2: Any, instance_id: str) -> str:
    return str(ec2.get_console_output(InstanceId=instance_id, Latest=True).get("Output", ""))


def test_a_spot_guest_reads_its_notice_and_makes_room_for_another_instance(
    cloud: Cloud, ec2: Any
) -> None:
    gib = half_and_more(cloud)
    [request] = ec2.request_spot_instances(
        LaunchSpecification={
            "ImageId": cloud.environment["DEMO_AMI"],
            "InstanceType": "small",
            "UserData": base64.b64encode(WATCH.encode()).decode(),
            "BlockDeviceMappings": [{"DeviceName": "/dev/vda", "Ebs": {"VolumeSize": gib}}],
        }
    )["SpotInstanceRequests"]
    name = request["SpotInstanceRequestId"]
    spot = until("the instance", lambda: described_request(ec2, name).get("InstanceId"))
    until("the guest's watch", lambda: "watching" in console(ec2, spot))
    assert described(ec2, spot)["InstanceLifecycle"] == "spot"

    other = launch(cloud, ec2, gib)
    until("the interruption", lambda: state(ec2, spot) == "terminated")
    until("the room's new instance", lambda: state(ec2, other) == "running")

    ended = described(ec2, spot)
    assert ended["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    assert ended["StateTransitionReason"].startswith("Service initiated (20")
    assert '"action": "terminate"' in console(ec2, spot)
    until("the request's end", lambda: described_request(ec2, name)["State"] == "closed")
    assert described_request(ec2, name)["Status"]["Code"] == "instance-terminated-no-capacity"
    ec2.terminate_instances(InstanceIds=[other])
    wait_until_nothing_is_left(cloud)


def test_a_spot_instance_that_is_to_stop_starts_again_with_its_disk_once_there_is_room(
    cloud: Cloud, ec2: Any
) -> None:
    gib = half_and_more(cloud)
    options = {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop"}
    market = {"MarketType": "spot", "SpotOptions": options}
    spot = launch(cloud, ec2, gib, InstanceMarketOptions=market)
    until("the guest", lambda: "login:" in console(ec2, spot))
    other = launch(cloud, ec2, gib)
    until("the interruption", lambda: state(ec2, spot) == "stopped")
    until("the room's new instance", lambda: state(ec2, other) == "running")
    assert described(ec2, spot)["StateReason"]["Code"] == "Server.SpotInstanceShutdown"
    [request] = ec2.describe_spot_instance_requests(
        Filters=[{"Name": "instance-id", "Values": [spot]}]
    )["SpotInstanceRequests"]
    assert request["Status"]["Code"] == "instance-stopped-no-capacity"

    ec2.terminate_instances(InstanceIds=[other])
    until("the start", lambda: state(ec2, spot) == "running")
    until("the guest again", lambda: "login:" in console(ec2, spot))
    name = [request["SpotInstanceRequestId"]]
    ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=name)
    ec2.terminate_instances(InstanceIds=[spot])
    wait_until_nothing_is_left(cloud)
