# SPDX-License-Identifier: Apache-2.0
"""The root disks of instances, as volumes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from answers import code
from botocore.exceptions import ClientError

from gateway.cloud import health, volumes
from gateway.ec2 import filters, volume_document
from gateway.ec2.instance_document import untagged
from gateway.store import database, instances
from gateway.store.instances import Instance

if TYPE_CHECKING:
    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey

GIB = 2**30


def launch(ec2: Any, image: str, **parameters: Any) -> str:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, **parameters)
    instance_id: str = launched["Instances"][0]["InstanceId"]
    return instance_id


def described(ec2: Any, instance_id: str) -> dict[str, Any]:
    [launched] = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    instance: dict[str, Any] = launched["Instances"][0]
    return instance


def volume_of(ec2: Any, instance_id: str) -> dict[str, Any]:
    asked = [{"Name": "attachment.instance-id", "Values": [instance_id]}]
    [volume] = ec2.describe_volumes(Filters=asked)["Volumes"]
    found: dict[str, Any] = volume
    return found


def row(endpoint: Endpoint, instance_id: str) -> Instance:
    with database.reading(endpoint.database) as db:
        found = instances.get(db, instance_id)
    assert found is not None
    return found


def test_an_instance_names_the_volume_that_is_its_root_disk(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    instance_id = launch(ec2, image)
    endpoint.change_state(instance_id, "running")
    instance = described(ec2, instance_id)
    [mapping] = instance["BlockDeviceMappings"]
    assert mapping == {
        "DeviceName": instance["RootDeviceName"],
        "Ebs": {
            "VolumeId": volumes.volume_id(instance_id),
            "Status": "attached",
            "AttachTime": instance["LaunchTime"],
            "DeleteOnTermination": True,
        },
    }
    asked = {"InstanceId": instance_id, "Attribute": "blockDeviceMapping"}
    assert ec2.describe_instance_attribute(**asked)["BlockDeviceMappings"] == [mapping]


def test_a_volume_is_described_as_the_disk_that_it_is(
    endpoint: Endpoint, ec2: Any, key: AccessKey
) -> None:
    image = endpoint.new_image(key.account_id, virtual_size=2 * GIB + 1)
    instance_id = launch(ec2, image)
    larger = launch(
        ec2,
        image,
        BlockDeviceMappings=[
            {"DeviceName": "/dev/vda", "Ebs": {"VolumeSize": 7, "VolumeType": "gp3"}}
        ],
    )
    endpoint.change_state(instance_id, "running")
    launched = described(ec2, instance_id)["LaunchTime"]
    volume_id = volumes.volume_id(instance_id)
    assert volume_of(ec2, instance_id) == {
        "VolumeId": volume_id,
        "Size": 3,
        "SnapshotId": f"snap-{image.removeprefix('ami-')}",
        "AvailabilityZone": "condor-a",
        "AvailabilityZoneId": "condor-a",
        "State": "in-use",
        "CreateTime": launched,
        "VolumeType": "standard",
        "Encrypted": False,
        "FastRestored": False,
        "MultiAttachEnabled": False,
        "Operator": {"Managed": False},
        "Tags": [],
        "Attachments": [
            {
                "VolumeId": volume_id,
                "InstanceId": instance_id,
                "Device": "/dev/vda",
                "State": "attached",
                "AttachTime": launched,
                "DeleteOnTermination": True,
            }
        ],
    }
    assert volume_of(ec2, larger)["Size"] == 7
    assert volume_of(ec2, larger)["VolumeType"] == "gp3"
    both = ec2.describe_volumes()["Volumes"]
    assert [one["VolumeId"] for one in both] == [volume_id, volumes.volume_id(larger)]
    assert ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"] == both[:1]


def test_a_launch_of_before_sizes_were_written_down_has_a_volume_of_no_size(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    instance_id = launch(ec2, image)
    with database.writing(endpoint.database) as db:
        instances.update_attributes(db, instance_id, {"disk_bytes": None})
    assert "Size" not in volume_of(ec2, instance_id)


def test_a_type_of_volume_that_ec2_does_not_have_is_refused(ec2: Any, image: str) -> None:
    asked = [{"DeviceName": "/dev/vda", "Ebs": {"VolumeType": "fast"}}]
    with pytest.raises(ClientError) as caught:
        launch(ec2, image, BlockDeviceMappings=asked)
    assert code(caught) == "UnknownVolumeType"
    with pytest.raises(ClientError) as caught:
        ec2.register_image(
            Name="demo", ImageLocation="http://127.0.0.1/disk", BlockDeviceMappings=asked
        )
    assert code(caught) == "UnknownVolumeType"


def test_a_volume_is_attached_once_its_node_has_made_it_and_goes_with_its_instance(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    instance_id = launch(ec2, image)
    volume_id = volumes.volume_id(instance_id)

    def status() -> str:
        [mapping] = described(ec2, instance_id)["BlockDeviceMappings"]
        assert mapping["Ebs"]["Status"] == volume_of(ec2, instance_id)["Attachments"][0]["State"]
        told: str = mapping["Ebs"]["Status"]
        return told

    assert status() == "attaching"
    for state in ("running", "stopping", "stopped"):
        endpoint.change_state(instance_id, state)
        assert status() == "attached"
    with database.writing(endpoint.database) as db:
        instances.update_over(db, instance_id, "node-1")
    endpoint.change_state(instance_id, "pending")
    assert status() == "attached"
    endpoint.change_state(instance_id, "shutting-down")
    assert status() == "detaching"
    endpoint.change_state(instance_id, "terminated")
    assert described(ec2, instance_id)["BlockDeviceMappings"] == []
    assert ec2.describe_volumes()["Volumes"] == []
    by_id = [{"Name": "volume-id", "Values": [volume_id]}]
    assert ec2.describe_volumes(Filters=by_id)["Volumes"] == []
    assert ec2.describe_volume_status()["VolumeStatuses"] == []
    with pytest.raises(ClientError, match=volume_id) as caught:
        ec2.describe_volumes(VolumeIds=[volume_id])
    assert code(caught) == "InvalidVolume.NotFound"
    ec2.get_waiter("volume_deleted").wait(
        VolumeIds=[volume_id], WaiterConfig={"Delay": 0, "MaxAttempts": 1}
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vol-0123456789abcdef0", "InvalidVolume.NotFound"),
        ("vol-12345678", "InvalidVolume.NotFound"),
        ("vol-1234567", "InvalidVolumeID.Malformed"),
        ("vol-ABCDEF01", "InvalidVolumeID.Malformed"),
        ("i-12345678", "InvalidVolumeID.Malformed"),
        ("", "InvalidVolumeID.Malformed"),
    ],
)
@pytest.mark.parametrize("name", ["volumes", "volume_status", "volumes_modifications"])
def test_a_volume_that_there_is_not_is_unknown_or_malformed(
    ec2: Any, image: str, name: str, text: str, expected: str
) -> None:
    own = volumes.volume_id(launch(ec2, image))
    with pytest.raises(ClientError) as caught:
        getattr(ec2, f"describe_{name}")(VolumeIds=[own, text])
    assert code(caught) == expected
    assert text in str(caught.value)
    assert own not in str(caught.value)


def test_another_account_has_nothing_of_a_volume(endpoint: Endpoint, ec2: Any, image: str) -> None:
    volume_id = volumes.volume_id(launch(ec2, image))
    other = endpoint.client(endpoint.new_key())
    assert other.describe_volumes()["Volumes"] == []
    assert other.describe_volume_status()["VolumeStatuses"] == []
    calls = (
        lambda: other.describe_volumes(VolumeIds=[volume_id]),
        lambda: other.describe_volume_status(VolumeIds=[volume_id]),
        lambda: other.describe_volumes_modifications(VolumeIds=[volume_id]),
        lambda: other.create_tags(Resources=[volume_id], Tags=[{"Key": "key"}]),
        lambda: other.delete_tags(Resources=[volume_id]),
    )
    for call in calls:
        with pytest.raises(ClientError) as caught:
            call()
        assert code(caught) == "InvalidVolume.NotFound"


def test_each_filter_looks_at_what_the_answer_shows(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    instance_id = launch(ec2, image)
    endpoint.change_state(instance_id, "running")
    paths = {
        "attachment.attach-time": "Attachments.AttachTime",
        "attachment.delete-on-termination": "Attachments.DeleteOnTermination",
        "attachment.device": "Attachments.Device",
        "attachment.instance-id": "Attachments.InstanceId",
        "attachment.status": "Attachments.State",
        "availability-zone": "AvailabilityZone",
        "availability-zone-id": "AvailabilityZoneId",
        "create-time": "CreateTime",
        "encrypted": "Encrypted",
        "fast-restored": "FastRestored",
        "multi-attach-enabled": "MultiAttachEnabled",
        "operator.managed": "Operator.Managed",
        "operator.principal": "Operator.Principal",
        "size": "Size",
        "snapshot-id": "SnapshotId",
        "status": "State",
        "volume-id": "VolumeId",
        "volume-type": "VolumeType",
    }
    assert paths.keys() == volume_document.FILTERS.keys()
    instance = row(endpoint, instance_id)
    document = volume_document.describe(instance, {})
    for name, path in paths.items():
        found = [
            str(value).lower() if isinstance(value, bool) else str(value)
            for value in filters.shown(document, path.split("."))
        ]
        for value, expected in (*((one, 1) for one in found), ("nothing", 0)):
            asked = [{"Name": name, "Values": [value]}]
            assert len(ec2.describe_volumes(Filters=asked)["Volumes"]) == expected, name
    with pytest.raises(ClientError) as caught:
        ec2.describe_volumes(Filters=[{"Name": "color", "Values": ["red"]}])
    assert code(caught) == "InvalidParameterValue"


def test_each_filter_of_an_instance_looks_at_its_volume(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    instance_id = launch(ec2, image)
    endpoint.change_state(instance_id, "running")
    paths = {
        "attach-time": "Ebs.AttachTime",
        "delete-on-termination": "Ebs.DeleteOnTermination",
        "device-name": "DeviceName",
        "status": "Ebs.Status",
        "volume-id": "Ebs.VolumeId",
    }
    names = {f"block-device-mapping.{name}": path for name, path in paths.items()}
    assert names.keys() == volume_document.INSTANCE_FILTERS.keys()
    document = untagged(row(endpoint, instance_id))
    asked = []
    for name, path in names.items():
        [value] = filters.shown(document, ["BlockDeviceMappings", *path.split(".")])
        text = str(value).lower() if isinstance(value, bool) else str(value)
        asked.append([{"Name": name, "Values": [text]}])
    for one in asked:
        assert len(ec2.describe_instances(Filters=one)["Reservations"]) == 1, one
    endpoint.change_state(instance_id, "terminated")
    for one in asked:
        assert ec2.describe_instances(Filters=one)["Reservations"] == [], one


NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
UNKNOWN = Instance._make(None for _ in Instance._fields)


@pytest.mark.parametrize(
    ("state", "silence", "expected"),
    [
        ("running", timedelta(0), "ok"),
        ("running", health.SILENCE, "ok"),
        ("running", health.SILENCE + timedelta(seconds=1), "insufficient-data"),
        ("running", None, "insufficient-data"),
        ("stopped", timedelta(0), "ok"),
        ("pending", timedelta(0), "insufficient-data"),
    ],
)
def test_a_disk_is_well_while_the_node_that_keeps_it_is_there(
    state: str, silence: timedelta | None, expected: str
) -> None:
    instance = UNKNOWN._replace(state=state)
    heard_at = None if silence is None else NOW - silence
    assert health.of_disk(instance, heard_at, NOW).status == expected


def test_the_status_of_a_volume_says_what_is_known_of_it(ec2: Any, image: str) -> None:
    instance_id = launch(ec2, image)
    [status] = ec2.describe_volume_status()["VolumeStatuses"]
    assert status == {
        "VolumeId": volumes.volume_id(instance_id),
        "AvailabilityZone": "condor-a",
        "AvailabilityZoneId": "condor-a",
        "VolumeStatus": {
            "Status": "insufficient-data",
            "Details": [
                {"Name": "io-enabled", "Status": "insufficient-data"},
                {"Name": "io-performance", "Status": "not-applicable"},
            ],
        },
        "Events": [],
        "Actions": [],
        "AttachmentStatuses": [{"InstanceId": instance_id}],
        "Operator": {"Managed": False},
    }
    for name, value, expected in (
        ("volume-status.status", "insufficient-data", 1),
        ("volume-status.status", "ok", 0),
        ("volume-status.details-name", "io-enabled", 1),
        ("event.event-id", "*", 0),
    ):
        asked = {"Filters": [{"Name": name, "Values": [value]}]}
        assert len(ec2.describe_volume_status(**asked)["VolumeStatuses"]) == expected


def test_no_volume_was_ever_changed(ec2: Any, image: str) -> None:
    volume_id = volumes.volume_id(launch(ec2, image))
    assert ec2.describe_volumes_modifications()["VolumesModifications"] == []
    with pytest.raises(ClientError) as caught:
        ec2.describe_volumes_modifications(VolumeIds=[volume_id])
    assert code(caught) == "InvalidVolumeModification.NotFound"
    message = caught.value.response["Error"]["Message"]
    assert message == f"Modification for volume '{volume_id}' does not exist."


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("create_volume", {"AvailabilityZone": "condor-a", "Size": 1}),
        ("delete_volume", {"VolumeId": "vol-12345678"}),
        ("modify_volume", {"VolumeId": "vol-12345678", "Size": 9}),
        (
            "attach_volume",
            {"VolumeId": "vol-12345678", "InstanceId": "i-12345678", "Device": "/dev/vdb"},
        ),
        ("detach_volume", {"VolumeId": "vol-12345678"}),
    ],
)
def test_a_volume_cannot_be_made_moved_or_changed_by_itself(
    ec2: Any, name: str, parameters: dict[str, Any]
) -> None:
    with pytest.raises(ClientError) as caught:
        getattr(ec2, name)(**parameters)
    assert code(caught) == "InvalidAction"


def test_boto3_s_instance_has_its_volume(
    endpoint: Endpoint, ec2: Any, key: AccessKey, image: str
) -> None:
    instance_id = launch(ec2, image)
    resource = boto3.resource(
        "ec2",
        endpoint_url=endpoint.url,
        region_name="condor",
        aws_access_key_id=key.id,
        aws_secret_access_key=key.secret,
    )
    [volume] = resource.Instance(instance_id).volumes.all()
    assert (volume.id, volume.state) == (volumes.volume_id(instance_id), "in-use")
    assert volume.attachments[0]["InstanceId"] == instance_id
