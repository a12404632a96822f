# SPDX-License-Identifier: Apache-2.0
"""How the network and what belongs to it look in EC2's answers, and what their filters look at.

docs/explanation/network.md says why each of these is so. A filter that is here with None is one
that EC2 has for what nothing here has: it is known, and nothing passes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import networks
from gateway.store.instance_counts import count_addresses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.ec2.context import Context
    from gateway.ec2.filters import Value

Document = dict[str, Any]
Names = dict[str, "Callable[[Document], Value | Iterable[Value]]"]

ANYWHERE = "0.0.0.0/0"

TAKEN = 3
"""Addresses of a network that no guest gets: its own, the node's and the one for all."""


def member(name: str) -> Callable[[Document], Value]:
    """Return what looks at a member of a document."""
    return lambda document: document[name]


def absent(*names: str) -> Names:
    """Return filters that nothing passes."""
    return dict.fromkeys(names, lambda _: None)


def vpc(ctx: Context) -> Document:
    """Return the structure ``Vpc`` without its tags."""
    own = networks.of(ctx.account_id)
    cidr = str(ctx.settings.guests)
    return {
        "VpcId": own.vpc,
        "OwnerId": ctx.account_id,
        "InstanceTenancy": "default",
        "IsDefault": True,
        "State": "available",
        "CidrBlock": cidr,
        "CidrBlockAssociationSet": [
            {
                "AssociationId": own.vpc_cidr_association,
                "CidrBlock": cidr,
                "CidrBlockState": {"State": "associated"},
            }
        ],
        "DhcpOptionsId": own.dhcp_options,
    }


VPC_FILTERS: Names = {
    "cidr": member("CidrBlock"),
    "cidr-block-association.association-id": lambda vpc: (
        one["AssociationId"] for one in vpc["CidrBlockAssociationSet"]
    ),
    "cidr-block-association.cidr-block": lambda vpc: (
        one["CidrBlock"] for one in vpc["CidrBlockAssociationSet"]
    ),
    "cidr-block-association.state": lambda vpc: (
        one["CidrBlockState"]["State"] for one in vpc["CidrBlockAssociationSet"]
    ),
    "dhcp-options-id": member("DhcpOptionsId"),
    "is-default": member("IsDefault"),
    "isDefault": member("IsDefault"),
    "owner-id": member("OwnerId"),
    "state": member("State"),
    "vpc-id": member("VpcId"),
    **absent(
        "ipv6-cidr-block-association.association-id",
        "ipv6-cidr-block-association.ipv6-cidr-block",
        "ipv6-cidr-block-association.ipv6-pool",
        "ipv6-cidr-block-association.state",
    ),
}


def subnets(ctx: Context) -> list[Document]:
    """Return the structures ``Subnet`` without their tags: one for each zone."""
    net = ctx.settings.guests
    free = max(0, net.num_addresses - TAKEN - count_addresses(ctx.db))
    return [_subnet(ctx, zone, str(net), free) for zone in ctx.zone_names]


def _subnet(ctx: Context, zone: str, cidr: str, free: int) -> Document:
    own = networks.of(ctx.account_id)
    subnet_id = networks.subnet(ctx.account_id, zone)
    return {
        "SubnetId": subnet_id,
        "SubnetArn": f"arn:aws:ec2:{ctx.settings.region}:{ctx.account_id}:subnet/{subnet_id}",
        "VpcId": own.vpc,
        "OwnerId": ctx.account_id,
        "State": "available",
        "CidrBlock": cidr,
        "AvailableIpAddressCount": free,
        "AvailabilityZone": zone,
        "AvailabilityZoneId": zone,
        "DefaultForAz": True,
        "MapPublicIpOnLaunch": False,
        "MapCustomerOwnedIpOnLaunch": False,
        "AssignIpv6AddressOnCreation": False,
        "Ipv6CidrBlockAssociationSet": [],
        "Ipv6Native": False,
        "EnableDns64": False,
        "PrivateDnsNameOptionsOnLaunch": {
            "HostnameType": "resource-name",
            "EnableResourceNameDnsARecord": False,
            "EnableResourceNameDnsAAAARecord": False,
        },
    }


SUBNET_FILTERS: Names = {
    "availability-zone": member("AvailabilityZone"),
    "availabilityZone": member("AvailabilityZone"),
    "availability-zone-id": member("AvailabilityZoneId"),
    "availabilityZoneId": member("AvailabilityZoneId"),
    "available-ip-address-count": member("AvailableIpAddressCount"),
    "cidr": member("CidrBlock"),
    "cidr-block": member("CidrBlock"),
    "cidrBlock": member("CidrBlock"),
    "default-for-az": member("DefaultForAz"),
    "defaultForAz": member("DefaultForAz"),
    "enable-dns64": member("EnableDns64"),
    "ipv6-native": member("Ipv6Native"),
    "map-customer-owned-ip-on-launch": member("MapCustomerOwnedIpOnLaunch"),
    "map-public-ip-on-launch": member("MapPublicIpOnLaunch"),
    "owner-id": member("OwnerId"),
    "private-dns-name-options-on-launch.hostname-type": lambda subnet: str(
        subnet["PrivateDnsNameOptionsOnLaunch"]["HostnameType"]
    ),
    "private-dns-name-options-on-launch.enable-resource-name-dns-a-record": lambda _: False,
    "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record": lambda _: False,
    "state": member("State"),
    "subnet-arn": member("SubnetArn"),
    "subnet-id": member("SubnetId"),
    "vpc-id": member("VpcId"),
    **absent(
        "customer-owned-ipv4-pool",
        "enable-lni-at-device-index",
        "ipv6-cidr-block-association.association-id",
        "ipv6-cidr-block-association.ipv6-cidr-block",
        "ipv6-cidr-block-association.state",
        "outpost-arn",
    ),
}


def internet_gateway(ctx: Context) -> Document:
    """Return the structure ``InternetGateway`` without its tags."""
    own = networks.of(ctx.account_id)
    return {
        "InternetGatewayId": own.internet_gateway,
        "OwnerId": ctx.account_id,
        "Attachments": [{"State": "available", "VpcId": own.vpc}],
    }


INTERNET_GATEWAY_FILTERS: Names = {
    "attachment.state": lambda gateway: str(gateway["Attachments"][0]["State"]),
    "attachment.vpc-id": lambda gateway: str(gateway["Attachments"][0]["VpcId"]),
    "internet-gateway-id": member("InternetGatewayId"),
    "owner-id": member("OwnerId"),
}


def route_table(ctx: Context) -> Document:
    """Return the structure ``RouteTable`` without its tags."""
    own = networks.of(ctx.account_id)
    return {
        "RouteTableId": own.route_table,
        "VpcId": own.vpc,
        "OwnerId": ctx.account_id,
        "Associations": [
            {
                "Main": True,
                "RouteTableAssociationId": own.route_table_association,
                "RouteTableId": own.route_table,
                "AssociationState": {"State": "associated"},
            }
        ],
        "PropagatingVgws": [],
        "Routes": [
            {
                "DestinationCidrBlock": str(ctx.settings.guests),
                "GatewayId": "local",
                "Origin": "CreateRouteTable",
                "State": "active",
            },
            {
                "DestinationCidrBlock": ANYWHERE,
                "GatewayId": own.internet_gateway,
                "Origin": "CreateRoute",
                "State": "active",
            },
        ],
    }


def _each_route(member: str) -> Callable[[Document], Iterable[Value]]:
    return lambda table: (route[member] for route in table["Routes"])


ROUTE_TABLE_FILTERS: Names = {
    "association.main": lambda _: True,
    "association.route-table-association-id": lambda table: str(
        table["Associations"][0]["RouteTableAssociationId"]
    ),
    "association.route-table-id": member("RouteTableId"),
    "owner-id": member("OwnerId"),
    "route-table-id": member("RouteTableId"),
    "route.destination-cidr-block": _each_route("DestinationCidrBlock"),
    "route.gateway-id": _each_route("GatewayId"),
    "route.origin": _each_route("Origin"),
    "route.state": _each_route("State"),
    "vpc-id": member("VpcId"),
    **absent(
        # A main route table is associated with no subnet by name.
        "association.gateway-id",
        "association.subnet-id",
        "route.destination-ipv6-cidr-block",
        "route.destination-prefix-list-id",
        "route.egress-only-internet-gateway-id",
        "route.instance-id",
        "route.nat-gateway-id",
        "route.transit-gateway-id",
        "route.vpc-peering-connection-id",
    ),
}


def network_acl(ctx: Context) -> Document:
    """Return the structure ``NetworkAcl`` without its tags: EC2's default, which lets all pass."""
    own = networks.of(ctx.account_id)
    return {
        "NetworkAclId": own.network_acl,
        "VpcId": own.vpc,
        "OwnerId": ctx.account_id,
        "IsDefault": True,
        "Associations": [
            {
                "NetworkAclAssociationId": networks.network_acl_association(subnet_id),
                "NetworkAclId": own.network_acl,
                "SubnetId": subnet_id,
            }
            for subnet_id in own.of_kind("subnet", ctx.zone_names)
        ],
        "Entries": [
            {
                "CidrBlock": ANYWHERE,
                "Egress": egress,
                "Protocol": "-1",
                "RuleAction": what,
                "RuleNumber": number,
            }
            for egress in (True, False)
            for number, what in ((100, "allow"), (32767, "deny"))
        ],
    }


def _each_entry(member: str) -> Callable[[Document], Iterable[Value]]:
    return lambda acl: (entry[member] for entry in acl["Entries"])


def _each_association(member: str) -> Callable[[Document], Iterable[Value]]:
    return lambda acl: (one[member] for one in acl["Associations"])


NETWORK_ACL_FILTERS: Names = {
    "association.association-id": _each_association("NetworkAclAssociationId"),
    "association.network-acl-id": member("NetworkAclId"),
    "association.subnet-id": _each_association("SubnetId"),
    "default": member("IsDefault"),
    "entry.cidr": _each_entry("CidrBlock"),
    "entry.egress": _each_entry("Egress"),
    "entry.protocol": _each_entry("Protocol"),
    "entry.rule-action": _each_entry("RuleAction"),
    "entry.rule-number": _each_entry("RuleNumber"),
    "network-acl-id": member("NetworkAclId"),
    "owner-id": member("OwnerId"),
    "vpc-id": member("VpcId"),
    **absent(
        "entry.icmp.code",
        "entry.icmp.type",
        "entry.ipv6-cidr",
        "entry.port-range.from",
        "entry.port-range.to",
    ),
}


def dhcp_options(ctx: Context) -> Document:
    """Return the structure ``DhcpOptions`` without its tags.

    In the embedded pool the network's first address answers DNS. What the nodes of another pool
    tell their guests is their network's matter, and not known here.
    """
    values = [] if ctx.settings.pool else [{"Value": str(ctx.settings.guests[1])}]
    known = [{"Key": "domain-name-servers", "Values": values}] if values else []
    return {
        "DhcpOptionsId": networks.of(ctx.account_id).dhcp_options,
        "OwnerId": ctx.account_id,
        "DhcpConfigurations": known,
    }


DHCP_OPTIONS_FILTERS: Names = {
    "dhcp-options-id": member("DhcpOptionsId"),
    "key": lambda options: (one["Key"] for one in options["DhcpConfigurations"]),
    "owner-id": member("OwnerId"),
    "value": lambda options: (
        value["Value"] for one in options["DhcpConfigurations"] for value in one["Values"]
    ),
}


def group(account_id: str) -> Mapping[str, str]:
    """Return the structure ``GroupIdentifier`` of the account's security group."""
    own = networks.of(account_id)
    return {"GroupId": own.security_group, "GroupName": networks.GROUP_NAME}
