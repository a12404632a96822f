# SPDX-License-Identifier: Apache-2.0
"""A launch that cannot start says why where a user looks, and leaves the node working."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import struct
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from private_cloud import Cloud, until

if TYPE_CHECKING:
    from pathlib import Path


def described(ec2: Any, instance_id: str) -> dict[str, Any]:
    [reservation] = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    found: dict[str, Any] = reservation["Instances"][0]
    return found


def launch(ec2: Any, image: str, instance_type: str = "small") -> str:
    launched = ec2.run_instances(ImageId=image, InstanceType=instance_type, MinCount=1, MaxCount=1)
    name: str = launched["Instances"][0]["InstanceId"]
    return name


def end_of(ec2: Any, instance_id: str) -> tuple[str, str]:
    """Wait until an instance has ended; return the code and the message of its reason."""

    def ended() -> dict[str, Any] | None:
        found = described(ec2, instance_id)
        assert found["State"]["Name"] != "running", "it runs, though it cannot"
        return found if found["State"]["Name"] == "terminated" else None

    reason = until("the end of the instance", ended)["StateReason"]
    return reason["Code"], reason["Message"]


def assert_the_node_still_works(cloud: Cloud, ec2: Any) -> None:
    instance_id = launch(ec2, cloud.environment["DEMO_AMI"])
    until("a good launch", lambda: described(ec2, instance_id)["State"]["Name"] == "running")
    ec2.terminate_instances(InstanceIds=[instance_id])
    until("its end", lambda: described(ec2, instance_id)["State"]["Name"] == "terminated")


def image_with_bytes(cloud: Cloud, ec2: Any, content: bytes, *, claimed: bytes) -> str:
    """Return an image whose stored bytes are ``content`` under the checksum of ``claimed``.

    The importer would refuse them; this is what a damaged or tampered store would hold.
    """
    [known] = ec2.describe_images(ImageIds=[cloud.environment["DEMO_AMI"]])["Images"]
    location = known["ImageLocation"]
    image = ec2.register_image(Name=str(uuid4()), ImageLocation=location)["ImageId"]
    ec2.get_waiter("image_available").wait(
        ImageIds=[image], WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    digest = hashlib.sha256(claimed).hexdigest()
    target = cloud.state / "images" / digest
    target.write_bytes(content)
    target.chmod(0o444)
    with contextlib.closing(sqlite3.connect(cloud.state / "condor-cloud.db", timeout=20)) as db:
        db.execute(
            "UPDATE images SET sha256 = ?, size = ? WHERE id = ?", (digest, len(content), image)
        )
        db.commit()
    return str(image)


def stored_digest(cloud: Cloud, image: str) -> str:
    with contextlib.closing(sqlite3.connect(cloud.state / "condor-cloud.db", timeout=20)) as db:
        [digest] = db.execute("SELECT sha256 FROM images WHERE id = ?", (image,)).fetchone()
    return str(digest)


def qcow2_with_backing_file(name: bytes) -> bytes:
    """Return a qcow2 header, version 2, that names a backing file."""
    header = struct.pack(
        ">4sIQIIQIIQQIIQ",
        *(b"QFI\xfb", 2, 72, len(name), 16, 1 << 20, 0, 1, 0x30000, 0x10000, 1, 0, 0),
    )
    return (header + name).ljust(0x40000, b"\0")


def test_a_type_that_no_node_can_hold_ends_with_the_largest_nodes_size(
    cloud: Cloud, ec2: Any
) -> None:
    instance_id = launch(ec2, cloud.environment["DEMO_AMI"], "test.too-large")
    code, message = end_of(ec2, instance_id)
    assert code == "Server.InsufficientInstanceCapacity"
    assert "test.too-large" in message
    assert "1024 CPUs" in message
    assert_the_node_still_works(cloud, ec2)


def test_what_libvirt_refuses_ends_with_libvirts_own_words(cloud: Cloud, ec2: Any) -> None:
    instance_id = launch(ec2, cloud.environment["DEMO_AMI"], "test.many-cpus")
    code, message = end_of(ec2, instance_id)
    assert code == "Server.HypervisorError"
    assert "CPU" in message
    assert "255" in message, "the machine type's limit is what libvirt names"
    assert_the_node_still_works(cloud, ec2)


def test_a_checksum_that_does_not_match_ends_with_that_reason(cloud: Cloud, ec2: Any) -> None:
    image = image_with_bytes(cloud, ec2, b"tampered" * 512, claimed=b"what it was" + uuid4().bytes)
    code, message = end_of(ec2, launch(ec2, image))
    assert code == "Client.InvalidAMI.ChecksumMismatch"
    assert "checksum" in message
    cache = cloud.state / "pool" / "node" / "cache"
    digest = stored_digest(cloud, image)
    assert not list(cache.glob(f"{digest}.qcow2")), "wrong bytes were cached"
    assert_the_node_still_works(cloud, ec2)


def test_an_image_with_a_backing_file_is_refused_by_the_node_too(cloud: Cloud, ec2: Any) -> None:
    content = qcow2_with_backing_file(b"/etc/passwd")
    image = image_with_bytes(cloud, ec2, content, claimed=content)
    code, message = end_of(ec2, launch(ec2, image))
    assert code == "Client.InvalidAMI.Unusable"
    assert "backing file" in message
    assert_the_node_still_works(cloud, ec2)


def test_a_file_that_is_no_disk_never_becomes_available_and_says_why(
    ec2: Any, cloud_readable: Path
) -> None:
    # Where everybody can read it: a tenant may not name other files.
    file = cloud_readable / "bad.qcow2"
    file.write_bytes(qcow2_with_backing_file(b"/etc/passwd"))
    image = ec2.register_image(Name=str(uuid4()), ImageLocation=str(file))["ImageId"]

    def failed() -> Any:
        [found] = ec2.describe_images(ImageIds=[image])["Images"]
        return found if found["State"] == "failed" else None

    assert "backing file" in until("the refusal", failed)["StateReason"]["Message"]
    with pytest.raises(ec2.exceptions.ClientError) as caught:
        launch(ec2, image)
    assert caught.value.response["Error"]["Code"] == "InvalidAMIID.Unavailable"


def test_power_off_inside_ends_the_instance_as_its_own_doing(cloud: Cloud, ec2: Any) -> None:
    launched = ec2.run_instances(
        ImageId=cloud.environment["DEMO_AMI"],
        InstanceType="small",
        MinCount=1,
        MaxCount=1,
        UserData="#!/bin/sh\npoweroff\n",
        InstanceInitiatedShutdownBehavior="terminate",
    )
    instance_id = launched["Instances"][0]["InstanceId"]

    def reason() -> Any:
        found = described(ec2, instance_id)
        return found["StateReason"] if found["State"]["Name"] == "terminated" else None

    assert until("the power-off", reason)["Code"] == "Client.InstanceInitiatedShutdown"


def test_a_job_that_an_administrator_removes_says_so(cloud: Cloud, ec2: Any) -> None:
    instance_id = launch(ec2, cloud.environment["DEMO_AMI"])
    until("the start", lambda: described(ec2, instance_id)["State"]["Name"] == "running")
    constraint = f"CondorCloudInstanceId == {json.dumps(instance_id)}"
    removed = cloud.inside("condor_rm", "-constraint", constraint)
    assert removed.returncode == 0, removed.stderr
    code, message = end_after_running(ec2, instance_id)
    assert code == "Server.InternalError"
    assert "removed from the pool" in message


def end_after_running(ec2: Any, instance_id: str) -> tuple[str, str]:
    def ended() -> Any:
        found = described(ec2, instance_id)
        return found["StateReason"] if found["State"]["Name"] == "terminated" else None

    reason = until("the end", ended)
    return reason["Code"], reason["Message"]
