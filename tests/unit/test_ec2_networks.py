# SPDX-License-Identifier: Apache-2.0
"""The network that is there: what every account has of it, and what nobody has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from answers import code
from botocore.exceptions import ClientError

from gateway.config import Settings, SettingsError, load
from gateway.ec2 import network_document, security_groups

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Endpoint

    from gateway.ec2.network_document import Names


class Kind(NamedTuple):
    call: str
    member: str
    id_member: str
    ids: str
    prefix: str
    not_found: str
    malformed: str
    filters: Names

    def described(self, ec2: Any, **parameters: Any) -> list[dict[str, Any]]:
        answer = getattr(ec2, self.call)(**parameters)
        assert not answer.get("NextToken")
        found: list[dict[str, Any]] = answer[self.member]
        return found


KINDS = [
    Kind(
        "describe_vpcs",
        "Vpcs",
        "VpcId",
        "VpcIds",
        "vpc",
        "InvalidVpcID.NotFound",
        "InvalidVpcID.Malformed",
        network_document.VPC_FILTERS,
    ),
    Kind(
        "describe_subnets",
        "Subnets",
        "SubnetId",
        "SubnetIds",
        "subnet",
        "InvalidSubnetID.NotFound",
        "InvalidSubnetID.Malformed",
        network_document.SUBNET_FILTERS,
    ),
    Kind(
        "describe_internet_gateways",
        "InternetGateways",
        "InternetGatewayId",
        "InternetGatewayIds",
        "igw",
        "InvalidInternetGatewayID.NotFound",
        "InvalidInternetGatewayId.Malformed",
        network_document.INTERNET_GATEWAY_FILTERS,
    ),
    Kind(
        "describe_route_tables",
        "RouteTables",
        "RouteTableId",
        "RouteTableIds",
        "rtb",
        "InvalidRouteTableID.NotFound",
        "InvalidRouteTableId.Malformed",
        network_document.ROUTE_TABLE_FILTERS,
    ),
    Kind(
        "describe_network_acls",
        "NetworkAcls",
        "NetworkAclId",
        "NetworkAclIds",
        "acl",
        "InvalidNetworkAclID.NotFound",
        "InvalidNetworkAclId.Malformed",
        network_document.NETWORK_ACL_FILTERS,
    ),
    Kind(
        "describe_dhcp_options",
        "DhcpOptions",
        "DhcpOptionsId",
        "DhcpOptionsIds",
        "dopt",
        "InvalidDhcpOptionID.NotFound",
        "InvalidDhcpOptionsId.Malformed",
        network_document.DHCP_OPTIONS_FILTERS,
    ),
    Kind(
        "describe_security_groups",
        "SecurityGroups",
        "GroupId",
        "GroupIds",
        "sg",
        "InvalidGroup.NotFound",
        "InvalidGroupId.Malformed",
        security_groups.GROUPS.filters,
    ),
    Kind(
        "describe_security_group_rules",
        "SecurityGroupRules",
        "SecurityGroupRuleId",
        "SecurityGroupRuleIds",
        "sgr",
        "InvalidSecurityGroupRuleId.NotFound",
        "InvalidSecurityGroupRuleId.Malformed",
        security_groups.RULES.filters,
    ),
]
of_each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.call)


@of_each_kind
def test_an_account_always_has_the_same_and_nobody_else_s(
    endpoint: Endpoint, ec2: Any, kind: Kind
) -> None:
    mine = kind.described(ec2)
    assert mine == kind.described(ec2, MaxResults=5)
    ids = [one[kind.id_member] for one in mine]
    assert ids
    assert all(re.fullmatch(kind.prefix + "-[0-9a-f]{17}", one) for one in ids)
    assert mine == kind.described(ec2, **{kind.ids: ids})
    other = endpoint.client(endpoint.new_key())
    assert not {one[kind.id_member] for one in kind.described(other)} & set(ids)
    with pytest.raises(ClientError, match=ids[0]) as caught:
        kind.described(other, **{kind.ids: ids[:1]})
    assert code(caught) == kind.not_found


@of_each_kind
def test_unknown_and_malformed_ids_are_told_apart(ec2: Any, kind: Kind) -> None:
    [own, *_] = kind.described(ec2)
    for text, expected in (
        (f"{kind.prefix}-12345678", kind.not_found),
        (f"{kind.prefix}-x", kind.malformed),
        ("i-12345678", kind.malformed),
        ("", kind.malformed),
    ):
        with pytest.raises(ClientError) as caught:
            kind.described(ec2, **{kind.ids: [own[kind.id_member], text]})
        assert code(caught) == expected


@of_each_kind
def test_every_filter_of_ec2_is_known_and_no_other(ec2: Any, kind: Kind) -> None:
    for name in (*kind.filters, "tag-key", "tag:Name"):
        assert kind.described(ec2, Filters=[{"Name": name, "Values": ["nothing"]}]) == []
    with pytest.raises(ClientError, match="The filter 'color' is invalid") as caught:
        kind.described(ec2, Filters=[{"Name": "color", "Values": ["*"]}])
    assert code(caught) == "InvalidParameterValue"


@of_each_kind
def test_what_is_described_is_found_by_its_own_values(ec2: Any, kind: Kind) -> None:
    everything = kind.described(ec2)
    for name in kind.filters:
        found = kind.described(ec2, Filters=[{"Name": name, "Values": ["*"]}])
        assert found in ([], everything), name
    names = {"owner-id", "vpc-id", "state", "group-id", "key"} & kind.filters.keys()
    assert names
    for name in names:
        assert kind.described(ec2, Filters=[{"Name": name, "Values": ["*"]}]) == everything


@of_each_kind
def test_pages_are_of_ec2_s_sizes(ec2: Any, kind: Kind) -> None:
    most = 100 if kind.call == "describe_route_tables" else 1000
    for size in (4, most + 1):
        with pytest.raises(ClientError) as caught:
            kind.described(ec2, MaxResults=size)
        assert code(caught) == "InvalidParameterValue"
    with pytest.raises(ClientError) as caught:
        kind.described(ec2, NextToken="nonsense")
    assert code(caught) == "InvalidNextToken"


@of_each_kind
def test_it_can_be_tagged_by_its_owner_alone(endpoint: Endpoint, ec2: Any, kind: Kind) -> None:
    own = kind.described(ec2)[0][kind.id_member]
    tag = {"Key": "Name", "Value": "mine"}
    ec2.create_tags(Resources=[own], Tags=[tag])
    found = kind.described(ec2, Filters=[{"Name": "tag:Name", "Values": ["mine"]}])
    assert [(one[kind.id_member], one["Tags"]) for one in found] == [(own, [tag])]
    [described] = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [own]}])["Tags"]
    words = kind.call.removeprefix("describe_").replace("_", "-").removesuffix("s")
    assert described["ResourceType"] == {"dhcp-option": "dhcp-options"}.get(words, words)
    with pytest.raises(ClientError) as caught:
        endpoint.client(endpoint.new_key()).create_tags(Resources=[own], Tags=[tag])
    assert code(caught) == kind.not_found
    ec2.delete_tags(Resources=[own])
    assert kind.described(ec2)[0]["Tags"] == []


def test_the_network_s_parts_name_one_another(endpoint: Endpoint, ec2: Any, key: Any) -> None:
    [vpc] = ec2.describe_vpcs()["Vpcs"]
    [subnet] = ec2.describe_subnets()["Subnets"]
    [gateway] = ec2.describe_internet_gateways()["InternetGateways"]
    [table] = ec2.describe_route_tables()["RouteTables"]
    [acl] = ec2.describe_network_acls()["NetworkAcls"]
    [options] = ec2.describe_dhcp_options()["DhcpOptions"]
    cidr = str(endpoint.settings.guests)
    assert (vpc["IsDefault"], vpc["State"], vpc["CidrBlock"]) == (True, "available", cidr)
    assert vpc["DhcpOptionsId"] == options["DhcpOptionsId"]
    assert {one["OwnerId"] for one in (vpc, subnet, gateway, table, acl, options)} == {
        key.account_id
    }
    assert subnet["VpcId"] == table["VpcId"] == acl["VpcId"] == vpc["VpcId"]
    assert (subnet["DefaultForAz"], subnet["MapPublicIpOnLaunch"]) == (True, False)
    assert subnet["AvailabilityZone"] == "condor-a"
    assert gateway["Attachments"] == [{"State": "available", "VpcId": vpc["VpcId"]}]
    assert [(one["DestinationCidrBlock"], one["GatewayId"]) for one in table["Routes"]] == [
        (cidr, "local"),
        ("0.0.0.0/0", gateway["InternetGatewayId"]),
    ]
    assert table["Associations"][0]["Main"]
    assert acl["Associations"][0]["SubnetId"] == subnet["SubnetId"]
    assert options["DhcpConfigurations"] == [
        {"Key": "domain-name-servers", "Values": [{"Value": str(endpoint.settings.guests[1])}]}
    ]


def test_the_security_group_lets_everything_pass_because_nothing_is_filtered(ec2: Any) -> None:
    [group] = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
    everything = {
        "IpProtocol": "-1",
        "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
        "Ipv6Ranges": [],
        "PrefixListIds": [],
        "UserIdGroupPairs": [],
    }
    assert group["IpPermissions"] == group["IpPermissionsEgress"] == [everything]
    assert group["VpcId"] == ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    rules = ec2.describe_security_group_rules(
        Filters=[{"Name": "group-id", "Values": [group["GroupId"]]}]
    )["SecurityGroupRules"]
    assert sorted(rule["IsEgress"] for rule in rules) == [False, True]
    assert {(rule["IpProtocol"], rule["CidrIpv4"]) for rule in rules} == {("-1", "0.0.0.0/0")}
    with pytest.raises(
        ClientError, match=f"'web' does not exist in .* '{group['VpcId']}'"
    ) as caught:
        ec2.describe_security_groups(GroupNames=["default", "web"])
    assert code(caught) == "InvalidGroup.NotFound"
    with pytest.raises(ClientError) as caught:
        ec2.create_security_group(GroupName="web", Description="web")
    assert code(caught) == "InvalidAction"


def test_the_vpc_s_attributes_are_described_one_by_one(ec2: Any) -> None:
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    for attribute, member, value in (
        ("enableDnsSupport", "EnableDnsSupport", True),
        ("enableDnsHostnames", "EnableDnsHostnames", False),
        ("enableNetworkAddressUsageMetrics", "EnableNetworkAddressUsageMetrics", False),
    ):
        answer = ec2.describe_vpc_attribute(VpcId=vpc, Attribute=attribute)
        assert answer[member] == {"Value": value}
        assert answer["VpcId"] == vpc
    for parameters, expected in (
        ({"VpcId": vpc, "Attribute": "color"}, "InvalidParameterValue"),
        ({"VpcId": vpc}, "MissingParameter"),
        ({"VpcId": "vpc-12345678", "Attribute": "enableDnsSupport"}, "InvalidVpcID.NotFound"),
    ):
        with pytest.raises(ClientError) as caught:
            ec2.describe_vpc_attribute(**parameters)
        assert code(caught) == expected


def test_the_guests_network_is_the_embedded_pool_s_unless_it_is_set(tmp_path: Path) -> None:
    assert str(Settings(pool_network="10.1.0.0/24").guests) == "10.1.0.0/24"
    assert str(Settings(guest_network="10.2.0.0/16").guests) == "10.2.0.0/16"
    file = tmp_path / "gateway.toml"
    file.touch()
    for wrong in ("10.2.0.1/16", "everywhere"):
        with pytest.raises(SettingsError, match="guest_network"):
            load(file, {"CONDOR_CLOUD_GUEST_NETWORK": wrong})
