# SPDX-License-Identifier: Apache-2.0
"""RunInstances: what is launched, what is refused, and client tokens."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from answers import code, instance_ids
from botocore.exceptions import ClientError

from gateway.store import database, instances

if TYPE_CHECKING:
    from conftest import Endpoint


def test_a_launch_is_described_as_it_was_asked_for(ec2: Any, image: str, key: Any) -> None:
    ec2.create_key_pair(KeyName="mine", KeyType="ed25519")
    answer = ec2.run_instances(
        ImageId=image,
        MinCount=2,
        MaxCount=2,
        InstanceType="t3.nano",
        KeyName="mine",
        UserData="#!/bin/sh",
        ClientToken="token-1",
        Placement={"AvailabilityZone": "condor-a"},
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "0123 <&>"}]}
        ],
    )
    described = ec2.describe_instances()["Reservations"]
    answer.pop("ResponseMetadata")
    assert described == [answer]
    assert answer["OwnerId"] == key.account_id
    first, second = answer["Instances"]
    assert (first["AmiLaunchIndex"], second["AmiLaunchIndex"]) == (0, 1)
    assert first["State"] == {"Code": 0, "Name": "pending"}
    assert first["StateReason"] == {"Code": "", "Message": "pending"}
    assert first["InstanceType"] == "t3.nano"
    assert first["KeyName"] == "mine"
    assert first["ClientToken"] == "token-1"
    assert first["Tags"] == [{"Key": "Name", "Value": "0123 <&>"}]
    assert first["Placement"]["AvailabilityZone"] == "condor-a"
    assert first["CpuOptions"]["CoreCount"] == 2
    assert abs(first["LaunchTime"] - datetime.now(UTC)) < timedelta(minutes=1)


# Members that clients index without asking: euca2ools, Terraform, Ansible, HTCondor, fog.
EXPECTED_MEMBERS = {
    "AmiLaunchIndex",
    "Architecture",
    "BlockDeviceMappings",
    "ClientToken",
    "Hypervisor",
    "ImageId",
    "InstanceId",
    "InstanceType",
    "LaunchTime",
    "Monitoring",
    "NetworkInterfaces",
    "Placement",
    "PrivateDnsName",
    "ProductCodes",
    "PublicDnsName",
    "RootDeviceName",
    "RootDeviceType",
    "SecurityGroups",
    "State",
    "StateReason",
    "StateTransitionReason",
    "Tags",
    "VirtualizationType",
}


def test_an_instance_has_every_member_that_clients_index(ec2: Any, image: str) -> None:
    answer = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)
    assert answer["Instances"][0].keys() >= EXPECTED_MEMBERS
    assert answer["Groups"] == []


def test_a_mac_address_that_any_instance_has_is_not_given_again(
    endpoint: Endpoint, ec2: Any, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    taken = made["NetworkInterfaces"][0]["MacAddress"]
    drawn = iter([bytes.fromhex(taken[9:].replace(":", "")), b"\xfe\xdc\xba"])
    key = endpoint.new_key()
    own = endpoint.new_image(key.account_id)
    client = endpoint.client(key)
    draw = secrets.token_bytes
    monkeypatch.setattr(
        secrets, "token_bytes", lambda size=None: next(drawn) if size == 3 else draw(size)
    )
    other = client.run_instances(ImageId=own, MinCount=1, MaxCount=1)
    assert other["Instances"][0]["NetworkInterfaces"][0]["MacAddress"] == "52:54:00:fe:dc:ba"


def test_user_data_is_stored_byte_for_byte(endpoint: Endpoint, ec2: Any, image: str) -> None:
    data = bytes(range(256)) * 64
    answer = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, UserData=data)
    with database.reading(endpoint.database) as db:
        assert instances.get_user_data(db, answer["Instances"][0]["InstanceId"]) == data


def test_a_launch_is_written_down_with_all_that_a_node_needs(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    answer = ec2.run_instances(ImageId=image, MinCount=50, MaxCount=50)
    with database.reading(endpoint.database) as db:
        rows = instances.select_reservation(db, answer["ReservationId"])
    assert len({row.mac for row in rows}) == 50
    assert all(row.mac.startswith("52:54:00:") and len(row.mac) == 17 for row in rows)
    assert {(row.submit_state, row.wanted, row.run) for row in rows} == {("wanted", "running", 1)}
    assert {(row.vcpus, row.memory_mib) for row in rows} == {(1, 512)}


def test_what_every_instance_is_described_with_may_be_asked_for(ec2: Any, image: str) -> None:
    names = {
        "CapacityReservationSpecification",
        "EbsOptimized",
        "EnclaveOptions",
        "HibernationOptions",
        "MaintenanceOptions",
        "PrivateDnsNameOptions",
    }
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    asked = {name: launched[name] for name in names}
    again = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, **asked)["Instances"][0]
    assert {name: again[name] for name in names} == asked


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"ImageId": "ami-12345678"}, "InvalidAMIID.NotFound"),
        ({"ImageId": "nonsense"}, "InvalidAMIID.Malformed"),
        ({"ImageId": None}, "MissingParameter"),
        ({"KeyName": "none"}, "InvalidKeyPair.NotFound"),
        ({"InstanceType": "x9.huge"}, "InvalidParameterValue"),
        ({"UserData": "x" * 16385}, "InvalidParameterValue"),
        ({"MinCount": 2}, "InvalidParameterValue"),
        ({"MinCount": 0}, "InvalidParameterValue"),
        ({"MinCount": -1, "MaxCount": -1}, "InvalidParameterValue"),
        ({"MinCount": 1001, "MaxCount": 1001}, "InstanceLimitExceeded"),
        ({"MinCount": None}, "MissingParameter"),
        ({"MinCount": "one"}, "InvalidParameterValue"),
        ({"ClientToken": "x" * 65}, "InvalidParameterValue"),
        ({"ClientToken": "ä"}, "InvalidParameterValue"),
        ({"Placement": {"AvailabilityZone": "us-east-1a"}}, "InvalidParameterValue"),
        ({"Placement": {"Tenancy": "dedicated"}}, "UnsupportedOperation"),
        ({"Placement": {"Tenancy": "host"}}, "UnsupportedOperation"),
        *(
            ({"Placement": {name: value}}, "UnsupportedOperation")
            for name, value in {
                "GroupName": "g",
                "GroupId": "pg-0123456789abcdef0",
                "HostId": "h-0123456789abcdef0",
                "HostResourceGroupArn": "arn:aws:resource-groups:condor:1:group/g",
                "Affinity": "host",
                "PartitionNumber": 1,
                "SpreadDomain": "rack",
            }.items()
        ),
        ({"InstanceInitiatedShutdownBehavior": "reboot"}, "InvalidParameterValue"),
        ({"EbsOptimized": True}, "UnsupportedOperation"),
        ({"MaintenanceOptions": {"AutoRecovery": "default"}}, "UnsupportedOperation"),
        ({"PrivateDnsNameOptions": {"HostnameType": "ip-name"}}, "UnsupportedOperation"),
        ({"BlockDeviceMappings": [{"DeviceName": "/dev/sda1"}]}, "UnsupportedOperation"),
        ({"SecurityGroupIds": ["sg-1"]}, "InvalidGroupId.Malformed"),
        ({"SecurityGroupIds": ["sg-12345678"]}, "InvalidGroup.NotFound"),
        ({"SecurityGroups": ["web"]}, "InvalidGroup.NotFound"),
        ({"SubnetId": "subnet-1"}, "InvalidSubnetID.Malformed"),
        ({"SubnetId": "subnet-12345678"}, "InvalidSubnetID.NotFound"),
        ({"PrivateIpAddress": "10.77.0.9"}, "UnsupportedOperation"),
        ({"TagSpecifications": [{"ResourceType": "network-interface"}]}, "UnsupportedOperation"),
        ({"TagSpecifications": [{"ResourceType": "image"}]}, "InvalidParameterValue"),
    ],
)
def test_launches_that_cannot_be_honoured_are_refused(
    ec2: Any, image: str, parameters: dict[str, Any], expected: str
) -> None:
    asked = {"ImageId": image, "MinCount": 1, "MaxCount": 1} | parameters
    with pytest.raises(ClientError) as caught:
        ec2.run_instances(**{name: value for name, value in asked.items() if value is not None})
    assert code(caught) == expected
    assert ec2.describe_instances()["Reservations"] == []


def test_a_parameter_that_is_true_here_anyway_is_accepted(ec2: Any, image: str) -> None:
    ec2.run_instances(
        ImageId=image,
        MinCount=1,
        MaxCount=1,
        InstanceInitiatedShutdownBehavior="terminate",
        Monitoring={"Enabled": False},
        EbsOptimized=False,
        Placement={"Tenancy": "default"},
    )


def test_an_image_that_is_not_taken_in_yet_is_not_available(ec2: Any) -> None:
    image = ec2.register_image(Name="demo", ImageLocation="http://host/x")["ImageId"]
    with pytest.raises(ClientError) as caught:
        ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)
    assert code(caught) == "InvalidAMIID.Unavailable"


def test_a_repeated_token_gives_the_first_launch_again(ec2: Any, image: str) -> None:
    asked = {"ImageId": image, "MinCount": 2, "MaxCount": 2, "ClientToken": "once"}
    first, again = ec2.run_instances(**asked), ec2.run_instances(**asked)
    assert again["ReservationId"] == first["ReservationId"]
    assert again["Instances"] == first["Instances"]
    ec2.deregister_image(ImageId=image)
    assert ec2.run_instances(**asked)["ReservationId"] == first["ReservationId"]


def test_a_token_is_spent_when_all_its_instances_are_terminated(ec2: Any, image: str) -> None:
    asked = {"ImageId": image, "MinCount": 2, "MaxCount": 2, "ClientToken": "once"}
    first = ec2.run_instances(**asked)
    one, other = (instance["InstanceId"] for instance in first["Instances"])
    ec2.terminate_instances(InstanceIds=[one])
    assert ec2.run_instances(**asked)["ReservationId"] == first["ReservationId"]
    ec2.terminate_instances(InstanceIds=[other])
    expected = (
        "The client token you have provided is associated with a terminated instance. Please use"
        " a different client token."
    )
    with pytest.raises(ClientError, match=expected) as caught:
        ec2.run_instances(**asked)
    assert code(caught) == "IdempotentInstanceTerminated"
    with pytest.raises(ClientError) as caught:
        ec2.run_instances(**asked | {"KeyName": "other"})
    assert code(caught) == "IdempotentParameterMismatch"


@pytest.mark.parametrize(
    "other",
    [
        {"MaxCount": 2},
        {"InstanceType": "medium"},
        {"UserData": "x"},
        {"TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "a"}]}]},
    ],
)
def test_a_repeated_token_with_another_request_is_refused(
    ec2: Any, image: str, other: dict[str, Any]
) -> None:
    asked = {"ImageId": image, "MinCount": 1, "MaxCount": 1, "ClientToken": "once"}
    ec2.run_instances(**asked)
    with pytest.raises(ClientError) as caught:
        ec2.run_instances(**asked | other)
    assert code(caught) == "IdempotentParameterMismatch"
    assert len(instance_ids(ec2.describe_instances())) == 1


def test_a_token_belongs_to_its_account(endpoint: Endpoint, ec2: Any, image: str) -> None:
    asked = {"MinCount": 1, "MaxCount": 1, "ClientToken": "same"}
    first = ec2.run_instances(ImageId=image, **asked)
    other = endpoint.new_key()
    theirs = endpoint.client(other).run_instances(
        ImageId=endpoint.new_image(other.account_id), **asked
    )
    assert theirs["ReservationId"] != first["ReservationId"]


def test_as_many_as_allowed_are_launched_above_the_minimum(ec2: Any, image: str) -> None:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=2_000_000_000)["Instances"]
    assert len(launched) == 1000


def test_concurrent_launches_all_happen(ec2: Any, image: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1), "x" * 24))
    described = ec2.describe_instances()
    assert len(described["Reservations"]) == 24
    assert len(set(instance_ids(described))) == 24
