# SPDX-License-Identifier: Apache-2.0
"""CopyImage, and the size of an image's disk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from answers import code
from botocore.exceptions import ClientError

from gateway.cloud import images as rules
from gateway.cloud import tokens
from gateway.store import database, images, instances
from gateway.store.images import Content

if TYPE_CHECKING:
    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey

GIB = 2**30


def copied(client: Any, image: str, **parameters: Any) -> str:
    answer = client.copy_image(
        **{"Name": "copy", "SourceImageId": image, "SourceRegion": "condor"} | parameters
    )
    return str(answer["ImageId"])


def shown(client: Any, image: str) -> Any:
    return client.describe_images(ImageIds=[image])["Images"][0]


def root(size: int, name: str = "/dev/vda", **more: Any) -> list[dict[str, Any]]:
    return [{"DeviceName": name, "Ebs": {"VolumeSize": size, **more}}]


def test_a_copy_is_an_image_of_one_s_own_over_the_same_bytes(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    ec2.create_tags(Resources=[image], Tags=[{"Key": "os", "Value": "x"}])
    tags = [{"ResourceType": "image", "Tags": [{"Key": "own", "Value": "y"}]}]
    made = copied(ec2, image, Description="the same", CopyImageTags=True, TagSpecifications=tags)
    described = shown(ec2, made)
    assert described["State"] == "available"
    assert (described["Name"], described["Description"]) == ("copy", "the same")
    assert (described["SourceImageId"], described["SourceImageRegion"]) == (image, "condor")
    assert {tag["Key"] for tag in described["Tags"]} == {"os", "own"}
    by_source = [{"Name": "source-image-id", "Values": [image]}]
    assert ec2.describe_images(Filters=by_source)["Images"] == [described]
    with database.reading(endpoint.database) as db:
        one, other = images.get(db, image), images.get(db, made)
    assert one is not None
    assert other is not None
    assert other.sha256 == one.sha256
    ec2.deregister_image(ImageId=image)
    ec2.run_instances(ImageId=made, MinCount=1, MaxCount=1)


def test_a_copy_of_a_public_image_is_private_and_without_its_owner_s_tags(
    endpoint: Endpoint, ec2: Any, key: AccessKey
) -> None:
    owner = endpoint.new_key()
    theirs = endpoint.client(owner)
    image = endpoint.new_image(owner.account_id, public=True)
    theirs.create_tags(Resources=[image], Tags=[{"Key": "secret", "Value": "x"}])
    made = shown(ec2, copied(ec2, image, CopyImageTags=True))
    assert (made["Public"], made["OwnerId"], made["Tags"]) == (False, key.account_id, [])
    with pytest.raises(ClientError) as caught:
        theirs.describe_images(ImageIds=[made["ImageId"]])
    assert code(caught) == "InvalidAMIID.NotFound"
    theirs.deregister_image(ImageId=image)


def test_a_repeated_token_answers_with_the_first_copy(ec2: Any, image: str) -> None:
    first = copied(ec2, image, ClientToken="one")
    assert copied(ec2, image, ClientToken="one") == first
    with pytest.raises(ClientError) as caught:
        copied(ec2, image, Name="another", ClientToken="one")
    assert code(caught) == "IdempotentParameterMismatch"
    with pytest.raises(ClientError) as caught:
        copied(ec2, image, ClientToken="two")
    assert code(caught) == "InvalidAMIName.Duplicate"
    with pytest.raises(ClientError) as caught:
        copied(ec2, image, Name="another", ClientToken="x" * 65)
    assert code(caught) == "InvalidParameterValue"


def test_a_token_is_answered_for_a_day_though_its_copy_is_gone(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    first = copied(ec2, image, ClientToken="one")
    ec2.deregister_image(ImageId=first)
    with database.reading(endpoint.database) as db:
        assert images.get(db, first) is None
    assert copied(ec2, image, ClientToken="one") == first
    with pytest.raises(ClientError) as caught:
        copied(ec2, image, Name="another", ClientToken="one")
    assert code(caught) == "IdempotentParameterMismatch"
    assert [one["ImageId"] for one in ec2.describe_images(Owners=["self"])["Images"]] == [image]
    with database.writing(endpoint.database) as db:
        tokens.forget(db, datetime.now(UTC) + timedelta(hours=23))
    assert copied(ec2, image, ClientToken="one") == first
    with database.writing(endpoint.database) as db:
        tokens.forget(db, datetime.now(UTC) + timedelta(hours=25))
    assert copied(ec2, image, ClientToken="one") != first


def test_a_token_is_answered_for_as_long_as_its_copy_is_registered(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    first = copied(ec2, image, ClientToken="one")
    with database.writing(endpoint.database) as db:
        tokens.forget(db, datetime.now(UTC) + timedelta(days=400))
    assert copied(ec2, image, ClientToken="one") == first


def test_a_token_whose_copy_was_refused_is_not_taken(ec2: Any, image: str) -> None:
    name = str(shown(ec2, image)["Name"])
    with pytest.raises(ClientError) as caught:
        copied(ec2, image, Name=name, ClientToken="one")
    assert code(caught) == "InvalidAMIName.Duplicate"
    with pytest.raises(ClientError) as caught:
        copied(ec2, image, DryRun=True, ClientToken="one")
    assert code(caught) == "DryRunOperation"
    assert copied(ec2, image, ClientToken="one") != image


def test_what_cannot_be_copied_is_refused(endpoint: Endpoint, ec2: Any, image: str) -> None:
    private = endpoint.new_image(endpoint.new_key().account_id)
    pending = ec2.register_image(Name="pending", ImageLocation="http://host/x")["ImageId"]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"SourceImageId": private}, "InvalidAMIID.NotFound"),
        ({"SourceImageId": pending}, "InvalidAMIID.Unavailable"),
        ({"SourceRegion": "us-east-1"}, "InvalidParameterValue"),
        ({"Name": "x"}, "InvalidAMIName.Malformed"),
        ({"Encrypted": True}, "UnsupportedOperation"),
        ({"KmsKeyId": "key"}, "UnsupportedOperation"),
    ]
    for parameters, expected in cases:
        with pytest.raises(ClientError) as caught:
            copied(ec2, image, **parameters)
        assert code(caught) == expected


def test_an_image_says_how_large_its_disk_is(endpoint: Endpoint, ec2: Any, key: AccessKey) -> None:
    image = endpoint.new_image(key.account_id, virtual_size=GIB + 1)
    described = shown(ec2, image)
    assert described["RootDeviceName"] == "/dev/vda"
    ebs = {
        "VolumeSize": 2,
        "DeleteOnTermination": True,
        "Encrypted": False,
        "SnapshotId": f"snap-{image.removeprefix('ami-')}",
    }
    assert described["BlockDeviceMappings"] == [{"DeviceName": "/dev/vda", "Ebs": ebs}]
    for name, value, found in [
        ("block-device-mapping.volume-size", "2", True),
        ("block-device-mapping.volume-size", "1", False),
        ("block-device-mapping.device-name", "/dev/vd?", True),
        ("block-device-mapping.delete-on-termination", "true", True),
        ("block-device-mapping.encrypted", "true", False),
        ("block-device-mapping.snapshot-id", "snap-*", True),
    ]:
        filters = [{"Name": name, "Values": [value]}]
        assert bool(ec2.describe_images(Owners=["self"], Filters=filters)["Images"]) == found


def test_a_registered_image_may_have_a_larger_disk_than_its_file(
    endpoint: Endpoint, ec2: Any
) -> None:
    made = ec2.register_image(
        Name="large",
        ImageLocation="http://host/x",
        RootDeviceName="/dev/sda1",
        BlockDeviceMappings=root(3, "/dev/sda1", VolumeType="gp3", DeleteOnTermination=True),
    )["ImageId"]
    assert shown(ec2, made)["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 3
    with database.writing(endpoint.database) as db:
        rules.imported(db, made, Content("e" * 64, 4, GIB, "raw"))
    described = shown(ec2, made)
    assert (described["State"], described["RootDeviceName"]) == ("available", "/dev/sda1")
    launched = ec2.run_instances(ImageId=made, MinCount=1, MaxCount=1)["Instances"][0]
    assert disk_of(endpoint, launched["InstanceId"]) == 3 * GIB
    copy = shown(ec2, copied(ec2, made))
    for one in (copy, described):
        assert one["BlockDeviceMappings"][0]["Ebs"].pop("SnapshotId")
    assert copy["BlockDeviceMappings"] == described["BlockDeviceMappings"]


def test_an_image_that_is_larger_than_the_disk_that_was_asked_for_has_failed(
    endpoint: Endpoint, ec2: Any
) -> None:
    made = ec2.register_image(
        Name="small", ImageLocation="http://host/x", BlockDeviceMappings=root(1)
    )["ImageId"]
    with database.writing(endpoint.database) as db:
        rules.imported(db, made, Content("d" * 64, 4, 2 * GIB, "raw"))
    described = shown(ec2, made)
    assert described["State"] == "failed"
    assert "it needs 2 GiB" in described["StateReason"]["Message"]


def disk_of(endpoint: Endpoint, instance_id: str) -> int | None:
    with database.reading(endpoint.database) as db:
        instance = instances.get(db, instance_id)
    assert instance is not None
    return instance.disk_bytes


def test_a_launch_may_have_a_larger_disk_than_its_image(
    endpoint: Endpoint, ec2: Any, key: AccessKey
) -> None:
    image = endpoint.new_image(key.account_id, virtual_size=GIB + 512)
    named: list[dict[str, Any]] = [{"DeviceName": "/dev/vda"}]
    for mappings, expected in ((None, GIB + 512), (named, GIB + 512), (root(5), 5 * GIB)):
        asked = {} if mappings is None else {"BlockDeviceMappings": mappings}
        launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, **asked)
        assert disk_of(endpoint, launched["Instances"][0]["InstanceId"]) == expected


@pytest.mark.parametrize(
    ("mappings", "expected"),
    [
        (root(1), "InvalidBlockDeviceMapping"),
        (root(0), "InvalidBlockDeviceMapping"),
        (root(65537), "InvalidBlockDeviceMapping"),
        (root(3) + root(3), "InvalidBlockDeviceMapping"),
        (root(3, "/dev/vdb"), "UnsupportedOperation"),
        ([{"DeviceName": "/dev/vdb", "VirtualName": "ephemeral0"}], "UnsupportedOperation"),
        ([{"DeviceName": "/dev/vda", "NoDevice": ""}], "UnsupportedOperation"),
        (root(3, SnapshotId="snap-12345678"), "InvalidBlockDeviceMapping"),
        (root(3, DeleteOnTermination=False), "UnsupportedOperation"),
        (root(3, Encrypted=True), "UnsupportedOperation"),
        (root(3, Iops=100), "UnsupportedOperation"),
        ([{"Ebs": {"VolumeSize": 3}}], "MissingParameter"),
    ],
)
def test_disks_that_cannot_be_are_refused_and_nothing_is_launched(
    endpoint: Endpoint, ec2: Any, key: AccessKey, mappings: Any, expected: str
) -> None:
    image = endpoint.new_image(key.account_id, virtual_size=2 * GIB)
    with pytest.raises(ClientError) as caught:
        ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, BlockDeviceMappings=mappings)
    assert code(caught) == expected
    assert ec2.describe_instances()["Reservations"] == []


def test_a_root_device_s_name_is_a_disk_s(ec2: Any) -> None:
    with pytest.raises(ClientError) as caught:
        ec2.register_image(Name="demo", ImageLocation="http://host/x", RootDeviceName="sda")
    assert code(caught) == "InvalidParameterValue"
