# SPDX-License-Identifier: Apache-2.0
"""Images of machines: a launch from one has what the machine had on its disk."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from private_cloud import Cloud, command_line, until, wait_until_nothing_is_left

if TYPE_CHECKING:
    from collections.abc import Sequence

WRITE = "#!/bin/sh\necho it-was-here >/data/marker; sync\necho marked $(cat /data/marker)\n"
READ = "#!/bin/sh\necho found $(cat /data/marker)\n"


def launch(ec2: Any, image: str, script: str) -> str:
    launched = ec2.run_instances(
        ImageId=image, InstanceType="small", MinCount=1, MaxCount=1, UserData=script
    )
    return str(launched["Instances"][0]["InstanceId"])


def console(ec2: Any, instance_id: str) -> str:
    return str(ec2.get_console_output(InstanceId=instance_id, Latest=True).get("Output", ""))


def logins(ec2: Any, instance_id: str) -> int:
    return console(ec2, instance_id).count(f"{instance_id} login:")


def image(ec2: Any, image_id: str) -> dict[str, Any]:
    found: dict[str, Any] = ec2.describe_images(ImageIds=[image_id])["Images"][0]
    return found


def available(ec2: Any, image_id: str) -> dict[str, Any]:
    until("the image", lambda: image(ec2, image_id)["State"] != "pending", 90)
    found = image(ec2, image_id)
    assert found["State"] == "available", found
    return found


def files_of_captures(cloud: Cloud) -> Sequence[str]:
    """Return what there is of any capture, on the node and on the gateway."""
    instances = cloud.state / "pool" / "node" / "instances"
    node = [*instances.glob("*/capture*"), *instances.glob("*/stopped*")]
    return [*map(str, node), *map(str, (cloud.state / "arrivals").glob("*"))]


def test_an_image_of_a_running_machine_has_its_disk_whatever_dies_meanwhile(
    cloud: Cloud, ec2: Any
) -> None:
    machine = launch(ec2, cloud.environment["DEMO_AMI"], WRITE)
    until("the file", lambda: "marked it-was-here" in console(ec2, machine))
    until("the login line", lambda: logins(ec2, machine) == 1)
    asked = {"InstanceId": machine, "Description": "of a running machine"}
    first = ec2.create_image(Name=f"first {uuid4()}", NoReboot=True, **asked)["ImageId"]
    # Both begin anew; what they had begun is gone on with.
    os.kill(cloud.service("gateway.serve", "nodelink"), signal.SIGKILL)
    os.kill(cloud.service("gateway.imagestore.importer"), signal.SIGKILL)
    found = available(ec2, first)
    assert found["SourceInstanceId"] == machine
    assert found["StateReason"]["Message"].startswith("The copy is of one instant of the running")
    assert logins(ec2, machine) == 1

    copy = launch(ec2, first, READ)
    second = ec2.create_image(Name=f"second {uuid4()}", **asked)["ImageId"]
    until("the second boot", lambda: logins(ec2, machine) == 2, 90)
    # Or that it did not in time, on a machine that is slow.
    assert "shut down" in available(ec2, second)["StateReason"]["Message"]
    until("the file's copy", lambda: "found it-was-here" in console(ec2, copy), 90)

    third = ec2.create_image(Name=f"third {uuid4()}", InstanceId=machine)["ImageId"]
    ec2.terminate_instances(InstanceIds=[machine])
    supervisors = [
        pid
        for pid in cloud.pool_processes("condor-cloud-supervisor")
        if copy.encode() in command_line(pid)
    ]
    fourth = ec2.create_image(Name=f"fourth {uuid4()}", InstanceId=copy)["ImageId"]
    for pid in supervisors:
        os.kill(pid, signal.SIGKILL)
    for lost in (third, fourth):
        until("its failure", lambda lost=lost: image(ec2, lost)["State"] == "failed")
        assert "ended before" in image(ec2, lost)["StateReason"]["Message"]
    ec2.terminate_instances(InstanceIds=[copy])
    for one in (first, second, third, fourth):
        ec2.deregister_image(ImageId=one)
    until("the end of every file", lambda: not files_of_captures(cloud))


def state(ec2: Any, instance_id: str) -> str:
    [reservation] = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    return str(reservation["Instances"][0]["State"]["Name"])


def test_an_image_of_a_stopped_machine_has_its_disk_though_its_makers_are_killed(
    cloud: Cloud, ec2: Any
) -> None:
    machine = launch(ec2, cloud.environment["DEMO_AMI"], WRITE)
    until("the file", lambda: "marked it-was-here" in console(ec2, machine))
    ec2.stop_instances(InstanceIds=[machine])
    until("its stop", lambda: state(ec2, machine) == "stopped")
    first = ec2.create_image(Name=f"stopped {uuid4()}", InstanceId=machine)["ImageId"]
    # HTCondor's master starts another listener; it hears of the errand again.
    for pid in cloud.pool_processes("condor-cloud-listen"):
        os.kill(pid, signal.SIGKILL)
    assert available(ec2, first)["StateReason"]["Message"] == (
        "The instance was stopped when its disk was copied."
    )
    assert state(ec2, machine) == "stopped"
    # Whichever has the disk first: the machine starts, and the image has what it had or says why.
    second = ec2.create_image(Name=f"second {uuid4()}", InstanceId=machine)["ImageId"]
    ec2.start_instances(InstanceIds=[machine])
    until("the second's end", lambda: image(ec2, second)["State"] != "pending", 90)
    if (found := image(ec2, second))["State"] == "failed":
        assert "was started before" in found["StateReason"]["Message"]
    until("its start", lambda: state(ec2, machine) == "running", 90)

    copy = launch(ec2, first, READ)
    until("the file's copy", lambda: "found it-was-here" in console(ec2, copy), 90)
    ec2.terminate_instances(InstanceIds=[machine, copy])
    for one in (first, second):
        ec2.deregister_image(ImageId=one)
    until("the end of every file", lambda: not files_of_captures(cloud))
    wait_until_nothing_is_left(cloud)
