# SPDX-License-Identifier: Apache-2.0
"""DescribeSecurityGroups, DescribeSecurityGroupRules: there is one group, and it lets all pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import networks
from gateway.ec2 import pages
from gateway.ec2.dispatch import Result, action
from gateway.ec2.network_document import ANYWHERE, absent, member
from gateway.ec2.networks import Asked, Kind, listed
from gateway.errors import InvalidGroupNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.ec2.context import Context
    from gateway.ec2.filters import Value
    from gateway.ec2.network_document import Document, Names

ALL_TRAFFIC = "-1"


def check_names(account_id: str, names: Iterable[str]) -> None:
    """Refuse names of security groups that there are not."""
    for name in names:
        if name != networks.GROUP_NAME:
            raise InvalidGroupNotFound.named(name, networks.of(account_id).vpc)


def _arn(ctx: Context, kind: str, resource_id: str) -> str:
    return f"arn:aws:ec2:{ctx.settings.region}:{ctx.account_id}:{kind}/{resource_id}"


def _groups(ctx: Context) -> list[Document]:
    own = networks.of(ctx.account_id)
    return [
        {
            "GroupId": own.security_group,
            "SecurityGroupArn": _arn(ctx, "security-group", own.security_group),
            "GroupName": networks.GROUP_NAME,
            "Description": "default VPC security group",
            "OwnerId": ctx.account_id,
            "VpcId": own.vpc,
            "IpPermissions": [_permission()],
            "IpPermissionsEgress": [_permission()],
        }
    ]


def _permission() -> Document:
    return {
        "IpProtocol": ALL_TRAFFIC,
        "IpRanges": [{"CidrIp": ANYWHERE}],
        "Ipv6Ranges": [],
        "PrefixListIds": [],
        "UserIdGroupPairs": [],
    }


def _rules(ctx: Context) -> list[Document]:
    own = networks.of(ctx.account_id)
    return [
        {
            "SecurityGroupRuleId": rule_id,
            "SecurityGroupRuleArn": _arn(ctx, "security-group-rule", rule_id),
            "GroupId": own.security_group,
            "GroupOwnerId": ctx.account_id,
            "IsEgress": rule_id == own.rule_out,
            "IpProtocol": ALL_TRAFFIC,
            "FromPort": -1,
            "ToPort": -1,
            "CidrIpv4": ANYWHERE,
        }
        for rule_id in (own.rule_in, own.rule_out)
    ]


def _permissions(prefix: str, listing: str) -> Names:
    def ranges(group: Document) -> Iterable[Value]:
        return (one["CidrIp"] for permission in group[listing] for one in permission["IpRanges"])

    def protocols(group: Document) -> Iterable[Value]:
        return (permission["IpProtocol"] for permission in group[listing])

    looks: dict[str, Callable[[Document], Iterable[Value]]] = {"cidr": ranges}
    looks["protocol"] = protocols
    nothing = (
        "from-port",
        "group-id",
        "group-name",
        "ipv6-cidr",
        "prefix-list-id",
        "to-port",
        "user-id",
    )
    return {
        **{f"{prefix}.{name}": look for name, look in looks.items()},
        **absent(*(f"{prefix}.{name}" for name in nothing)),
    }


GROUPS = Kind(
    "DescribeSecurityGroups",
    "security group",
    "SecurityGroups",
    "GroupId",
    "groupIds",
    _groups,
    {
        "description": member("Description"),
        "group-id": member("GroupId"),
        "group-name": member("GroupName"),
        "owner-id": member("OwnerId"),
        "vpc-id": member("VpcId"),
        **_permissions("ip-permission", "IpPermissions"),
        **_permissions("egress.ip-permission", "IpPermissionsEgress"),
    },
)
RULES = Kind(
    "DescribeSecurityGroupRules",
    "security group rule",
    "SecurityGroupRules",
    "SecurityGroupRuleId",
    "securityGroupRuleIds",
    _rules,
    {
        "group-id": member("GroupId"),
        "security-group-rule-id": member("SecurityGroupRuleId"),
    },
)


@action()
def describe_security_groups(
    ctx: Context,
    *,
    GroupIds: Sequence[str] = (),
    GroupNames: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe the account's security group."""
    pages.refuse_with_ids("groupNames", GroupNames, MaxResults)
    check_names(ctx.account_id, GroupNames)
    return listed(ctx, GROUPS, Asked(GroupIds, Filters, MaxResults, NextToken))


@action()
def describe_security_group_rules(
    ctx: Context,
    *,
    SecurityGroupRuleIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe the two rules of the account's security group: in and out."""
    return listed(ctx, RULES, Asked(SecurityGroupRuleIds, Filters, MaxResults, NextToken))
