# SPDX-License-Identifier: Apache-2.0
"""MetadataOptions: at a launch, changed, described, and what the node is told of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from answers import code
from botocore.exceptions import ClientError

from execnode import metadata_facts
from gateway.cloud import images, metadata
from gateway.store import commands, database, instances
from gateway.store.images import Content

if TYPE_CHECKING:
    from conftest import Endpoint

DEFAULTS = {
    "State": "applied",
    "HttpTokens": "optional",
    "HttpPutResponseHopLimit": 1,
    "HttpEndpoint": "enabled",
    "HttpProtocolIpv6": "disabled",
    "InstanceMetadataTags": "disabled",
}


def launch(ec2: Any, image: str, **options: Any) -> str:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, **options)
    return str(launched["Instances"][0]["InstanceId"])


def described(ec2: Any, instance: str) -> Any:
    [reservation] = ec2.describe_instances(InstanceIds=[instance])["Reservations"]
    return reservation["Instances"][0]["MetadataOptions"]


def claim(endpoint: Endpoint, instance: str) -> None:
    with database.writing(endpoint.database) as db:
        now = datetime.now(UTC)
        assert instances.update_claim(db, instance, 1, nonce="n", host="host", node="node", at=now)


def told(endpoint: Endpoint, instance: str) -> metadata_facts.Facts:
    with database.reading(endpoint.database) as db:
        row = instances.get(db, instance)
        assert row is not None
        return metadata_facts.read(metadata.document(db, endpoint.settings, row))


def waiting(endpoint: Endpoint, instance: str) -> list[commands.Command]:
    with database.reading(endpoint.database) as db:
        return commands.select(db, instance, 1)


def test_a_launch_that_says_nothing_has_ec2s_defaults(
    ec2: Any, image: str, endpoint: Endpoint
) -> None:
    instance = launch(ec2, image)
    assert described(ec2, instance) == DEFAULTS
    assert told(endpoint, instance).options == metadata_facts.Options()


def test_a_launch_s_options_are_described_and_told_to_the_node(
    ec2: Any, image: str, endpoint: Endpoint
) -> None:
    asked = {"HttpTokens": "required", "HttpPutResponseHopLimit": 2, "HttpEndpoint": "disabled"}
    asked |= {"InstanceMetadataTags": "enabled"}
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "web"}]}]
    instance = launch(ec2, image, MetadataOptions=asked, TagSpecifications=tags)
    assert described(ec2, instance) == DEFAULTS | asked
    facts = told(endpoint, instance)
    assert facts.options == metadata_facts.Options(
        enabled=False, tokens_required=True, hop_limit=2, instance_tags=True
    )
    assert facts.tags == {"Name": "web"}


def test_the_root_device_is_the_image_s_for_clients_and_for_the_guest(
    ec2: Any, endpoint: Endpoint
) -> None:
    name = "/dev/sda1"
    image = ec2.register_image(Name="root", ImageLocation="http://host/x", RootDeviceName=name)
    with database.writing(endpoint.database) as db:
        images.imported(db, image["ImageId"], Content("a1" * 32, 4, 2**30, "raw"))
    instance = launch(ec2, image["ImageId"])
    ec2.deregister_image(ImageId=image["ImageId"])
    by_name = [{"Name": "root-device-name", "Values": [name]}]
    [reservation] = ec2.describe_instances(Filters=by_name)["Reservations"]
    assert reservation["Instances"][0]["RootDeviceName"] == name
    told_alone = ec2.describe_instance_attribute(InstanceId=instance, Attribute="rootDeviceName")
    assert told_alone["RootDeviceName"]["Value"] == name
    assert told(endpoint, instance).root_device == name


def test_tags_stay_with_the_gateway_where_guests_do_not_read_them(
    ec2: Any, image: str, endpoint: Endpoint
) -> None:
    instance = launch(ec2, image)
    ec2.create_tags(Resources=[instance], Tags=[{"Key": "Name", "Value": "web"}])
    assert told(endpoint, instance).tags == {}
    assert waiting(endpoint, instance) == []


def test_a_change_is_pending_until_the_supervisor_has_taken_it(
    ec2: Any, image: str, endpoint: Endpoint
) -> None:
    instance = launch(ec2, image)
    claim(endpoint, instance)
    before = told(endpoint, instance).etag
    answer = ec2.modify_instance_metadata_options(InstanceId=instance, HttpTokens="required")
    assert answer["InstanceMetadataOptions"]["State"] == "pending"
    assert answer["InstanceMetadataOptions"]["HttpTokens"] == "required"
    assert described(ec2, instance) == DEFAULTS | {"State": "pending", "HttpTokens": "required"}
    assert told(endpoint, instance).etag != before
    [command] = waiting(endpoint, instance)
    assert command.verb == "metadata"
    with database.writing(endpoint.database) as db:
        commands.delete_taken(db, instance, 1, [command.id])
        row = instances.get(db, instance)
        assert row is not None
        metadata.taken(db, row)
    assert described(ec2, instance) == DEFAULTS | {"HttpTokens": "required"}


def test_a_change_before_the_claim_needs_nobody_to_take_it(ec2: Any, image: str) -> None:
    instance = launch(ec2, image)
    ec2.modify_instance_metadata_options(InstanceId=instance, HttpPutResponseHopLimit=64)
    assert described(ec2, instance) == DEFAULTS | {"HttpPutResponseHopLimit": 64}


def test_tags_that_guests_read_ring_the_node(ec2: Any, image: str, endpoint: Endpoint) -> None:
    instance = launch(ec2, image, MetadataOptions={"InstanceMetadataTags": "enabled"})
    claim(endpoint, instance)
    ec2.create_tags(Resources=[instance], Tags=[{"Key": "Name", "Value": "web"}])
    ec2.delete_tags(Resources=[instance], Tags=[{"Key": "Name"}])
    assert [command.verb for command in waiting(endpoint, instance)] == ["metadata"] * 2


def test_a_tag_that_cannot_be_a_file_and_metadata_tags_exclude_each_other(
    ec2: Any, image: str
) -> None:
    bad = [{"Key": "a/b", "Value": "x"}]
    with pytest.raises(ClientError, match="a/b") as caught:
        launch(
            ec2,
            image,
            MetadataOptions={"InstanceMetadataTags": "enabled"},
            TagSpecifications=[{"ResourceType": "instance", "Tags": bad}],
        )
    assert code(caught) == "InvalidParameterValue"
    instance = launch(ec2, image)
    ec2.create_tags(Resources=[instance], Tags=bad)
    with pytest.raises(ClientError, match="a/b"):
        ec2.modify_instance_metadata_options(InstanceId=instance, InstanceMetadataTags="enabled")
    shown = launch(ec2, image, MetadataOptions={"InstanceMetadataTags": "enabled"})
    with pytest.raises(ClientError, match="a/b"):
        ec2.create_tags(Resources=[shown], Tags=bad)
    assert ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [shown]}])["Tags"] == []


@pytest.mark.parametrize(
    "options",
    [
        {"HttpTokens": "perhaps"},
        {"HttpEndpoint": "on"},
        {"HttpPutResponseHopLimit": 0},
        {"HttpPutResponseHopLimit": 65},
        {"InstanceMetadataTags": "yes"},
    ],
)
def test_options_that_there_are_not_are_refused(
    ec2: Any, image: str, options: dict[str, Any]
) -> None:
    instance = launch(ec2, image)
    for ask in (
        lambda: launch(ec2, image, MetadataOptions=options),
        lambda: ec2.modify_instance_metadata_options(InstanceId=instance, **options),
    ):
        with pytest.raises(ClientError) as caught:
            ask()
        assert code(caught) == "InvalidParameterValue"


def test_an_ended_instance_has_no_options_to_change(ec2: Any, image: str) -> None:
    instance = launch(ec2, image)
    ec2.terminate_instances(InstanceIds=[instance])
    with pytest.raises(ClientError) as caught:
        ec2.modify_instance_metadata_options(InstanceId=instance, HttpTokens="required")
    assert code(caught) == "IncorrectInstanceState"
