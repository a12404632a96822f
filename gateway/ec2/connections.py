# SPDX-License-Identifier: Apache-2.0
"""What leads into a VPC or out of it in EC2, beside an internet gateway: nothing here does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.ec2.absent import Absent, Asked
from gateway.ec2.dispatch import Result, action
from gateway.errors import (
    InvalidAddressNotFound,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.ec2.context import Context

ADDRESSES = Absent(
    "DescribeAddresses",
    "address",
    "allocationIds",
    """
    allocation-id association-id domain instance-id network-border-group
    network-interface-id network-interface-owner-id private-ip-address public-ip
    """,
)

NAT_GATEWAYS = Absent(
    "DescribeNatGateways",
    "NAT gateway",
    "natGatewayIds",
    """
    nat-gateway-id state subnet-id vpc-id
    """,
)

VPN_GATEWAYS = Absent(
    "DescribeVpnGateways",
    "VPN gateway",
    "vpnGatewayIds",
    """
    amazon-side-asn attachment.state attachment.vpc-id availability-zone state type
    vpn-gateway-id
    """,
)

CUSTOMER_GATEWAYS = Absent(
    "DescribeCustomerGateways",
    "customer gateway",
    "customerGatewayIds",
    """
    bgp-asn customer-gateway-id ip-address state type
    """,
)

PEERINGS = Absent(
    "DescribeVpcPeeringConnections",
    "peering",
    "vpcPeeringConnectionIds",
    """
    accepter-vpc-info.cidr-block accepter-vpc-info.owner-id accepter-vpc-info.vpc-id
    expiration-time requester-vpc-info.cidr-block requester-vpc-info.owner-id
    requester-vpc-info.vpc-id status-code status-message vpc-peering-connection-id
    """,
)

PREFIX_LISTS = Absent(
    "DescribePrefixLists",
    "prefix list",
    "prefixListIds",
    """
    prefix-list-id prefix-list-name
    """,
    tagged=False,
)

MANAGED_PREFIX_LISTS = Absent(
    "DescribeManagedPrefixLists",
    "prefix list",
    "prefixListIds",
    """
    owner-id prefix-list-id prefix-list-name
    """,
    tagged=False,
    least=1,
    most=100,
)

ENDPOINTS = Absent(
    "DescribeVpcEndpoints",
    "VPC endpoint",
    "vpcEndpointIds",
    """
    ip-address-type service-name service-region vpc-endpoint-id vpc-endpoint-state
    vpc-endpoint-type vpc-id
    """,
)

EGRESS_ONLY_INTERNET_GATEWAYS = Absent(
    "DescribeEgressOnlyInternetGateways",
    "egress-only internet gateway",
    "egressOnlyInternetGatewayIds",
    "",
    most=255,
)


@action()
def describe_addresses(
    ctx: Context,
    *,
    AllocationIds: Sequence[str] = (),
    PublicIps: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
) -> Result:
    """Describe public addresses; libcloud asks for them after each DescribeInstances."""
    ADDRESSES.check(ctx, Asked(AllocationIds, Filters))
    if PublicIps:
        raise InvalidAddressNotFound(PublicIps)
    return {"Addresses": []}


@action(members=("Filter.Name", "Filter.Values"))
def describe_nat_gateways(
    ctx: Context,
    *,
    NatGatewayIds: Sequence[str] = (),
    Filter: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe NAT gateways: the nodes do what they would."""
    NAT_GATEWAYS.check(ctx, Asked(NatGatewayIds, Filter, MaxResults, NextToken))
    return {"NatGateways": []}


@action()
def describe_vpn_gateways(
    ctx: Context,
    *,
    VpnGatewayIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
) -> Result:
    """Describe virtual private gateways."""
    VPN_GATEWAYS.check(ctx, Asked(VpnGatewayIds, Filters))
    return {"VpnGateways": []}


@action()
def describe_customer_gateways(
    ctx: Context,
    *,
    CustomerGatewayIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
) -> Result:
    """Describe customer gateways."""
    CUSTOMER_GATEWAYS.check(ctx, Asked(CustomerGatewayIds, Filters))
    return {"CustomerGateways": []}


@action()
def describe_vpc_peering_connections(
    ctx: Context,
    *,
    VpcPeeringConnectionIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe connections between VPCs."""
    PEERINGS.check(ctx, Asked(VpcPeeringConnectionIds, Filters, MaxResults, NextToken))
    return {"VpcPeeringConnections": []}


@action()
def describe_prefix_lists(
    ctx: Context,
    *,
    PrefixListIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe lists of networks."""
    PREFIX_LISTS.check(ctx, Asked(PrefixListIds, Filters, MaxResults, NextToken))
    return {"PrefixLists": []}


@action()
def describe_managed_prefix_lists(
    ctx: Context,
    *,
    PrefixListIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe lists of networks that customers manage."""
    MANAGED_PREFIX_LISTS.check(ctx, Asked(PrefixListIds, Filters, MaxResults, NextToken))
    return {"PrefixLists": []}


@action()
def describe_vpc_endpoints(
    ctx: Context,
    *,
    VpcEndpointIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe ways to other services' networks."""
    ENDPOINTS.check(ctx, Asked(VpcEndpointIds, Filters, MaxResults, NextToken))
    return {"VpcEndpoints": []}


@action()
def describe_egress_only_internet_gateways(
    ctx: Context,
    *,
    EgressOnlyInternetGatewayIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe ways out for IPv6."""
    EGRESS_ONLY_INTERNET_GATEWAYS.check(
        ctx, Asked(EgressOnlyInternetGatewayIds, Filters, MaxResults, NextToken)
    )
    return {"EgressOnlyInternetGateways": []}
