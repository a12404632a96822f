# SPDX-License-Identifier: Apache-2.0
"""The disks of images, as snapshots."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from answers import code
from botocore.exceptions import ClientError

from gateway.cloud import images as rules
from gateway.cloud import snapshots, volumes
from gateway.ec2.snapshots import FILTERS
from gateway.store import database

if TYPE_CHECKING:
    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey

GIB = 2**30


def snapshot_of(ec2: Any, image_id: str) -> str:
    [image] = ec2.describe_images(ImageIds=[image_id])["Images"]
    [mapping] = image["BlockDeviceMappings"]
    return str(mapping["Ebs"]["SnapshotId"])


def described(ec2: Any, image_id: str) -> dict[str, Any]:
    found = ec2.describe_snapshots(SnapshotIds=[snapshot_of(ec2, image_id)])["Snapshots"]
    [snapshot] = found
    told: dict[str, Any] = snapshot
    return told


def copied(ec2: Any, image_id: str, **more: Any) -> str:
    named = {"Name": "copy", "SourceImageId": image_id, "SourceRegion": "condor"}
    return str(ec2.copy_image(**named | more)["ImageId"])


def tagged(*types: str) -> list[dict[str, Any]]:
    return [{"ResourceType": one, "Tags": [{"Key": "of", "Value": one}]} for one in types]


def test_an_image_names_the_snapshot_that_is_its_disk(
    endpoint: Endpoint, ec2: Any, key: AccessKey
) -> None:
    image = endpoint.new_image(key.account_id, virtual_size=2 * GIB + 1)
    snapshot = described(ec2, image)
    made = datetime.now(UTC) - snapshot.pop("StartTime")
    assert timedelta(0) <= made < timedelta(minutes=5)
    assert snapshot == {
        "SnapshotId": f"snap-{image.removeprefix('ami-')}",
        "VolumeId": "vol-ffffffff",
        "State": "completed",
        "Progress": "100%",
        "OwnerId": key.account_id,
        "Description": f"The disk of {image}",
        "VolumeSize": 3,
        "Encrypted": False,
        "StorageTier": "standard",
        "Tags": [],
    }
    ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot["SnapshotId"]])


def test_a_snapshot_says_of_what_it_was_made(endpoint: Endpoint, ec2: Any, image: str) -> None:
    copy = copied(ec2, image)
    told = described(ec2, copy)
    assert told["Description"] == f"Copied for DestinationAmi {copy} from SourceAmi {image}"
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"]
    instance = launched[0]["InstanceId"]
    endpoint.change_state(instance, "running")
    made = ec2.create_image(InstanceId=instance, Name="made")["ImageId"]
    told = described(ec2, made)
    assert (told["State"], told["Progress"]) == ("pending", "0%")
    assert told["Description"] == f"Created by CreateImage({instance}) for {made}"
    assert told["VolumeId"] == volumes.volume_id(instance)
    # The instance's own disk began as the image's.
    [volume] = ec2.describe_volumes(VolumeIds=[told["VolumeId"]])["Volumes"]
    assert volume["SnapshotId"] == snapshot_of(ec2, image)
    with database.writing(endpoint.database) as db:
        rules.import_failed(db, made, "It is no disk.")
    told = described(ec2, made)
    assert (told["State"], told["StateMessage"]) == ("error", "It is no disk.")


def test_whose_snapshots_are_meant_may_be_said(
    endpoint: Endpoint, ec2: Any, key: AccessKey, image: str
) -> None:
    own = [snapshot_of(ec2, image)]
    other = endpoint.new_key()
    public = endpoint.new_image(other.account_id, public=True)
    for asked, expected in (
        ({}, own),
        ({"OwnerIds": ["self"]}, own),
        ({"OwnerIds": ["amazon", key.account_id]}, own),
        ({"OwnerIds": [other.account_id]}, []),
        ({"OwnerIds": ["amazon"]}, []),
        ({"RestorableByUserIds": ["self"]}, own),
        ({"RestorableByUserIds": ["all"]}, []),
    ):
        found = ec2.describe_snapshots(**asked)["Snapshots"]
        assert [one["SnapshotId"] for one in found] == expected, asked
    # A public image is seen with its snapshot's id, and the snapshot is its owner's.
    with pytest.raises(ClientError) as caught:
        described(ec2, public)
    assert code(caught) == "InvalidSnapshot.NotFound"
    endpoint.client(other).deregister_image(ImageId=public)


def test_a_launch_may_name_the_images_own_snapshot_and_no_other(
    endpoint: Endpoint, ec2: Any, key: AccessKey, image: str
) -> None:
    [shown] = ec2.describe_images(ImageIds=[image])["Images"]
    [mapping] = shown["BlockDeviceMappings"]
    launch = {"ImageId": image, "MinCount": 1, "MaxCount": 1}
    launched = ec2.run_instances(**launch, BlockDeviceMappings=[mapping])
    assert launched["Instances"][0]["ImageId"] == image
    mapping["Ebs"]["SnapshotId"] = snapshot_of(ec2, endpoint.new_image(key.account_id))
    with pytest.raises(ClientError, match="snapshotId cannot be modified on root device") as caught:
        ec2.run_instances(**launch, BlockDeviceMappings=[mapping])
    assert code(caught) == "InvalidBlockDeviceMapping"


@pytest.mark.parametrize("action", ["register", "copy", "create"])
def test_tags_come_with_what_makes_the_snapshot(
    endpoint: Endpoint, ec2: Any, image: str, action: str
) -> None:
    given = tagged("image", "snapshot")
    if action == "register":
        place = "https://example.org/disk"
        made = ec2.register_image(Name="tagged", ImageLocation=place, TagSpecifications=given)
    elif action == "copy":
        made = {"ImageId": copied(ec2, image, TagSpecifications=given)}
    else:
        launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"]
        endpoint.change_state(launched[0]["InstanceId"], "running")
        asked = {"InstanceId": launched[0]["InstanceId"], "Name": "tagged"}
        made = ec2.create_image(**asked, TagSpecifications=given)
    assert described(ec2, made["ImageId"])["Tags"] == [{"Key": "of", "Value": "snapshot"}]
    [shown] = ec2.describe_images(ImageIds=[made["ImageId"]])["Images"]
    assert shown["Tags"] == [{"Key": "of", "Value": "image"}]


def test_tags_are_given_taken_and_gone_with_the_image(ec2: Any, image: str) -> None:
    snapshot = snapshot_of(ec2, image)
    ec2.create_tags(Resources=[snapshot], Tags=[{"Key": "k", "Value": "v"}, {"Key": "l"}])
    ec2.delete_tags(Resources=[snapshot], Tags=[{"Key": "l"}])
    asked = [{"Name": "resource-type", "Values": ["snapshot"]}]
    [tag] = ec2.describe_tags(Filters=asked)["Tags"]
    expected = {"ResourceId": snapshot, "ResourceType": "snapshot", "Key": "k", "Value": "v"}
    assert tag == expected
    found = ec2.describe_snapshots(Filters=[{"Name": "tag:k", "Values": ["v"]}])["Snapshots"]
    assert [one["SnapshotId"] for one in found] == [snapshot]
    ec2.deregister_image(ImageId=image)
    assert ec2.describe_tags(Filters=asked)["Tags"] == []
    assert ec2.describe_snapshots()["Snapshots"] == []
    with pytest.raises(ClientError) as caught:
        ec2.create_tags(Resources=[snapshot], Tags=[{"Key": "k", "Value": "v"}])
    assert code(caught) == "InvalidSnapshot.NotFound"


def deletion(ec2: Any, snapshot: str) -> str:
    try:
        ec2.delete_snapshot(SnapshotId=snapshot)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def test_a_snapshot_is_deleted_once_its_image_is_gone_and_once(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    snapshot = snapshot_of(ec2, image)
    assert deletion(ec2, snapshot) == "InvalidSnapshot.InUse"
    assert deletion(endpoint.client(endpoint.new_key()), snapshot) == "InvalidSnapshot.NotFound"
    told = ec2.deregister_image(ImageId=image)
    assert told.get("DeleteSnapshotResults", []) == []
    assert deletion(endpoint.client(endpoint.new_key()), snapshot) == "InvalidSnapshot.NotFound"
    assert deletion(ec2, snapshot) == ""
    assert deletion(ec2, snapshot) == "InvalidSnapshot.NotFound"


def test_a_snapshot_is_gone_though_an_instance_has_the_image_still(ec2: Any, image: str) -> None:
    snapshot = snapshot_of(ec2, image)
    ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)
    ec2.deregister_image(ImageId=image)
    assert ec2.describe_snapshots()["Snapshots"] == []
    assert deletion(ec2, snapshot) == ""


def test_who_has_the_snapshot_deleted_with_the_image_finds_none(ec2: Any, image: str) -> None:
    snapshot = snapshot_of(ec2, image)
    told = ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)
    assert told["DeleteSnapshotResults"] == [{"SnapshotId": snapshot, "ReturnCode": "success"}]
    assert deletion(ec2, snapshot) == "InvalidSnapshot.NotFound"


def test_what_is_gone_is_remembered_for_a_day(
    endpoint: Endpoint, key: AccessKey, ec2: Any, image: str
) -> None:
    first, later = (snapshot_of(ec2, one) for one in (image, copied(ec2, image)))
    now = datetime.now(UTC)
    with database.writing(endpoint.database) as db:
        # The younger one first: what is old is forgotten when it is asked for, too.
        for days, one in ((0, later), (2, first)):
            image_id = one.replace("snap-", "ami-")
            rules.deregister(db, key.account_id, image_id)
            snapshots.gone(db, key.account_id, image_id, now - timedelta(days=days))
    assert deletion(ec2, first) == "InvalidSnapshot.NotFound"
    assert deletion(ec2, later) == ""


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_looks_at_what_is_described(ec2: Any, image: str, name: str) -> None:
    told = described(ec2, image)
    members = {"status": "State", "volume-size": "VolumeSize"}
    member = members.get(name, "".join(part.capitalize() for part in name.split("-")))
    value = told.get(member)
    if name == "start-time":
        value = value.strftime("%Y-%m-%dT%H:%M:%S.*") if value else None
    spelled = "*" if value is None else str(value).lower() if value is False else str(value)
    found = ec2.describe_snapshots(Filters=[{"Name": name, "Values": [spelled]}])["Snapshots"]
    assert [one["SnapshotId"] for one in found] == [told["SnapshotId"]] * (value is not None)
    other = ec2.describe_snapshots(Filters=[{"Name": name, "Values": ["nothing"]}])["Snapshots"]
    assert other == []
