# SPDX-License-Identifier: Apache-2.0
"""Tags of volumes: given at a launch and later, gone with the volume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from answers import code
from botocore.exceptions import ClientError
from test_ec2_volumes import described, launch, volume_of

from gateway.cloud import spot_launch, volumes
from gateway.cloud.instances import Launch

if TYPE_CHECKING:
    from conftest import Endpoint

NAME = [{"Key": "Name", "Value": "disk"}]


def test_a_volume_has_tags_of_its_own_until_it_is_gone(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    instance_id = launch(
        ec2,
        image,
        TagSpecifications=[
            {"ResourceType": "volume", "Tags": NAME},
            {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "machine"}]},
        ],
    )
    volume_id = volumes.volume_id(instance_id)
    assert volume_of(ec2, instance_id)["Tags"] == NAME
    assert described(ec2, instance_id)["Tags"] == [{"Key": "Name", "Value": "machine"}]
    of_volumes = {"Filters": [{"Name": "resource-type", "Values": ["volume"]}]}
    told = {"ResourceId": volume_id, "ResourceType": "volume", "Key": "Name", "Value": "disk"}
    assert ec2.describe_tags(**of_volumes)["Tags"] == [told]
    ec2.create_tags(Resources=[volume_id], Tags=[{"Key": "Tier", "Value": "1"}])
    found = ec2.describe_volumes(Filters=[{"Name": "tag:Tier", "Values": ["1"]}])["Volumes"]
    assert [one["VolumeId"] for one in found] == [volume_id]
    ec2.delete_tags(Resources=[volume_id], Tags=[{"Key": "Tier"}])
    assert volume_of(ec2, instance_id)["Tags"] == NAME
    endpoint.change_state(instance_id, "shutting-down")
    assert volume_of(ec2, instance_id)["Tags"] == NAME
    endpoint.change_state(instance_id, "terminated")
    assert ec2.describe_tags(**of_volumes)["Tags"] == []
    assert described(ec2, instance_id)["Tags"] == [{"Key": "Name", "Value": "machine"}]
    with pytest.raises(ClientError) as caught:
        ec2.create_tags(Resources=[volume_id], Tags=NAME)
    assert code(caught) == "InvalidVolume.NotFound"


def test_tags_of_volumes_are_checked_as_other_tags_are(ec2: Any, image: str) -> None:
    with pytest.raises(ClientError) as caught:
        launch(ec2, image, TagSpecifications=[{"ResourceType": "volume", "Tags": NAME * 2}])
    assert code(caught) == "InvalidParameterValue"
    with pytest.raises(ClientError) as caught:
        ec2.create_tags(Resources=["vol-1"], Tags=NAME)
    assert code(caught) == "InvalidID"


def test_a_request_for_spot_instances_gives_each_volume_its_tags(ec2: Any, image: str) -> None:
    instance_id = launch(
        ec2,
        image,
        InstanceMarketOptions={"MarketType": "spot"},
        TagSpecifications=[
            {"ResourceType": "volume", "Tags": NAME},
            {"ResourceType": "spot-instances-request", "Tags": [{"Key": "of", "Value": "r"}]},
        ],
    )
    assert volume_of(ec2, instance_id)["Tags"] == NAME
    assert described(ec2, instance_id)["Tags"] == []


def test_what_is_launched_again_tags_its_volume_as_the_first_time() -> None:
    asked = Launch(
        image_id="ami-1",
        flavor="small",
        minimum=1,
        maximum=1,
        zone="condor-a",
        key_name=None,
        user_data=None,
        tags={},
        volume_tags={"Name": "disk"},
    )
    text = spot_launch.write(asked)
    assert spot_launch.read(text).volume_tags == {"Name": "disk"}
    assert spot_launch.read(text.replace("volume_tags", "of_later")).volume_tags == {}
