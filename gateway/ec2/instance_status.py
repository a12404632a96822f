# SPDX-License-Identifier: Apache-2.0
"""DescribeInstanceStatus: what the checks of node and guest found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.cloud import health, instances
from gateway.ec2 import filters, pages, places
from gateway.ec2.dispatch import Result, action
from gateway.ec2.instance_document import state
from gateway.store import machines, nodes
from gateway.store.instances import select_described

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.cloud.health import Check, Event
    from gateway.ec2.context import Context
    from gateway.ec2.filters import Look
    from gateway.store.instances import Instance


class Checked(NamedTuple):
    """An instance, what its two checks found, and what is scheduled for it."""

    instance: Instance
    system: Check
    guest: Check
    event: Event | None


FILTERS: dict[str, Look[Checked]] = {
    "application-status.status": "ApplicationStatus.Status",
    "attached-ebs-status.status": "AttachedEbsStatus.Status",
    "availability-zone": "AvailabilityZone",
    "availability-zone-id": "AvailabilityZoneId",
    # A drain has no latest end, and no deadline that could be moved.
    "event.code": "Events.Code",
    "event.description": "Events.Description",
    "event.instance-event-id": "Events.InstanceEventId",
    "event.not-after": "Events.NotAfter",
    "event.not-before": "Events.NotBefore",
    "event.not-before-deadline": "Events.NotBeforeDeadline",
    "instance-state-code": "InstanceState.Code",
    "instance-state-name": "InstanceState.Name",
    # Reachability is the one detail that there is.
    "instance-status.reachability": "InstanceStatus.Details.Status",
    "instance-status.status": "InstanceStatus.Status",
    "operator.managed": "Operator.Managed",
    "operator.principal": "Operator.Principal",
    "system-status.reachability": "SystemStatus.Details.Status",
    "system-status.status": "SystemStatus.Status",
}


@action(harmless={"IncludeManagedResources": "no other service manages instances here"})
def describe_instance_status(
    ctx: Context,
    *,
    InstanceIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    IncludeAllInstances: bool = False,
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Tell how running instances are, or all with ``IncludeAllInstances``."""
    pages.refuse_with_ids("instancesSet", InstanceIds, MaxResults)
    wanted = filters.Filters(Filters, FILTERS, document=_document)
    query = ["DescribeInstanceStatus", ctx.account_id, InstanceIds, Filters, IncludeAllInstances]
    page = pages.Page(query, MaxResults, NextToken)
    batches: Iterable[list[Instance]]
    if InstanceIds:
        batches = [instances.find(ctx.db, ctx.account_id, InstanceIds, ctx.terminated_after)]
    else:
        batches = select_described(
            ctx.db,
            ctx.account_id,
            terminated_after=ctx.terminated_after,
            after=places.read(page.after),
        )
    passing = (
        one
        for batch in batches
        for one in _checked(ctx, batch)
        if (IncludeAllInstances or one.instance.state == "running") and wanted.match(one)
    )
    found, next_token = page.cut(passing, lambda one: places.write(one.instance))
    return {"InstanceStatuses": [_document(one) for one in found], "NextToken": next_token}


def _checked(ctx: Context, batch: Sequence[Instance]) -> Iterator[Checked]:
    heard = nodes.select_contacts(ctx.db)
    drained = [one for one in machines.select(ctx.db) if one.drained_since is not None]
    for instance in batch:
        system = health.of_node(instance, heard.get(instance.claimed_by or ""), ctx.now)
        guest = health.of_guest(instance, system, ctx.now)
        yield Checked(instance, system, guest, health.scheduled(instance, drained))


def _document(one: Checked) -> dict[str, Any]:
    return {
        "InstanceId": one.instance.id,
        "AvailabilityZone": one.instance.availability_zone,
        "AvailabilityZoneId": one.instance.availability_zone,
        "InstanceState": state(one.instance.state),
        "InstanceStatus": _summary(one.guest),
        "SystemStatus": _summary(one.system),
        "Events": [] if one.event is None else [_event(one.event)],
        "Operator": {"Managed": False},
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "InstanceEventId": event.id,
        "Code": event.code,
        "Description": event.description,
        "NotBefore": event.not_before,
    }


def _summary(check: Check) -> dict[str, Any]:
    details = {
        "Name": "reachability",
        "Status": check.reachability,
        "ImpairedSince": check.impaired_since,
    }
    return {"Status": check.status, "Details": [] if check.reachability is None else [details]}
