# SPDX-License-Identifier: Apache-2.0
"""Where RunInstances may put an instance: in a zone, in the zone's subnet, with the one group.

What names these is honoured, in whichever of EC2's ways. Of all of it only the zone is a choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import networks, zones
from gateway.ec2.security_groups import check_names
from gateway.errors import (
    AttachmentLimitExceeded,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.ec2.context import Context

MEMBERS = (
    "Placement.AvailabilityZone",
    "Placement.AvailabilityZoneId",
    "NetworkInterfaces.DeviceIndex",
    "NetworkInterfaces.Groups",
    "NetworkInterfaces.SubnetId",
)
ONLY: Mapping[str, object] = {
    "NetworkInterfaces.AssociatePublicIpAddress": False,
    "NetworkInterfaces.DeleteOnTermination": True,
    "NetworkInterfaces.InterfaceType": "interface",
    "NetworkInterfaces.NetworkCardIndex": 0,
}


def zone(
    ctx: Context,
    instance_type: str,
    placement: Mapping[str, Any],
    *,
    subnet: str | None,
    group_ids: Sequence[str],
    group_names: Sequence[str],
    interfaces: Sequence[Mapping[str, Any]],
) -> str | None:
    """Return the zone that was asked for, by its name, its id or its subnet; None for any.

    Refuses what does not exist, and what EC2 does not take together.
    """
    account_id = ctx.account_id
    asked = _named(ctx, placement)
    subnet = subnet or None  # Packer names an empty one for none
    if interfaces:
        _check_alone(subnet=subnet, groups=bool(group_ids or group_names))
        _check_interfaces(interfaces, instance_type)
        subnet = interfaces[0].get("SubnetId") or None
        group_ids = interfaces[0].get("Groups", ())
    if subnet is not None:
        if group_names:
            raise InvalidParameterCombination.of("groupName", "subnet")
        networks.check(account_id, "subnet", [subnet], ctx.zone_names)
        of_subnet = next(
            name for name in ctx.zone_names if networks.subnet(account_id, name) == subnet
        )
        if asked not in {None, of_subnet}:
            raise InvalidParameterValue.zone_of_subnet(str(asked), subnet, of_subnet)
        asked = of_subnet
    networks.check(account_id, "security group", group_ids)
    check_names(account_id, group_names)
    return asked


def _named(ctx: Context, placement: Mapping[str, Any]) -> str | None:
    # A zone's id is its name.
    name, id_ = (placement.get(member) for member in ("AvailabilityZone", "AvailabilityZoneId"))
    if name and id_:
        raise InvalidParameterCombination.of("AvailabilityZone", "AvailabilityZoneId")
    asked: str | None = name or id_ or None
    if asked is not None:
        zones.check(ctx.zones, asked)
    return asked


def _check_alone(*, subnet: str | None, groups: bool) -> None:
    for given, what in ((subnet is not None, "subnet ID"), (groups, "security groups")):
        if given:
            raise InvalidParameterCombination(
                f"Network interfaces and an instance-level {what} may not be specified on the same"
                " request"
            )


def _check_interfaces(interfaces: Sequence[Mapping[str, Any]], instance_type: str) -> None:
    if any(one.get("DeviceIndex") is None for one in interfaces):
        raise MissingParameter("NetworkInterface.DeviceIndex")
    if len(interfaces) > 1:
        raise AttachmentLimitExceeded(len(interfaces), instance_type)
    index = interfaces[0]["DeviceIndex"]
    if index != 0:
        raise InvalidParameterValue.of(
            "deviceIndex", str(index), "The first network interface has the device index 0."
        )
