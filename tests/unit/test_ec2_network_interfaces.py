# SPDX-License-Identifier: Apache-2.0
"""Instances on the network: how they are launched into it and how they look there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from answers import code, instance_ids
from botocore.exceptions import ClientError

from gateway.cloud import networks
from gateway.config import Settings
from gateway.ec2.filters import shown
from gateway.ec2.instance_document import untagged
from gateway.ec2.interface_document import FILTERS, INSTANCE_FILTERS, describe
from gateway.embedded import network
from gateway.store import database, instances

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Endpoint

    from gateway.store.instances import Instance

ADDRESS = "10.77.0.9"


def launch(ec2: Any, image: str, **parameters: Any) -> dict[str, Any]:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, **parameters)
    instance: dict[str, Any] = launched["Instances"][0]
    return instance


def described(ec2: Any, instance_id: str) -> dict[str, Any]:
    answer = ec2.describe_instances(InstanceIds=[instance_id])
    assert answer["Reservations"][0]["Groups"] == []
    instance: dict[str, Any] = answer["Reservations"][0]["Instances"][0]
    return instance


def running(endpoint: Endpoint, ec2: Any, image: str) -> str:
    instance_id: str = launch(ec2, image)["InstanceId"]
    with database.writing(endpoint.database) as db:
        where = instances.Whereabouts("node-1", ADDRESS, 5901, "kvm")
        instances.update_whereabouts(db, instance_id, where)
    endpoint.change_state(instance_id, "running")
    return instance_id


def test_an_instance_is_on_the_network_from_its_launch(ec2: Any, image: str) -> None:
    instance = launch(ec2, image)
    [subnet] = ec2.describe_subnets()["Subnets"]
    [group] = ec2.describe_security_groups()["SecurityGroups"]
    named = [{"GroupId": group["GroupId"], "GroupName": "default"}]
    assert (instance["VpcId"], instance["SubnetId"]) == (subnet["VpcId"], subnet["SubnetId"])
    assert instance["SecurityGroups"] == named
    assert "PrivateIpAddress" not in instance
    assert "PublicIpAddress" not in instance
    [interface] = instance["NetworkInterfaces"]
    assert interface["Groups"] == named
    assert interface["Status"] == "in-use"
    assert interface["Attachment"]["Status"] == "attaching"
    assert interface["PrivateIpAddresses"] == []


def test_a_running_instance_s_interface_has_its_address_and_real_mac(
    endpoint: Endpoint, ec2: Any, image: str, key: Any
) -> None:
    instance_id = running(endpoint, ec2, image)
    instance = described(ec2, instance_id)
    with database.reading(endpoint.database) as db:
        row = instances.get(db, instance_id)
    assert row is not None
    [interface] = instance["NetworkInterfaces"]
    assert interface["MacAddress"] == row.mac
    assert instance["PrivateIpAddress"] == interface["PrivateIpAddress"] == ADDRESS
    assert interface["PrivateIpAddresses"] == [{"Primary": True, "PrivateIpAddress": ADDRESS}]
    assert interface["OwnerId"] == key.account_id
    assert "Association" not in interface
    attachment = interface["Attachment"]
    assert (attachment["DeviceIndex"], attachment["Status"]) == (0, "attached")
    assert attachment["AttachmentId"].startswith("eni-attach-")
    # Clients take any instance id that they find for another instance's.
    assert "InstanceId" not in attachment


def test_the_interface_is_described_by_itself_as_by_its_instance(
    endpoint: Endpoint, ec2: Any, image: str, key: Any
) -> None:
    instance_id = running(endpoint, ec2, image)
    [inside] = described(ec2, instance_id)["NetworkInterfaces"]
    [alone] = ec2.describe_network_interfaces()["NetworkInterfaces"]
    attachment = {"InstanceId": instance_id, "InstanceOwnerId": key.account_id}
    assert alone["Attachment"] == inside["Attachment"] | attachment
    for member in inside.keys() - {"Attachment"}:
        assert alone[member] == inside[member], member
    assert alone["AvailabilityZone"] == "condor-a"
    assert ec2.describe_network_interfaces(NetworkInterfaceIds=[alone["NetworkInterfaceId"]])[
        "NetworkInterfaces"
    ] == [alone]
    other = endpoint.client(endpoint.new_key())
    assert other.describe_network_interfaces()["NetworkInterfaces"] == []
    with pytest.raises(ClientError) as caught:
        other.describe_network_interfaces(NetworkInterfaceIds=[alone["NetworkInterfaceId"]])
    assert code(caught) == "InvalidNetworkInterfaceID.NotFound"


def test_a_terminated_instance_has_left_the_network(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    instance_id = running(endpoint, ec2, image)
    [interface] = ec2.describe_network_interfaces()["NetworkInterfaces"]
    free = ec2.describe_subnets()["Subnets"][0]["AvailableIpAddressCount"]
    endpoint.change_state(instance_id, "shutting-down")
    [leaving] = ec2.describe_network_interfaces()["NetworkInterfaces"]
    assert leaving["Attachment"]["Status"] == "detaching"
    endpoint.change_state(instance_id, "terminated")
    instance = described(ec2, instance_id)
    assert instance["NetworkInterfaces"] == instance["SecurityGroups"] == []
    assert not instance.keys() & {"VpcId", "SubnetId", "PrivateIpAddress"}
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    with pytest.raises(ClientError) as caught:
        ec2.describe_network_interfaces(NetworkInterfaceIds=[interface["NetworkInterfaceId"]])
    assert code(caught) == "InvalidNetworkInterfaceID.NotFound"
    found = ec2.describe_instances(Filters=[{"Name": "private-ip-address", "Values": [ADDRESS]}])
    assert instance_ids(found) == []
    assert ec2.describe_subnets()["Subnets"][0]["AvailableIpAddressCount"] >= free


def test_interfaces_come_in_pages(ec2: Any, image: str) -> None:
    ec2.run_instances(ImageId=image, MinCount=12, MaxCount=12)
    everything = ec2.describe_network_interfaces()["NetworkInterfaces"]
    paginator = ec2.get_paginator("describe_network_interfaces")
    pages = list(paginator.paginate(PaginationConfig={"PageSize": 5}))
    assert [len(page["NetworkInterfaces"]) for page in pages] == [5, 5, 2]
    assert [one for page in pages for one in page["NetworkInterfaces"]] == everything


def looked_at(look: Any, row: Instance, document: Callable[[Instance], Any]) -> Any:
    """Return what a filter looks at: of the row, or at the end of its way through the document."""
    return next(shown(document(row), look.split(".")), None) if isinstance(look, str) else look(row)


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_interfaces_are_found_by_their_own_values(
    endpoint: Endpoint, ec2: Any, image: str, name: str
) -> None:
    instance_id = running(endpoint, ec2, image)
    with database.reading(endpoint.database) as db:
        row = instances.get(db, instance_id)
    assert row is not None
    value = looked_at(FILTERS[name], row, describe)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    given = [{"Name": name, "Values": [text]}]
    found = ec2.describe_network_interfaces(Filters=given)["NetworkInterfaces"]
    assert len(found) == (value is not None)
    given = [{"Name": name, "Values": ["another"]}]
    assert ec2.describe_network_interfaces(Filters=given)["NetworkInterfaces"] == []


@pytest.mark.parametrize("name", sorted(INSTANCE_FILTERS))
def test_instances_are_found_by_their_place_in_the_network(
    endpoint: Endpoint, ec2: Any, image: str, name: str
) -> None:
    instance_id = running(endpoint, ec2, image)
    gone = running(endpoint, ec2, image)
    endpoint.change_state(gone, "shutting-down")
    endpoint.change_state(gone, "terminated")
    with database.reading(endpoint.database) as db:
        row = instances.get(db, instance_id)
    assert row is not None
    value = looked_at(INSTANCE_FILTERS[name], row, untagged)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    found = ec2.describe_instances(Filters=[{"Name": name, "Values": [text]}])
    assert instance_ids(found) == ([] if value is None else [instance_id])


def test_what_is_always_so_is_said_of_every_instance(ec2: Any, image: str) -> None:
    instance = launch(ec2, image)
    assert instance["EnclaveOptions"] == {"Enabled": False}
    assert instance["HibernationOptions"] == {"Configured": False}
    assert instance["MaintenanceOptions"]["AutoRecovery"] == "disabled"
    assert instance["PrivateDnsNameOptions"]["HostnameType"] == "resource-name"
    assert instance["CapacityReservationSpecification"] == {"CapacityReservationPreference": "open"}
    assert instance["MetadataOptions"]["State"] == "applied"


def test_what_exists_may_be_named_at_a_launch(ec2: Any, image: str, key: Any) -> None:
    own = networks.of(key.account_id)
    subnet = networks.subnet(key.account_id, "condor-a")
    ways: list[dict[str, Any]] = [
        {"SubnetId": subnet},
        {"SubnetId": subnet, "SecurityGroupIds": [own.security_group]},
        {"SecurityGroupIds": [own.security_group], "SecurityGroups": ["default"]},
        {"SecurityGroups": ["default"]},
        {"SubnetId": "", "SecurityGroupIds": [own.security_group]},
        {"NetworkInterfaces": [{"DeviceIndex": 0}]},
        {
            "NetworkInterfaces": [
                {
                    "DeviceIndex": 0,
                    "SubnetId": subnet,
                    "Groups": [own.security_group],
                    "AssociatePublicIpAddress": False,
                    "DeleteOnTermination": True,
                    "InterfaceType": "interface",
                    "NetworkCardIndex": 0,
                }
            ]
        },
    ]
    for way in ways:
        instance = launch(ec2, image, **way)
        assert instance["SubnetId"] == subnet
        assert [one["GroupId"] for one in instance["SecurityGroups"]] == [own.security_group]


@pytest.mark.parametrize(
    ("parameters", "expected", "words"),
    [
        (
            {"SubnetId": "mine", "NetworkInterfaces": [{"DeviceIndex": 0}]},
            "InvalidParameterCombination",
            "instance-level subnet ID",
        ),
        (
            {"SecurityGroups": ["default"], "NetworkInterfaces": [{"DeviceIndex": 0}]},
            "InvalidParameterCombination",
            "instance-level security groups",
        ),
        (
            {"SecurityGroups": ["default"], "SubnetId": "mine"},
            "InvalidParameterCombination",
            "groupName cannot be used with the parameter subnet",
        ),
        (
            {"NetworkInterfaces": [{"DeviceIndex": 0}, {"DeviceIndex": 1}]},
            "AttachmentLimitExceeded",
            "Interface count 2 exceeds the limit for small",
        ),
        (
            {"NetworkInterfaces": [{"SubnetId": "mine"}]},
            "MissingParameter",
            r"NetworkInterface.DeviceIndex",
        ),
        ({"NetworkInterfaces": [{"DeviceIndex": 1}]}, "InvalidParameterValue", "deviceIndex"),
        (
            {"NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": "subnet-12345678"}]},
            "InvalidSubnetID.NotFound",
            "The subnet ID 'subnet-12345678' does not exist",
        ),
        (
            {"NetworkInterfaces": [{"DeviceIndex": 0, "Groups": ["sg-12345678"]}]},
            "InvalidGroup.NotFound",
            "The security group 'sg-12345678' does not exist",
        ),
        (
            {"NetworkInterfaces": [{"DeviceIndex": 0, "AssociatePublicIpAddress": True}]},
            "UnsupportedOperation",
            "AssociatePublicIpAddress",
        ),
        (
            {"NetworkInterfaces": [{"DeviceIndex": 0, "DeleteOnTermination": False}]},
            "UnsupportedOperation",
            "DeleteOnTermination",
        ),
        (
            {"NetworkInterfaces": [{"NetworkInterfaceId": "eni-12345678"}]},
            "UnsupportedOperation",
            "NetworkInterfaceId",
        ),
        ({"SecurityGroups": ["web"]}, "InvalidGroup.NotFound", "'web' does not exist in default"),
    ],
)
def test_what_does_not_exist_or_agree_launches_nothing(
    ec2: Any, image: str, key: Any, *, parameters: dict[str, Any], expected: str, words: str
) -> None:
    subnet = networks.subnet(key.account_id, "condor-a")
    given = {name: subnet if value == "mine" else value for name, value in parameters.items()}
    with pytest.raises(ClientError, match=words) as caught:
        launch(ec2, image, **given)
    assert code(caught) == expected
    assert ec2.describe_instances()["Reservations"] == []


def test_another_account_s_subnet_and_group_do_not_exist(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    other = networks.of(endpoint.new_key().account_id)
    for parameters, expected in (
        ({"SubnetId": networks.subnet(other.account_id, "condor-a")}, "InvalidSubnetID.NotFound"),
        ({"SecurityGroupIds": [other.security_group]}, "InvalidGroup.NotFound"),
    ):
        with pytest.raises(ClientError) as caught:
            launch(ec2, image, **parameters)
        assert code(caught) == expected


def test_a_token_is_bound_to_the_network_that_was_named(ec2: Any, image: str, key: Any) -> None:
    own = networks.of(key.account_id)
    subnet = networks.subnet(key.account_id, "condor-a")
    first = launch(ec2, image, ClientToken="one", SubnetId=subnet)
    again = launch(ec2, image, ClientToken="one", SubnetId=subnet)
    assert first["InstanceId"] == again["InstanceId"]
    for change in (
        {},
        {"SecurityGroupIds": [own.security_group]},
        {"SecurityGroups": ["default"]},
        {"NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": subnet}]},
    ):
        with pytest.raises(ClientError) as caught:
            launch(ec2, image, ClientToken="one", **change)
        assert code(caught) == "IdempotentParameterMismatch"


def test_an_interface_has_no_tags_of_its_own(ec2: Any, image: str) -> None:
    interface = launch(ec2, image)["NetworkInterfaces"][0]["NetworkInterfaceId"]
    with pytest.raises(ClientError, match=interface) as caught:
        ec2.create_tags(Resources=[interface], Tags=[{"Key": "Name", "Value": "x"}])
    assert code(caught) == "UnsupportedOperation"


def test_guests_send_nothing_out_in_a_name_that_is_not_their_network_s() -> None:
    made = network.rules(Settings(pool_network="10.9.0.0/24", pool_bridge="guests0"))
    forward = [
        command["add"]["rule"]["expr"]
        for command in made
        if command["add"].get("rule", {}).get("chain") == "forward"
    ]
    source = {"payload": {"protocol": "ip", "field": "saddr"}}
    [foreign] = [
        expressions
        for expressions in forward
        if any(
            one.get("match", {}).get("op") == "!=" and one["match"]["left"] == source
            for one in expressions
        )
    ]
    # What comes from the guests' bridge and does not stay on it.
    for match, operator in zip(foreign[:2], ("==", "!="), strict=True):
        assert (match["match"]["op"], match["match"]["right"]) == (operator, "guests0")
    assert foreign[2]["match"]["right"] == {"prefix": {"addr": "10.9.0.0", "len": 24}}
    assert foreign[3] == {"drop": None}
    assert forward.index(foreign) < forward.index([foreign[0], {"accept": None}])
