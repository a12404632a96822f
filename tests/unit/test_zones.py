# SPDX-License-Identifier: Apache-2.0
"""Availability zones, as the pool's nodes make them and each front end shows them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from answers import code
from botocore.exceptions import ClientError

from execnode import ads
from gateway.cloud import networks, zones
from gateway.cloud.errors import NotFound
from gateway.store import cursors, database, instances, machines, schema
from gateway.store.machines import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Endpoint
    from deltacloud_client import Client

    from gateway.store.access_keys import AccessKey

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture
def nodes(endpoint: Endpoint) -> Iterator[None]:
    """A pool in which zone b has a node, and zone a's and c's have gone."""
    a, b, c = (Machine(f"m{zone}", zone, f"condor-{zone}", NOW) for zone in "abc")
    with database.writing(endpoint.database) as db:
        zones.record(db, [a, b, c], NOW)
        zones.record(db, [b], NOW)
    yield
    with database.writing(endpoint.database) as db:
        machines.delete(db, ["ma", "mb", "mc"])
        db.execute(schema.cursors.delete().where(schema.cursors.c.name == zones.LOOKED))


@pytest.fixture
def renamed(endpoint: Endpoint, ec2: Any, image: str) -> Iterator[dict[str, Any]]:
    """An instance in a zone whose only node has been given another one since."""
    node = Machine("m", "m", "condor-old", NOW)
    with database.writing(endpoint.database) as db:
        zones.record(db, [node], NOW)
    instance = launch(ec2, image, Placement={"AvailabilityZone": "condor-old"})
    with database.writing(endpoint.database) as db:
        zones.record(db, [node._replace(zone="condor-new")], NOW)
    yield instance
    with database.writing(endpoint.database) as db:
        machines.delete(db, ["m"])
        db.execute(schema.cursors.delete().where(schema.cursors.c.name == zones.LOOKED))


def launch(ec2: Any, image: str, **where: Any) -> dict[str, Any]:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, **where)
    instance: dict[str, Any] = launched["Instances"][0]
    return instance


def test_a_zone_is_available_while_a_node_of_it_is_there(ec2: Any, nodes: None) -> None:
    found = ec2.describe_availability_zones()["AvailabilityZones"]
    states = {zone["ZoneName"]: (zone["State"], bool(zone["Messages"])) for zone in found}
    assert states == {
        "condor-a": ("unavailable", True),
        "condor-b": ("available", False),
        "condor-c": ("unavailable", True),
    }
    both = {"ZoneNames": ["condor-a", "condor-b"], "ZoneIds": ["condor-b", "condor-c"]}
    [one] = ec2.describe_availability_zones(**both)["AvailabilityZones"]
    assert (one["ZoneName"], one["ZoneId"]) == ("condor-b", "condor-b")
    assert [
        zone["ZoneName"]
        for zone in ec2.describe_availability_zones(
            Filters=[{"Name": "state", "Values": ["unavailable"]}]
        )["AvailabilityZones"]
    ] == ["condor-a", "condor-c"]


@pytest.mark.parametrize("member", ["AvailabilityZone", "AvailabilityZoneId"])
def test_a_launch_is_described_in_the_zone_that_it_names(
    ec2: Any, key: AccessKey, image: str, nodes: None, member: str
) -> None:
    instance = launch(ec2, image, Placement={member: "condor-c"})
    assert instance["Placement"]["AvailabilityZone"] == "condor-c"
    assert instance["SubnetId"] == networks.subnet(key.account_id, "condor-c")
    [interface] = instance["NetworkInterfaces"]
    assert interface["SubnetId"] == instance["SubnetId"]
    by_id = {"Filters": [{"Name": "availability-zone-id", "Values": ["condor-c"]}]}
    [found] = ec2.describe_instances(**by_id)["Reservations"]
    assert found["Instances"][0]["InstanceId"] == instance["InstanceId"]
    [status] = ec2.describe_instance_status(IncludeAllInstances=True, **by_id)["InstanceStatuses"]
    assert status["InstanceId"] == instance["InstanceId"]
    [card] = ec2.describe_network_interfaces(**by_id)["NetworkInterfaces"]
    assert card["AvailabilityZoneId"] == "condor-c"


def test_a_launch_that_names_no_zone_is_described_in_one_that_has_nodes(
    ec2: Any, image: str, nodes: None
) -> None:
    assert launch(ec2, image)["Placement"]["AvailabilityZone"] == "condor-b"


def test_a_subnet_chooses_its_zone(ec2: Any, image: str, nodes: None) -> None:
    subnets = {one["AvailabilityZone"]: one for one in ec2.describe_subnets()["Subnets"]}
    assert sorted(subnets) == ["condor-a", "condor-b", "condor-c"]
    assert all(one["DefaultForAz"] for one in subnets.values())
    [acl] = ec2.describe_network_acls()["NetworkAcls"]
    ids = {one["SubnetId"] for one in subnets.values()}
    assert {one["SubnetId"] for one in acl["Associations"]} == ids
    chosen = subnets["condor-c"]["SubnetId"]
    ec2.create_tags(Resources=[chosen], Tags=[{"Key": "Tier", "Value": "c"}])
    [found] = ec2.describe_subnets(Filters=[{"Name": "tag:Tier", "Values": ["c"]}])["Subnets"]
    assert found["SubnetId"] == chosen
    for asked in (
        {"SubnetId": chosen},
        {"SubnetId": chosen, "Placement": {"AvailabilityZone": "condor-c"}},
        {"NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": chosen}]},
    ):
        instance = launch(ec2, image, **asked)
        assert instance["Placement"]["AvailabilityZone"] == "condor-c"
        assert instance["SubnetId"] == chosen


def test_a_zone_that_there_is_not_or_that_contradicts_its_subnet_is_refused(
    ec2: Any, key: AccessKey, image: str, nodes: None
) -> None:
    subnet = networks.subnet(key.account_id, "condor-b")
    elsewhere = networks.subnet(key.account_id, "condor-x")
    a = {"AvailabilityZone": "condor-a"}
    contradiction = (
        "Value (condor-a) for parameter availabilityZone is invalid."
        f" Subnet '{subnet}' is in the availability zone condor-b"
    )
    cases: list[tuple[dict[str, Any], str, str]] = [
        (
            {"Placement": {"AvailabilityZone": "us-east-1a"}},
            "InvalidParameterValue",
            "Invalid availability zone: [us-east-1a]",
        ),
        (
            {"Placement": {"AvailabilityZoneId": "use1-az1"}},
            "InvalidParameterValue",
            "Invalid availability zone: [use1-az1]",
        ),
        (
            {"Placement": a, "SubnetId": subnet},
            "InvalidParameterValue",
            contradiction,
        ),
        (
            {"Placement": a, "NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": subnet}]},
            "InvalidParameterValue",
            contradiction,
        ),
        (
            {"Placement": a | {"AvailabilityZoneId": "condor-a"}},
            "InvalidParameterCombination",
            "The parameter AvailabilityZone cannot be used with the parameter AvailabilityZoneId",
        ),
        (
            {"SubnetId": elsewhere},
            "InvalidSubnetID.NotFound",
            f"The subnet ID '{elsewhere}' does not exist",
        ),
    ]
    for given, expected, message in cases:
        with pytest.raises(ClientError) as caught:
            launch(ec2, image, **given)
        assert code(caught) == expected
        assert caught.value.response["Error"]["Message"] == message


def test_every_type_is_offered_in_every_zone_page_by_page(ec2: Any, nodes: None) -> None:
    asked: dict[str, Any] = {
        "LocationType": "availability-zone",
        "Filters": [{"Name": "instance-type", "Values": ["small", "large"]}],
    }
    pages = ec2.get_paginator("describe_instance_type_offerings").paginate(
        **asked, PaginationConfig={"PageSize": 5}
    )
    found = [
        (one["InstanceType"], one["Location"])
        for page in pages
        for one in page["InstanceTypeOfferings"]
    ]
    assert found == [
        (name, f"condor-{zone}") for name in ("large", "small") for zone in ("a", "b", "c")
    ]


def test_a_zone_that_no_node_names_any_more_stays_while_instances_are_described_in_it(
    endpoint: Endpoint, ec2: Any, image: str, renamed: dict[str, Any]
) -> None:
    names = {"ZoneNames": ["condor-old"]}
    [zone] = ec2.describe_availability_zones(**names)["AvailabilityZones"]
    assert zone["State"] == "impaired"
    [message] = zone["Messages"]
    assert "your instances" in message["Message"]
    for name, value in (("state", "impaired"), ("message", "No node of the pool*")):
        asked = {"Filters": [{"Name": name, "Values": [value]}]}
        assert ec2.describe_availability_zones(**asked)["AvailabilityZones"] == [zone]
    subnet = renamed["SubnetId"]
    [found] = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]
    assert found["AvailabilityZone"] == "condor-old"
    # Nothing is put there that does not ask for it.
    assert launch(ec2, image)["Placement"]["AvailabilityZone"] == "condor-new"


def test_a_zone_that_was_left_is_there_for_those_whose_instances_are_described_in_it(
    endpoint: Endpoint, key: AccessKey, client: Client, renamed: dict[str, Any]
) -> None:
    [realm] = [one for one in client.json("/api/realms")["realms"] if one["id"] == "condor-old"]
    assert realm["state"] == "UNAVAILABLE"
    other = endpoint.client(endpoint.new_key())
    seen = other.describe_availability_zones()["AvailabilityZones"]
    assert [one["ZoneName"] for one in seen] == ["condor-a", "condor-new"]
    with pytest.raises(ClientError) as caught:
        other.describe_availability_zones(ZoneNames=["condor-old"])
    assert code(caught) == "InvalidParameterValue"
    with database.writing(endpoint.database) as db:
        instances.delete(db, [renamed["InstanceId"]])
        left = zones.known(db, "condor-a", key.account_id)
    assert [one.name for one in left] == ["condor-a", "condor-new"]


def test_realms_are_the_zones_and_an_instance_can_be_made_in_one(
    client: Client, image: str, nodes: None
) -> None:
    realms = {one["id"]: one["state"] for one in client.json("/api/realms")["realms"]}
    assert realms == {
        "condor-a": "UNAVAILABLE",
        "condor-b": "AVAILABLE",
        "condor-c": "UNAVAILABLE",
    }
    assert client.xml("/api/realms/condor-c")["realm"]["state"] == "UNAVAILABLE"
    given = {"image_id": image, "realm_id": "condor-c"}
    made = client.ask("POST", "/api/instances", data=given)
    assert made.get_json()["instance"]["realm"]["id"] == "condor-c"
    refused = client.ask("POST", "/api/instances", data=given | {"realm_id": "condor-x"})
    assert refused.status_code == 404


@pytest.mark.parametrize(
    ("told", "zone"),
    [
        (None, "default"),
        ("", "default"),
        ("condor-b", "condor-b"),
        ("9", "9"),
        *[(bad, None) for bad in ("Condor-B", "two words", "-x", "x" * 65, "x\n", 7, "ä")],
    ],
)
def test_a_node_is_in_the_zone_that_it_names_or_in_the_default_one(
    told: object, zone: str | None
) -> None:
    assert zones.of_node(told, "default") == zone


def test_a_node_is_remembered_for_a_month_after_it_was_seen(endpoint: Endpoint) -> None:
    with database.writing(endpoint.database) as db:
        zones.record(db, [Machine("m", "h", "far", NOW)], NOW)
        zones.record(db, [], NOW + zones.KEPT)
        assert zones.Zone("far", 0) in zones.known(db, "condor-a")
        zones.record(db, [], NOW + zones.KEPT + timedelta(seconds=1))
        assert [zone.name for zone in zones.known(db, "condor-a")] == ["condor-a"]
        with pytest.raises(NotFound):
            zones.check(zones.known(db, "condor-a"), "far")
        assert cursors.get(db, zones.LOOKED) is not None
        db.execute(schema.cursors.delete().where(schema.cursors.c.name == zones.LOOKED))


def test_before_anybody_has_looked_the_default_zone_is_taken_for_available(
    endpoint: Endpoint,
) -> None:
    with database.reading(endpoint.database) as db:
        [zone] = zones.known(db, "condor-a")
    assert (zone.name, zone.available) == ("condor-a", True)
    assert zones.choose([zone], "condor-a") == "condor-a"


@pytest.mark.parametrize(
    ("ad", "zone"),
    [
        ('Machine = "m"\nCondorCloudZone = "condor-b"\n', "condor-b"),
        ('CondorCloudZone = ""\n', ""),
        ('CondorCloudZone = strcat("a", "b")\n', ""),
        ("CondorCloudZone = 7\n", ""),
        (f'CondorCloudZone = "{"x" * 65}"\n', ""),
        ('Machine = "m"\n', ""),
        (None, ""),
    ],
)
def test_a_supervisor_reads_its_nodes_zone_from_the_machine_ad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ad: str | None, zone: str
) -> None:
    file = tmp_path / ".machine.ad"
    if ad is not None:
        file.write_text(ad)
    monkeypatch.setenv("_CONDOR_MACHINE_AD", str(file))
    assert ads.zone() == zone
    monkeypatch.delenv("_CONDOR_MACHINE_AD")
    assert ads.zone() == ""
