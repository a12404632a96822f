# SPDX-License-Identifier: Apache-2.0
"""DescribeRegions, DescribeAvailabilityZones: one region, and the zones that its nodes name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gateway.ec2 import filters
from gateway.ec2.dispatch import Result, action
from gateway.errors import InvalidParameterValue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.cloud.zones import Zone
    from gateway.ec2.context import Context
    from gateway.ec2.filters import Look

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")

NO_OPT_IN = "opt-in-not-required"

REGION_FILTERS: dict[str, Look[Result]] = {
    "endpoint": "Endpoint",
    "opt-in-status": "OptInStatus",
    "region-name": "RegionName",
}

ZONE_FILTERS: dict[str, Look[Result]] = {
    "group-long-name": "GroupLongName",
    "group-name": "GroupName",
    "message": "Messages.Message",
    "opt-in-status": "OptInStatus",
    "parent-zone-id": "ParentZoneId",
    "parent-zone-name": "ParentZoneName",
    "region-name": "RegionName",
    "state": "State",
    "zone-id": "ZoneId",
    "zone-name": "ZoneName",
    "zone-type": "ZoneType",
}


@action(harmless={"AllRegions": "there is one region, and it is enabled"})
def describe_regions(
    ctx: Context,
    *,
    RegionNames: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
) -> Result:
    """Describe the region."""
    wanted = filters.Filters(Filters, REGION_FILTERS)
    region: Result = {
        "RegionName": ctx.settings.region,
        "Endpoint": _endpoint(ctx),
        "OptInStatus": NO_OPT_IN,
    }
    _refuse_unknown("region", RegionNames, [ctx.settings.region])
    return {"Regions": [region] if wanted.match(region) else []}


@action(harmless={"AllAvailabilityZones": "every zone is enabled"})
def describe_availability_zones(
    ctx: Context,
    *,
    ZoneNames: Sequence[str] = (),
    ZoneIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
) -> Result:
    """Describe the zones: one is unavailable while no node of it takes instances.

    One that has no nodes at all any more, but instances of the account, is impaired.
    """
    wanted = filters.Filters(Filters, ZONE_FILTERS)
    _refuse_unknown("availability zone", ZoneNames, ctx.zone_names)
    _refuse_unknown("availability zone-id", ZoneIds, ctx.zone_names)
    documents = (
        _zone(ctx, zone)
        for zone in ctx.zones
        if all(zone.name in asked for asked in (ZoneNames, ZoneIds) if asked)
    )
    return {"AvailabilityZones": list(filter(wanted.match, documents))}


def _state(zone: Zone) -> tuple[str, str | None]:
    """Return the state of a zone and the message about it."""
    if zone.available:
        return "available", None
    if zone.left:
        told = "No node of the pool is in this zone any more; your instances are described in it."
        return "impaired", told
    return "unavailable", "No node of this zone takes instances now."


def _zone(ctx: Context, zone: Zone) -> Result:
    state, told = _state(zone)
    return {
        "ZoneName": zone.name,
        "ZoneId": zone.name,
        "ZoneType": "availability-zone",
        "State": state,
        "RegionName": ctx.settings.region,
        "GroupName": ctx.settings.region,
        "NetworkBorderGroup": ctx.settings.region,
        "OptInStatus": NO_OPT_IN,
        "Messages": [] if told is None else [{"Message": told}],
    }


def _endpoint(ctx: Context) -> str:
    # What listens on all addresses has none of its own, and a proxy's is not in the settings: the
    # client is told what has led it here.
    return ctx.host if _HOST.fullmatch(ctx.host) else ctx.settings.endpoint.partition("://")[2]


def _refuse_unknown(kind: str, asked: Sequence[str], existing: Sequence[str]) -> None:
    for name in asked:
        if name not in existing:
            raise InvalidParameterValue(f"Invalid {kind}: [{name}]")
