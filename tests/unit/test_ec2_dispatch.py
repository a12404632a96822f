# SPDX-License-Identifier: Apache-2.0
"""What holds for every action."""

from __future__ import annotations

import dataclasses
import http.client
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from answers import code
from botocore.exceptions import ClientError

from gateway.cloud import keypairs
from gateway.ec2 import dispatch, filters
from gateway.ec2.actions import ACTIONS
from gateway.ec2.dispatch import action
from gateway.errors import FilterLimitExceeded, InvalidParameterValue, MissingParameter

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Endpoint

    from gateway.cloud.keypairs import NewKey


def test_an_action_that_is_not_there_is_said_so_in_ec2_s_words(ec2: Any) -> None:
    expected = "The action DescribeAddressesAttribute is not valid for this web service."
    with pytest.raises(ClientError, match=expected) as caught:
        ec2.describe_addresses_attribute()
    assert code(caught) == "InvalidAction"


def test_the_capabilities_are_served_and_cover_every_parameter(endpoint: Endpoint) -> None:
    connection = http.client.HTTPConnection(urlsplit(endpoint.url).netloc)
    connection.request("GET", "/capabilities")
    served = json.load(connection.getresponse())
    connection.close()
    assert served.keys() == ACTIONS.keys()
    for name, chosen in ACTIONS.items():
        told = served[name]
        everything = {*told["honoured"], *told["only"], *told["harmless"], *told["refused"]}
        assert {path.partition(".")[0] for path in everything} == set(
            chosen.operation.input.members
        )
        assert all(told["harmless"].values())


def test_a_parameter_that_ec2_does_not_have_cannot_be_declared() -> None:
    def describe_regions(ctx: object, *, RegionName: str) -> dict[str, Any]:  # noqa: N803
        return {"ctx": ctx, "RegionName": RegionName}

    with pytest.raises(ValueError, match="DescribeRegions has no parameter RegionName"):
        action()(describe_regions)


def test_an_action_that_ec2_does_not_have_cannot_be_declared() -> None:
    def make_coffee(ctx: object) -> dict[str, Any]:
        return {"ctx": ctx}

    with pytest.raises(ValueError, match="MakeCoffee"):
        action()(make_coffee)


NAMES = {"name": lambda item: item}


def match(value: str, *patterns: str) -> bool:
    given = [{"Name": "name", "Values": list(patterns)}]
    return filters.Filters[str](given, NAMES).match(value)


@pytest.mark.parametrize(
    ("value", "pattern", "expected"),
    [
        ("abc", "abc", True),
        ("abc", "ab", False),
        ("abc", "a*", True),
        ("abc", "*c", True),
        ("abc", "a*c", True),
        ("abc", "a?c", True),
        ("abc", "a?", False),
        ("abc", "**", True),
        ("", "*", True),
        ("a.c", "a.c", True),
        ("abc", "a.c", False),
        ("a*c", "a\\*c", True),
        ("abc", "a\\*c", False),
        ("a\\c", "a\\\\c", True),
        ("a\\", "a\\", True),
        ("a\nc", "a*c", True),
        ("abcabc", "*b*b*", True),
        ("abab", "*ab", True),
    ],
)
def test_stars_and_question_marks_match(value: str, pattern: str, *, expected: bool) -> None:
    assert match(value, pattern) is expected


def test_no_pattern_takes_long() -> None:
    assert not match("a" * 250, "*a" * 100 + "*b")


def test_too_many_filter_values_are_refused() -> None:
    assert match("x", *["x"] * 200)
    with pytest.raises(FilterLimitExceeded):
        match("x", *["x"] * 201)


def test_a_filter_without_name_or_values_is_refused() -> None:
    with pytest.raises(InvalidParameterValue):
        filters.Filters[str]([{"Values": ["x"]}], NAMES)
    with pytest.raises(MissingParameter):
        filters.Filters[str]([{"Name": "name"}], NAMES)
    with pytest.raises(InvalidParameterValue):
        filters.Filters[str]([{"Name": "tag:x", "Values": ["x"]}], NAMES)


def test_there_is_one_region_and_one_zone(ec2: Any) -> None:
    region = ec2.describe_regions(Filters=[{"Name": "region-name", "Values": ["con*"]}])
    assert [one["RegionName"] for one in region["Regions"]] == ["condor"]
    zone = ec2.describe_availability_zones(ZoneNames=["condor-a"])["AvailabilityZones"][0]
    assert (zone["State"], zone["RegionName"]) == ("available", "condor")
    calls: dict[str, Callable[[], Any]] = {
        r"Invalid region: \[x\]": lambda: ec2.describe_regions(RegionNames=["condor", "x"]),
        r"Invalid availability zone: \[x\]": lambda: ec2.describe_availability_zones(
            ZoneNames=["x", "y"]
        ),
        r"Invalid availability zone-id: \[x\]": lambda: ec2.describe_availability_zones(
            ZoneIds=["x"]
        ),
    }
    for message, call in calls.items():
        with pytest.raises(ClientError, match=message) as caught:
            call()
        assert code(caught) == "InvalidParameterValue"


def test_instance_types_are_described_filtered_and_paged(ec2: Any) -> None:
    small = ec2.describe_instance_types(InstanceTypes=["small"])["InstanceTypes"][0]
    assert small["VCpuInfo"]["DefaultVCpus"] == 1
    assert small["MemoryInfo"]["SizeInMiB"] == 512
    assert small["SupportedUsageClasses"] == ["on-demand", "spot"]
    two = ec2.describe_instance_types(
        Filters=[
            {"Name": "vcpu-info.default-vcpus", "Values": ["2"]},
            {"Name": "instance-type", "Values": ["t3.*"]},
        ]
    )["InstanceTypes"]
    assert {one["InstanceType"] for one in two} == {
        f"t3.{size}" for size in ("nano", "micro", "small", "medium", "large")
    }
    pages = ec2.get_paginator("describe_instance_types").paginate(PaginationConfig={"PageSize": 7})
    paged = [one["InstanceType"] for page in pages for one in page["InstanceTypes"]]
    assert paged == [one["InstanceType"] for one in ec2.describe_instance_types()["InstanceTypes"]]
    with pytest.raises(ClientError, match=r"do not exist: \[x9.huge\]") as caught:
        ec2.describe_instance_types(InstanceTypes=["x9.huge", "small"])
    assert code(caught) == "InvalidInstanceType"


@pytest.mark.parametrize(
    ("location_type", "location"),
    [
        ("region", "condor"),
        ("availability-zone", "condor-a"),
        ("availability-zone-id", "condor-a"),
    ],
)
def test_every_instance_type_is_offered_everywhere(
    ec2: Any, location_type: str, location: str
) -> None:
    names = [one["InstanceType"] for one in ec2.describe_instance_types()["InstanceTypes"]]
    offered = ec2.describe_instance_type_offerings(LocationType=location_type)
    assert [one["InstanceType"] for one in offered["InstanceTypeOfferings"]] == names
    found = ec2.describe_instance_type_offerings(
        LocationType=location_type,
        Filters=[
            {"Name": "instance-type", "Values": ["t3.nano", "x9.huge"]},
            {"Name": "location", "Values": [location]},
        ],
    )["InstanceTypeOfferings"]
    assert found == [
        {"InstanceType": "t3.nano", "LocationType": location_type, "Location": location}
    ]


def test_offerings_are_paged_and_an_unknown_kind_of_location_is_refused(ec2: Any) -> None:
    everything = ec2.describe_instance_type_offerings()["InstanceTypeOfferings"]
    paginator = ec2.get_paginator("describe_instance_type_offerings")
    pages = paginator.paginate(PaginationConfig={"PageSize": 5})
    assert [one for page in pages for one in page["InstanceTypeOfferings"]] == everything
    outposts = ec2.describe_instance_type_offerings(LocationType="outpost")
    assert outposts["InstanceTypeOfferings"] == []
    with pytest.raises(ClientError, match="moon") as caught:
        ec2.describe_instance_type_offerings(LocationType="moon")
    assert code(caught) == "InvalidParameterValue"


def test_an_account_s_attributes_are_described(endpoint: Endpoint, ec2: Any) -> None:
    def attributes(**parameters: Any) -> dict[str, list[str]]:
        found = ec2.describe_account_attributes(**parameters)["AccountAttributes"]
        return {
            one["AttributeName"]: [value["AttributeValue"] for value in one["AttributeValues"]]
            for one in found
        }

    assert attributes()["max-instances"] == [str(endpoint.settings.instance_limit)]
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    assert attributes(AttributeNames=["default-vpc"]) == {"default-vpc": [vpc]}
    assert attributes()["supported-platforms"] == ["VPC"]
    with pytest.raises(ClientError, match="luck") as caught:
        attributes(AttributeNames=["luck"])
    assert code(caught) == "InvalidParameterValue"


def test_what_an_action_prepares_holds_up_no_other_writer(
    endpoint: Endpoint, ec2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def prepare(*, KeyType: str = "rsa") -> NewKey:  # noqa: N803
        written.append(endpoint.new_key())
        return keypairs.generate(KeyType)

    slow = dataclasses.replace(ACTIONS["CreateKeyPair"], prepare=prepare)
    monkeypatch.setitem(dispatch.ACTIONS, "CreateKeyPair", slow)
    assert ec2.create_key_pair(KeyName="made", KeyType="ed25519")["KeyMaterial"]
    assert len(written) == 1
