# SPDX-License-Identifier: Apache-2.0
"""The whole life of a machine, with nothing but boto3 and an SSH client."""

from __future__ import annotations

import subprocess
import time
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIMIT = 90.0
SCRIPT = "#!/bin/sh\necho user-data-says $((6 * 7))\n"


@pytest.fixture
def key(ec2: Any, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    name = f"test-{uuid4()}"
    file = tmp_path / "key.pem"
    file.write_text(ec2.create_key_pair(KeyName=name, KeyType="ed25519")["KeyMaterial"])
    file.chmod(0o600)
    yield name, file
    ec2.delete_key_pair(KeyName=name)


def until(what: str, ready: Callable[[], Any]) -> Any:
    limit = time.monotonic() + LIMIT
    while not (value := ready()):
        assert time.monotonic() < limit, f"{what} did not come within {LIMIT} s"
        time.sleep(0.1)
    return value


def console(ec2: Any, instance_id: str) -> str:
    output: str = ec2.get_console_output(InstanceId=instance_id, Latest=True).get("Output", "")
    return output


def ssh(address: str, key_file: Path, command: str) -> str:
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=5")
    done = subprocess.run(
        [
            "ssh",
            "-q",
            "-i",
            str(key_file),
            *(word for option in options for word in ("-o", option)),
            f"root@{address}",
            command,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout


def test_two_machines_from_launch_to_termination(
    ec2: Any, ec2_environment: dict[str, str], key: tuple[str, Path]
) -> None:
    key_name, key_file = key
    [demo] = ec2.describe_images(ImageIds=[ec2_environment["DEMO_AMI"]])["Images"]
    image = ec2.register_image(Name=f"test-{uuid4()}", ImageLocation=demo["ImageLocation"])
    image_id = image["ImageId"]
    ec2.get_waiter("image_available").wait(
        ImageIds=[image_id], WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    launched = ec2.run_instances(
        ImageId=image_id,
        InstanceType="small",
        MinCount=2,
        MaxCount=2,
        KeyName=key_name,
        UserData=SCRIPT,
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "first machine"}]}
        ],
    )
    ids = [instance["InstanceId"] for instance in launched["Instances"]]
    try:
        assert {instance["State"]["Name"] for instance in launched["Instances"]} == {"pending"}
        ec2.get_waiter("instance_running").wait(
            InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        [reservation] = ec2.describe_instances(InstanceIds=ids)["Reservations"]
        found = reservation["Instances"]
        assert [instance["InstanceId"] for instance in found] == ids
        assert {instance["KeyName"] for instance in found} == {key_name}
        assert found[0]["Tags"] == [{"Key": "Name", "Value": "first machine"}]
        addresses = [instance["PrivateIpAddress"] for instance in found]
        assert len(set(addresses)) == 2
        for instance_id in ids:
            until(
                f"the guest's line on {instance_id}'s console",
                lambda name=instance_id: "user-data-says 42" in console(ec2, name),
            )
            assert instance_id in console(ec2, instance_id)
        for instance_id, address in zip(ids, addresses, strict=True):
            said = until(
                f"SSH to {instance_id}",
                lambda where=address: ssh(where, key_file, "hostname; echo $((40 + 2))"),
            )
            assert said.split() == [instance_id, "42"]
        for instance in found:
            [interface] = instance["NetworkInterfaces"]
            where = interface["PrivateIpAddress"]
            assert interface["MacAddress"] in ssh(where, key_file, "cat /sys/class/net/*/address")
            [subnet] = ec2.describe_subnets(SubnetIds=[instance["SubnetId"]])["Subnets"]
            assert ip_address(where) in ip_network(subnet["CidrBlock"])
    finally:
        ec2.terminate_instances(InstanceIds=ids)
        ec2.deregister_image(ImageId=image_id)
    ec2.get_waiter("instance_terminated").wait(
        InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    [reservation] = ec2.describe_instances(InstanceIds=ids)["Reservations"]
    for instance in reservation["Instances"]:
        assert instance["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
