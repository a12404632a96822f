# SPDX-License-Identifier: Apache-2.0
"""RunInstances, DescribeInstances, TerminateInstances."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from gateway.cloud import attributes, instances, metadata, spot, zones
from gateway.cloud.instances import Launch
from gateway.ec2 import (
    block_devices,
    constants,
    filters,
    launch_network,
    metadata_options,
    pages,
    places,
    spot_market,
)
from gateway.ec2.dispatch import Result, action
from gateway.ec2.instance_document import FILTERS, describe, state, untagged
from gateway.errors import InvalidParameterValue, MissingParameter
from gateway.store import tags
from gateway.store.instances import select_described
from gateway.wire.scalars import read_blob

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.ec2.context import Context
    from gateway.store.instances import Instance

DEFAULT_TYPE = "small"

Tagged = tuple["Instance", "Mapping[str, str]"]


@action(
    writes=True,
    launches="MaxCount",
    members=(
        "Monitoring.Enabled",
        *block_devices.LAUNCH_MEMBERS,
        *launch_network.MEMBERS,
        *metadata_options.MEMBERS,
        *spot_market.MEMBERS,
    ),
    only={
        "EbsOptimized": False,
        "Placement.Tenancy": "default",
        **constants.ONLY,
        **block_devices.ONLY,
        **launch_network.ONLY,
        **metadata_options.ONLY,
    },
    notes=block_devices.LAUNCH_NOTES,
)
def run_instances(
    ctx: Context,
    *,
    MinCount: int,
    MaxCount: int,
    ImageId: str | None = None,
    InstanceType: str = DEFAULT_TYPE,
    KeyName: str | None = None,
    UserData: str | None = None,
    Placement: Mapping[str, Any] | None = None,
    BlockDeviceMappings: Sequence[Mapping[str, Any]] = (),
    SubnetId: str | None = None,
    SecurityGroupIds: Sequence[str] = (),
    SecurityGroups: Sequence[str] = (),
    NetworkInterfaces: Sequence[Mapping[str, Any]] = (),
    MetadataOptions: Mapping[str, Any] | None = None,
    InstanceMarketOptions: Mapping[str, Any] | None = None,
    InstanceInitiatedShutdownBehavior: str | None = None,
    DisableApiTermination: bool = False,
    DisableApiStop: bool = False,
    Monitoring: Mapping[str, Any] | None = None,
    TagSpecifications: Sequence[Mapping[str, Any]] = (),
    ClientToken: str | None = None,
) -> Result:
    """Launch instances; they are pending when this is answered."""
    if ImageId is None:
        raise MissingParameter("ImageId")
    zone = launch_network.zone(
        ctx,
        InstanceType,
        Placement or {},
        subnet=SubnetId,
        group_ids=SecurityGroupIds,
        group_names=SecurityGroups,
        interfaces=NetworkInterfaces,
    )
    options = metadata_options.read(MetadataOptions or {})
    terms = spot_market.read(InstanceMarketOptions or {}, ctx.now)
    given_tags = spot_market.read_tags(terms, TagSpecifications)
    if terms is not None:
        spot_market.check_protection(stop=DisableApiStop, termination=DisableApiTermination)
    if options.instance_tags == "enabled":
        metadata.check_tags(given_tags.instance)
    behavior = spot_market.shutdown_behavior(terms, InstanceInitiatedShutdownBehavior)
    monitored = bool((Monitoring or {}).get("Enabled", False))
    asked = Launch(
        image_id=ImageId,
        flavor=InstanceType,
        minimum=MinCount,
        maximum=MaxCount,
        zone=zone or zones.choose(ctx.zones, ctx.settings.availability_zone),
        zone_required=zone is not None,
        key_name=KeyName,
        user_data=user_data(UserData),
        tags=given_tags.instance,
        volume_tags=given_tags.volume,
        token=ctx.token(ClientToken),
        devices=block_devices.read(BlockDeviceMappings),
        metadata=options.chosen(),
        shutdown_behavior=attributes.check_shutdown_behavior(behavior),
        disable_api_termination=DisableApiTermination,
        disable_api_stop=DisableApiStop,
        monitoring=monitored,
    )
    launched = instances.launch(
        ctx.db,
        ctx.account_id,
        asked,
        ctx.now,
        flavors=ctx.gateway.flavors,
        limits=ctx.limits,
    )
    if terms is not None:
        launched = spot.fulfil_at_once(
            ctx.db,
            ctx.account_id,
            launched,
            asked,
            terms,
            tagged=given_tags.request,
            now=ctx.now,
        )
    ctx.wakes.add("reconciler")
    return _reservation(_tagged(ctx, launched))


@action(harmless={"IncludeManagedResources": "no other service manages instances here"})
def describe_instances(
    ctx: Context,
    *,
    InstanceIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe the account's instances, launch by launch, oldest first."""
    pages.refuse_with_ids("instancesSet", InstanceIds, MaxResults)
    wanted = filters.Filters(Filters, FILTERS, tagged=True, document=untagged)
    page = pages.Page(
        ["DescribeInstances", ctx.account_id, InstanceIds, Filters], MaxResults, NextToken
    )
    if InstanceIds:
        batches: Iterable[list[Instance]] = [
            instances.find(ctx.db, ctx.account_id, InstanceIds, ctx.terminated_after)
        ]
    else:
        batches = select_described(
            ctx.db,
            ctx.account_id,
            terminated_after=ctx.terminated_after,
            after=places.read(page.after),
            among=wanted.exact("instance-id"),
        )
    passing = (
        (instance, tagged)
        for batch in batches
        for instance, tagged in _tagged(ctx, batch)
        if wanted.match(instance, tagged)
    )
    found, next_token = page.cut(passing, lambda item: places.write(item[0]))
    launches = groupby(found, key=lambda item: item[0].reservation_id)
    return {
        "Reservations": [_reservation(members) for _, members in launches],
        "NextToken": next_token,
    }


@action(
    writes=True,
    harmless={
        "Force": "a guest is always ended at once",
        "SkipOsShutdown": "a guest is always ended at once",
    },
)
def terminate_instances(ctx: Context, *, InstanceIds: Sequence[str]) -> Result:
    """End instances, all of the named ones or none."""
    done = instances.terminate(ctx.db, ctx.account_id, InstanceIds, ctx.now, ctx.terminated_after)
    ctx.wakes.add("reconciler")
    return {
        "TerminatingInstances": [
            {
                "InstanceId": one.instance_id,
                "CurrentState": state(one.after),
                "PreviousState": state(one.before),
            }
            for one in done
        ]
    }


def _tagged(ctx: Context, batch: Sequence[Instance]) -> Iterator[Tagged]:
    found = tags.select(ctx.db, [instance.id for instance in batch])
    for instance in batch:
        yield instance, found.get(instance.id, filters.NO_TAGS)


def _reservation(members: Iterable[Tagged]) -> Result:
    items = list(members)
    return {
        "ReservationId": items[0][0].reservation_id,
        "OwnerId": items[0][0].account_id,
        "Groups": [],
        "Instances": [describe(instance, tagged) for instance, tagged in items],
    }


def user_data(text: str | None) -> bytes | None:
    """Return user data decoded; refuse what is not base64."""
    if not text:
        return None
    try:
        return read_blob(text)
    except ValueError:
        raise InvalidParameterValue.user_data() from None
