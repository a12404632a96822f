# SPDX-License-Identifier: Apache-2.0
"""DescribeVpcs, DescribeSubnets and their like: an account has one VPC and what belongs to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.cloud import networks
from gateway.ec2 import filters, network_document, pages, tagging
from gateway.ec2.dispatch import Result, action
from gateway.errors import InvalidParameterValue
from gateway.store import tags

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.ec2.context import Context
    from gateway.ec2.network_document import Document, Names


class Kind(NamedTuple):
    """How things of one kind are described."""

    action: str
    name: str
    """As ``gateway.cloud.networks`` has it."""
    member: str
    """The answer's member that lists them."""
    id_member: str
    ids: str
    """The member of the request that names them, as EC2's message has it."""
    documents: Callable[[Context], Sequence[Document]]
    filters: Names


class Asked(NamedTuple):
    """What every one of these actions takes."""

    ids: Sequence[str]
    filters: Sequence[Mapping[str, Any]]
    max_results: int | None
    next_token: str | None


def listed(ctx: Context, kind: Kind, asked: Asked, *, most: int = 1000) -> Result:
    """Return what the account has of a kind, filtered and in pages of at most ``most``."""
    pages.refuse_with_ids(kind.ids, asked.ids, asked.max_results)
    wanted = filters.Filters(asked.filters, kind.filters, tagged=True)
    query = [kind.action, ctx.account_id, asked.ids, asked.filters]
    page = pages.Page(query, asked.max_results, asked.next_token, most=most)
    networks.check(ctx.account_id, kind.name, asked.ids, ctx.zone_names)
    own = networks.of(ctx.account_id)
    tagged = tags.select(ctx.db, own.of_kind(kind.name, ctx.zone_names))

    def place(document: Document) -> list[str]:
        return [document[kind.id_member]]

    passing = (
        document | {"Tags": tagging.tag_set(given)}
        for document in sorted(kind.documents(ctx), key=place)
        for given in [tagged.get(document[kind.id_member], filters.NO_TAGS)]
        if (not asked.ids or document[kind.id_member] in asked.ids)
        and (page.after is None or place(document) > page.after)
        and wanted.match(document, given)
    )
    found, next_token = page.cut(passing, place)
    return {kind.member: found, "NextToken": next_token}


VPCS = Kind(
    "DescribeVpcs",
    "vpc",
    "Vpcs",
    "VpcId",
    "vpcIds",
    lambda ctx: [network_document.vpc(ctx)],
    network_document.VPC_FILTERS,
)
SUBNETS = Kind(
    "DescribeSubnets",
    "subnet",
    "Subnets",
    "SubnetId",
    "subnetIds",
    network_document.subnets,
    network_document.SUBNET_FILTERS,
)
INTERNET_GATEWAYS = Kind(
    "DescribeInternetGateways",
    "internet gateway",
    "InternetGateways",
    "InternetGatewayId",
    "internetGatewayIds",
    lambda ctx: [network_document.internet_gateway(ctx)],
    network_document.INTERNET_GATEWAY_FILTERS,
)
ROUTE_TABLES = Kind(
    "DescribeRouteTables",
    "route table",
    "RouteTables",
    "RouteTableId",
    "routeTableIds",
    lambda ctx: [network_document.route_table(ctx)],
    network_document.ROUTE_TABLE_FILTERS,
)
NETWORK_ACLS = Kind(
    "DescribeNetworkAcls",
    "network acl",
    "NetworkAcls",
    "NetworkAclId",
    "networkAclIds",
    lambda ctx: [network_document.network_acl(ctx)],
    network_document.NETWORK_ACL_FILTERS,
)
DHCP_OPTIONS = Kind(
    "DescribeDhcpOptions",
    "dhcp options",
    "DhcpOptions",
    "DhcpOptionsId",
    "dhcpOptionsIds",
    lambda ctx: [network_document.dhcp_options(ctx)],
    network_document.DHCP_OPTIONS_FILTERS,
)


@action()
def describe_vpcs(
    ctx: Context,
    *,
    VpcIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe the account's VPC."""
    return listed(ctx, VPCS, Asked(VpcIds, Filters, MaxResults, NextToken))


@action()
def describe_vpc_attribute(ctx: Context, *, VpcId: str, Attribute: str) -> Result:
    """Describe one attribute of the VPC: guests are told a name server, and have no names in it."""
    networks.check(ctx.account_id, "vpc", [VpcId])
    attributes = {
        "enableDnsSupport": ("EnableDnsSupport", True),
        "enableDnsHostnames": ("EnableDnsHostnames", False),
        "enableNetworkAddressUsageMetrics": ("EnableNetworkAddressUsageMetrics", False),
    }
    if Attribute not in attributes:
        raise InvalidParameterValue.of("attribute", Attribute, "Unknown attribute.")
    member, value = attributes[Attribute]
    return {"VpcId": VpcId, member: {"Value": value}}


@action()
def describe_subnets(
    ctx: Context,
    *,
    SubnetIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe the account's subnets: the default one of each zone."""
    return listed(ctx, SUBNETS, Asked(SubnetIds, Filters, MaxResults, NextToken))


@action()
def describe_internet_gateways(
    ctx: Context,
    *,
    InternetGatewayIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe the way out of the network."""
    asked = Asked(InternetGatewayIds, Filters, MaxResults, NextToken)
    return listed(ctx, INTERNET_GATEWAYS, asked)


@action()
def describe_route_tables(
    ctx: Context,
    *,
    RouteTableIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe where the network's traffic goes."""
    asked = Asked(RouteTableIds, Filters, MaxResults, NextToken)
    return listed(ctx, ROUTE_TABLES, asked, most=100)


@action()
def describe_network_acls(
    ctx: Context,
    *,
    NetworkAclIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe what the subnets let pass: everything."""
    return listed(ctx, NETWORK_ACLS, Asked(NetworkAclIds, Filters, MaxResults, NextToken))


@action()
def describe_dhcp_options(
    ctx: Context,
    *,
    DhcpOptionsIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe what guests are told over DHCP."""
    return listed(ctx, DHCP_OPTIONS, Asked(DhcpOptionsIds, Filters, MaxResults, NextToken))
