# SPDX-License-Identifier: Apache-2.0
"""RequestSpotInstances, DescribeSpotInstanceRequests, CancelSpotInstanceRequests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import spot, spot_fulfilment, zones
from gateway.cloud.instances import Launch
from gateway.cloud.spot import Terms
from gateway.ec2 import block_devices, filters, launch_network, pages, spot_market, tagging
from gateway.ec2.dispatch import Result, action
from gateway.ec2.instances import DEFAULT_TYPE, user_data
from gateway.ec2.spot_document import FILTERS, describe
from gateway.errors import MissingParameter
from gateway.store import tags

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from gateway.ec2.context import Context
    from gateway.store.spot_requests import SpotRequest


_IN = "LaunchSpecification"


@action(
    writes=True,
    launches="InstanceCount",
    members=tuple(
        f"{_IN}.{member}"
        for member in (
            *("ImageId", "InstanceType", "KeyName", "UserData"),
            *("Monitoring.Enabled", "SecurityGroupIds", "SecurityGroups", "SubnetId"),
            *block_devices.LAUNCH_MEMBERS,
            *launch_network.MEMBERS,
        )
    ),
    only={
        f"{_IN}.{member}": value
        for member, value in {
            "EbsOptimized": False,
            "Placement.Tenancy": "default",
            **block_devices.ONLY,
            **launch_network.ONLY,
        }.items()
    },
    notes={f"{_IN}.{member}": why for member, why in block_devices.LAUNCH_NOTES.items()},
)
def request_spot_instances(
    ctx: Context,
    *,
    LaunchSpecification: Mapping[str, Any] | None = None,
    InstanceCount: int = 1,
    Type: str = "one-time",
    SpotPrice: str | None = None,
    ValidFrom: datetime | None = None,
    ValidUntil: datetime | None = None,
    InstanceInterruptionBehavior: str = "terminate",
    TagSpecifications: Sequence[Mapping[str, Any]] = (),
    ClientToken: str | None = None,
) -> Result:
    """Ask for spot instances, each as soon as there is room for it."""
    if LaunchSpecification is None:
        raise MissingParameter("LaunchSpecification")
    terms = Terms(
        type=Type,
        interruption_behavior=spot_market.behavior(
            {"InstanceInterruptionBehavior": InstanceInterruptionBehavior}
        ),
        max_price=SpotPrice,
        valid_from=ValidFrom,
        valid_until=ValidUntil,
    )
    # A request that comes again is answered as the first, though it may have begun meanwhile.
    spot_market.check(terms._replace(valid_from=None, valid_until=None), ctx.now)
    asked = _launch(ctx, LaunchSpecification)._replace(
        minimum=InstanceCount,
        maximum=InstanceCount,
        token=ctx.token(ClientToken),
        shutdown_behavior=spot_market.shutdown_behavior(terms, None),
    )
    made = spot_fulfilment.request(
        ctx.db,
        ctx.account_id,
        asked,
        terms,
        tagged=tagging.read(TagSpecifications, spot_market.RESOURCE_TYPE),
        now=ctx.now,
        flavors=ctx.gateway.flavors,
        limits=ctx.limits,
    )
    ctx.wakes.add("reconciler")
    return {"SpotInstanceRequests": [describe(*one) for one in _tagged(ctx, made)]}


@action()
def describe_spot_instance_requests(
    ctx: Context,
    *,
    SpotInstanceRequestIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe requests for spot instances, oldest first."""
    pages.refuse_with_ids("spotInstanceRequestIds", SpotInstanceRequestIds, MaxResults)
    wanted = filters.Filters(Filters, FILTERS, tagged=True)
    query = ["DescribeSpotInstanceRequests", ctx.account_id, SpotInstanceRequestIds, Filters]
    page = pages.Page(query, MaxResults, NextToken)
    found = spot.find(ctx.db, ctx.account_id, SpotInstanceRequestIds or None)
    passing = (
        (request, tagged)
        for request, tagged in _tagged(ctx, found)
        if (page.after is None or _place(request) > page.after) and wanted.match(request, tagged)
    )
    shown, next_token = page.cut(passing, lambda item: _place(item[0]))
    return {
        "SpotInstanceRequests": [describe(request, tagged) for request, tagged in shown],
        "NextToken": next_token,
    }


@action(writes=True)
def cancel_spot_instance_requests(ctx: Context, *, SpotInstanceRequestIds: Sequence[str]) -> Result:
    """Cancel requests, all of the named ones or none; their instances go on running."""
    done = spot.cancel(ctx.db, ctx.account_id, SpotInstanceRequestIds, ctx.now)
    return {
        "CancelledSpotInstanceRequests": [
            {"SpotInstanceRequestId": request.id, "State": request.state} for request in done
        ]
    }


def _launch(ctx: Context, given: Mapping[str, Any]) -> Launch:
    """Return what is to be launched, once."""
    image, flavor = given.get("ImageId"), given.get("InstanceType", DEFAULT_TYPE)
    if image is None:
        raise MissingParameter("ImageId")
    zone = launch_network.zone(
        ctx,
        flavor,
        given.get("Placement", {}),
        subnet=given.get("SubnetId"),
        group_ids=given.get("SecurityGroupIds", ()),
        group_names=given.get("SecurityGroups", ()),
        interfaces=given.get("NetworkInterfaces", ()),
    )
    return Launch(
        image_id=image,
        flavor=flavor,
        minimum=1,
        maximum=1,
        zone=zone or zones.choose(ctx.zones, ctx.settings.availability_zone),
        zone_required=zone is not None,
        key_name=given.get("KeyName"),
        user_data=user_data(given.get("UserData")),
        tags={},
        token=None,
        devices=block_devices.read(given.get("BlockDeviceMappings", ())),
        monitoring=bool(given.get("Monitoring", {}).get("Enabled", False)),
    )


def _tagged(
    ctx: Context, found: Sequence[SpotRequest]
) -> Iterator[tuple[SpotRequest, Mapping[str, str]]]:
    tagged = tags.select(ctx.db, [request.id for request in found])
    for request in found:
        yield request, tagged.get(request.id, filters.NO_TAGS)


def _place(request: SpotRequest) -> list[str]:
    return [request.created_at.isoformat(), request.id]
