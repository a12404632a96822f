# SPDX-License-Identifier: Apache-2.0
"""Calls of the actions about what nobody has, for action_cases.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from action_cases import PAGE, Case, where

if TYPE_CHECKING:
    from collections.abc import Mapping

UUID = "0f3c1d2e-6a52-4a57-8f0e-9d1c2b3a4f5e"


def _case(
    ids: str,
    unknown: str,
    not_found: str,
    known_filter: str,
    *,
    paged: bool = True,
    filters: str = "Filters",
    **right: Any,
) -> Case:
    asked = {ids: [], filters: where(known_filter, "x"), **right, **(PAGE if paged else {})}
    wrong: dict[str, Any] = {ids: [unknown]}
    named = [ids, *(member for member in right if member.endswith("Names"))]
    return Case([lambda _: asked], [(not_found, lambda _: wrong)], ids=named if paged else [])


ABSENT_CASES: Mapping[str, Case] = {
    "DescribeAddresses": _case(
        "AllocationIds",
        "eipalloc-12345678",
        "InvalidAllocationID.NotFound",
        "domain",
        paged=False,
        PublicIps=[],
    ),
    "DescribeCapacityReservations": _case(
        "CapacityReservationIds", "cr-12345678", "InvalidCapacityReservationId.NotFound", "state"
    ),
    "DescribeCustomerGateways": _case(
        "CustomerGatewayIds",
        "cgw-12345678",
        "InvalidCustomerGatewayID.NotFound",
        "state",
        paged=False,
    ),
    "DescribeEgressOnlyInternetGateways": _case(
        "EgressOnlyInternetGatewayIds",
        "eigw-12345678",
        "InvalidEgressOnlyInternetGatewayId.NotFound",
        "tag-key",
    ),
    "DescribeHosts": _case(
        "HostIds", "h-12345678", "InvalidHostID.NotFound", "state", filters="Filter"
    ),
    "DescribeIamInstanceProfileAssociations": _case(
        "AssociationIds", "iip-assoc-12345678", "InvalidAssociationID.NotFound", "instance-id"
    ),
    "DescribeInstanceCreditSpecifications": Case(
        [
            lambda _: {"Filters": where("instance-id", "i-1"), **PAGE},
            lambda w: {"InstanceIds": [w.instance]},
        ],
        [("InvalidInstanceID.NotFound", lambda _: {"InstanceIds": ["i-12345678"]})],
        ids=["InstanceIds"],
    ),
    "DescribeLaunchTemplateVersions": Case(
        [
            lambda _: {
                "LaunchTemplateId": "",
                "LaunchTemplateName": "",
                "Versions": ["$Latest", "$Default"],
                "Filters": where("image-id", "ami-1"),
                **PAGE,
            }
        ],
        [
            ("MissingParameter", lambda _: {}),
            ("MissingParameter", lambda _: {"Versions": ["1"]}),
            ("InvalidLaunchTemplateId.NotFound", lambda _: {"LaunchTemplateId": "lt-12345678"}),
            ("InvalidLaunchTemplateId.Malformed", lambda _: {"LaunchTemplateId": "lt-x"}),
            (
                "InvalidLaunchTemplateName.NotFoundException",
                lambda _: {"LaunchTemplateName": "web"},
            ),
            (
                "InvalidParameterCombination",
                lambda _: {"LaunchTemplateId": "lt-12345678", "LaunchTemplateName": "web"},
            ),
        ],
        needed={"Versions": ["$Latest"]},
    ),
    "DescribeLaunchTemplates": _case(
        "LaunchTemplateIds",
        "lt-12345678",
        "InvalidLaunchTemplateId.NotFound",
        "launch-template-name",
        LaunchTemplateNames=[],
    ),
    "DescribeManagedPrefixLists": _case(
        "PrefixListIds", "pl-12345678", "InvalidPrefixListID.NotFound", "prefix-list-name"
    ),
    "DescribeNatGateways": _case(
        "NatGatewayIds", "nat-12345678", "NatGatewayNotFound", "state", filters="Filter"
    ),
    "DescribePlacementGroups": _case(
        "GroupIds",
        "pg-12345678",
        "InvalidPlacementGroup.Unknown",
        "state",
        paged=False,
        GroupNames=[],
    ),
    "DescribePrefixLists": _case(
        "PrefixListIds", "pl-12345678", "InvalidPrefixListID.NotFound", "prefix-list-name"
    ),
    "DescribeReservedInstances": _case(
        "ReservedInstancesIds", UUID, "InvalidReservedInstancesId", "state", paged=False
    ),
    "DescribeSpotPriceHistory": Case(
        [lambda _: {"Filters": where("instance-type", "small"), **PAGE}],
        [("InvalidParameterValue", lambda _: {"Filters": where("color", "red")})],
    ),
    "DescribeVpcEndpoints": _case(
        "VpcEndpointIds", "vpce-12345678", "InvalidVpcEndpointId.NotFound", "vpc-id"
    ),
    "DescribeVpcPeeringConnections": _case(
        "VpcPeeringConnectionIds",
        "pcx-12345678",
        "InvalidVpcPeeringConnectionID.NotFound",
        "status-code",
    ),
    "DescribeVpnGateways": _case(
        "VpnGatewayIds", "vgw-12345678", "InvalidVpnGatewayID.NotFound", "state", paged=False
    ),
    "GetEbsEncryptionByDefault": Case([lambda _: {}]),
}
