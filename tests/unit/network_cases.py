# SPDX-License-Identifier: Apache-2.0
"""Calls of the actions about the network, for action_cases.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from action_cases import PAGE, Case, where

from gateway.cloud import networks
from gateway.cloud.ids import PREFIXES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from action_cases import World
    from conftest import Endpoint

    from gateway.cloud.networks import Network
    from gateway.store.access_keys import AccessKey

ZONE = "condor-a"
DNS = "enableDnsSupport"


def _own(world: World) -> Network:
    # These ids follow from the account's.
    return networks.of(world.account)


def _of_one_kind(ids: str, kind: str, not_found: str) -> Case:
    def one(w: World) -> dict[str, Any]:
        return {ids: list(_own(w).of_kind(kind, [ZONE]))}

    unknown = f"{PREFIXES[kind]}-0123456789abcdef0"
    return Case(
        [
            lambda _: PAGE,
            one,
            lambda _: {"Filters": where("tag-key", "key")},
        ],
        [(not_found, lambda _: {ids: [unknown]})],
        ids=[ids],
    )


def launch_by_interface(w: World) -> dict[str, Any]:
    return {
        "ImageId": w.image,
        "MinCount": 1,
        "MaxCount": 1,
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "SubnetId": networks.subnet(w.account, ZONE),
                "Groups": [_own(w).security_group],
                "AssociatePublicIpAddress": False,
                "DeleteOnTermination": True,
            }
        ],
    }


def launch_by_ids(w: World) -> dict[str, Any]:
    return {
        "ImageId": w.image,
        "MinCount": 1,
        "MaxCount": 1,
        "SubnetId": networks.subnet(w.account, ZONE),
        "SecurityGroupIds": [_own(w).security_group],
    }


def launch_by_name(w: World) -> dict[str, Any]:
    return {"ImageId": w.image, "MinCount": 1, "MaxCount": 1, "SecurityGroups": ["default"]}


def _one_more_instance(endpoint: Endpoint, key: AccessKey, w: World, _number: int) -> None:
    endpoint.client(key).run_instances(ImageId=w.image, MinCount=1, MaxCount=1)


NETWORK_CASES: Mapping[str, Case] = {
    "DescribeDhcpOptions": _of_one_kind(
        "DhcpOptionsIds", "dhcp options", "InvalidDhcpOptionID.NotFound"
    ),
    "DescribeInternetGateways": _of_one_kind(
        "InternetGatewayIds", "internet gateway", "InvalidInternetGatewayID.NotFound"
    ),
    "DescribeNetworkAcls": _of_one_kind(
        "NetworkAclIds", "network acl", "InvalidNetworkAclID.NotFound"
    ),
    "DescribeNetworkInterfaces": Case(
        [
            lambda _: PAGE,
            lambda w: {"NetworkInterfaceIds": [networks.interface_id(w.instance)]},
            lambda w: {"Filters": where("attachment.instance-id", w.instance)},
        ],
        [
            (
                "InvalidNetworkInterfaceID.NotFound",
                lambda _: {"NetworkInterfaceIds": ["eni-0123456789abcdef0"]},
            )
        ],
        rows=_one_more_instance,
        ids=["NetworkInterfaceIds"],
    ),
    "DescribeRouteTables": _of_one_kind(
        "RouteTableIds", "route table", "InvalidRouteTableID.NotFound"
    ),
    "DescribeSecurityGroupRules": _of_one_kind(
        "SecurityGroupRuleIds", "security group rule", "InvalidSecurityGroupRuleId.NotFound"
    ),
    "DescribeSecurityGroups": Case(
        [
            lambda _: PAGE,
            lambda w: {"GroupIds": [_own(w).security_group]},
            lambda _: {"GroupNames": ["default"], "Filters": where("group-name", "def*")},
        ],
        [
            ("InvalidGroup.NotFound", lambda _: {"GroupNames": ["web"]}),
            ("InvalidGroup.NotFound", lambda _: {"GroupIds": ["sg-0123456789abcdef0"]}),
        ],
        ids=["GroupIds", "GroupNames"],
    ),
    "DescribeSubnets": _of_one_kind("SubnetIds", "subnet", "InvalidSubnetID.NotFound"),
    "DescribeVpcAttribute": Case(
        [lambda w: {"VpcId": _own(w).vpc, "Attribute": DNS}],
        [
            (
                "InvalidVpcID.NotFound",
                lambda _: {"VpcId": "vpc-0123456789abcdef0", "Attribute": DNS},
            )
        ],
    ),
    "DescribeVpcs": _of_one_kind("VpcIds", "vpc", "InvalidVpcID.NotFound"),
}
