# SPDX-License-Identifier: Apache-2.0
"""``/api/realms``: availability zones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cloud.errors import NotFound
from gateway.deltacloud.operations import Answer, operation

if TYPE_CHECKING:
    from gateway.cloud.zones import Zone
    from gateway.deltacloud.operations import Context


@operation("realms")
def index(ctx: Context, *, id: str = "") -> Answer:  # noqa: A002 - Deltacloud's parameter
    """Return the zones, or the one that is asked for."""
    found = [zone for zone in ctx.zones if id in {"", zone.name}]
    return Answer(
        {"realms": {"realm": [_xml(ctx, one) for one in found]}},
        {"realms": [_plain(ctx, one) for one in found]},
    )


@operation("realms")
def show(ctx: Context, name: str) -> Answer:
    """Return one zone."""
    zone = find(ctx, name)
    return Answer({"realm": _xml(ctx, zone)}, {"realm": _plain(ctx, zone)})


def find(ctx: Context, name: str) -> Zone:
    """Return the zone; raise :class:`NotFound` for a realm that there is not."""
    for zone in ctx.zones:
        if zone.name == name:
            return zone
    raise NotFound("realm", name)


def _state(zone: Zone) -> str:
    return "AVAILABLE" if zone.available else "UNAVAILABLE"


def _xml(ctx: Context, zone: Zone) -> dict[str, str]:
    return {**ctx.reference("realms", zone.name), "name": zone.name, "state": _state(zone)}


def _plain(ctx: Context, zone: Zone) -> dict[str, str]:
    return {
        "id": zone.name,
        "href": ctx.href("realms", zone.name),
        "name": zone.name,
        "state": _state(zone),
        "limit": "unlimited",
    }
