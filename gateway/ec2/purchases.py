# SPDX-License-Identifier: Apache-2.0
"""What can be bought, reserved or prepared for launches in EC2, and cannot here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.ec2 import pages
from gateway.ec2.absent import Absent, Asked
from gateway.ec2.dispatch import Result, action
from gateway.ec2.kinds import KINDS
from gateway.errors import (
    InvalidLaunchTemplateIdNotFound,
    InvalidLaunchTemplateNameNotFoundException,
    InvalidParameterCombination,
    InvalidPlacementGroupUnknown,
    MissingParameter,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.ec2.context import Context

SPOT_PRICES = Absent(
    "DescribeSpotPriceHistory",
    None,
    "",
    """
    availability-zone availability-zone-id instance-type product-description spot-price
    timestamp
    """,
    tagged=False,
)

RESERVED = Absent(
    "DescribeReservedInstances",
    "reserved instances",
    "reservedInstancesIds",
    """
    availability-zone availability-zone-id duration end fixed-price instance-type scope
    product-description reserved-instances-id start state usage-price
    """,
)

RESERVATIONS = Absent(
    "DescribeCapacityReservations",
    "capacity reservation",
    "capacityReservationIds",
    """
    instance-type owner-id instance-platform availability-zone tenancy outpost-arn state
    start-date end-date end-date-type instance-match-criteria placement-group-arn
    """,
    least=1,
)

PLACEMENT_GROUPS = Absent(
    "DescribePlacementGroups",
    "placement group",
    "groupIds",
    """
    group-name group-arn spread-level state strategy
    """,
)

LAUNCH_TEMPLATES = Absent(
    "DescribeLaunchTemplates",
    "launch template",
    "launchTemplateIds",
    """
    create-time launch-template-name
    """,
    least=1,
    most=200,
)

LAUNCH_TEMPLATE_VERSIONS = Absent(
    "DescribeLaunchTemplateVersions",
    None,
    "",
    """
    create-time ebs-optimized host-resource-group-arn http-endpoint http-protocol-ipv4
    http-tokens iam-instance-profile image-id instance-type is-default-version kernel-id
    license-configuration-arn network-card-index ram-disk-id
    """,
    tagged=False,
    least=1,
    most=200,
)

HOSTS = Absent(
    "DescribeHosts",
    "host",
    "hostIds",
    """
    auto-placement availability-zone client-token host-reservation-id instance-type state
    """,
    most=500,
)

INSTANCE_PROFILES = Absent(
    "DescribeIamInstanceProfileAssociations",
    "instance profile association",
    "associationIds",
    """
    instance-id state
    """,
    tagged=False,
)


@action(
    harmless={
        "AvailabilityZone": "no instance has a spot price",
        "AvailabilityZoneId": "no instance has a spot price",
        "EndTime": "no instance has a spot price",
        "InstanceTypes": "no instance has a spot price",
        "ProductDescriptions": "no instance has a spot price",
        "StartTime": "no instance has a spot price",
    }
)
def describe_spot_price_history(
    ctx: Context,
    *,
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe what spot instances have cost."""
    SPOT_PRICES.check(ctx, Asked((), Filters, MaxResults, NextToken))
    return {"SpotPriceHistory": []}


@action(
    harmless={
        "OfferingClass": "no instance is reserved",
        "OfferingType": "no instance is reserved",
    }
)
def describe_reserved_instances(
    ctx: Context,
    *,
    ReservedInstancesIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
) -> Result:
    """Describe reserved instances."""
    RESERVED.check(ctx, Asked(ReservedInstancesIds, Filters))
    return {"ReservedInstances": []}


@action()
def describe_capacity_reservations(
    ctx: Context,
    *,
    CapacityReservationIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe reservations of capacity."""
    RESERVATIONS.check(ctx, Asked(CapacityReservationIds, Filters, MaxResults, NextToken))
    return {"CapacityReservations": []}


@action()
def describe_placement_groups(
    ctx: Context,
    *,
    GroupIds: Sequence[str] = (),
    GroupNames: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
) -> Result:
    """Describe placement groups."""
    PLACEMENT_GROUPS.check(ctx, Asked(GroupIds, Filters))
    if GroupNames:
        raise InvalidPlacementGroupUnknown(GroupNames)
    return {"PlacementGroups": []}


@action(harmless={"IncludeManagedResources": "no other service makes launch templates here"})
def describe_launch_templates(
    ctx: Context,
    *,
    LaunchTemplateIds: Sequence[str] = (),
    LaunchTemplateNames: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe launch templates."""
    pages.refuse_with_ids("launchTemplateNames", LaunchTemplateNames, MaxResults)
    LAUNCH_TEMPLATES.check(ctx, Asked(LaunchTemplateIds, Filters, MaxResults, NextToken))
    if LaunchTemplateNames:
        raise InvalidLaunchTemplateNameNotFoundException(LaunchTemplateNames)
    return {"LaunchTemplates": []}


_NO_TEMPLATE = "there are no launch templates"


@action(
    harmless={
        "IncludeManagedResources": "no other service makes launch templates here",
        "MaxVersion": _NO_TEMPLATE,
        "MinVersion": _NO_TEMPLATE,
        "ResolveAlias": _NO_TEMPLATE,
    }
)
def describe_launch_template_versions(
    ctx: Context,
    *,
    LaunchTemplateId: str | None = None,
    LaunchTemplateName: str | None = None,
    Versions: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe versions of a launch template, or the latest or default ones of all: of none."""
    LAUNCH_TEMPLATE_VERSIONS.check(ctx, Asked((), Filters, MaxResults, NextToken))
    if LaunchTemplateId and LaunchTemplateName:
        raise InvalidParameterCombination.of("launchTemplateId", "launchTemplateName")
    if LaunchTemplateId:
        KINDS["launch template"].check([LaunchTemplateId])
        raise InvalidLaunchTemplateIdNotFound(LaunchTemplateId)
    if LaunchTemplateName:
        raise InvalidLaunchTemplateNameNotFoundException(LaunchTemplateName)
    # EC2: only these two are asked for of all templates.
    if not Versions or not {"$Latest", "$Default"}.issuperset(Versions):
        raise MissingParameter("LaunchTemplateId")
    return {"LaunchTemplateVersions": []}


@action(members=("Filter.Name", "Filter.Values"))
def describe_hosts(
    ctx: Context,
    *,
    HostIds: Sequence[str] = (),
    Filter: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe dedicated hosts."""
    HOSTS.check(ctx, Asked(HostIds, Filter, MaxResults, NextToken))
    return {"Hosts": []}


@action()
def describe_iam_instance_profile_associations(
    ctx: Context,
    *,
    AssociationIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe which instances have a role: guests have no credentials."""
    INSTANCE_PROFILES.check(ctx, Asked(AssociationIds, Filters, MaxResults, NextToken))
    return {"IamInstanceProfileAssociations": []}
