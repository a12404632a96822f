# SPDX-License-Identifier: Apache-2.0
"""DescribeVolumes, DescribeVolumeStatus, DescribeVolumesModifications.

The volumes are the root disks of instances: made for a launch, and gone with their instances. None
can be made, moved or changed by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import health, volumes
from gateway.ec2 import filters, pages, places
from gateway.ec2.absent import Absent, Asked
from gateway.ec2.dispatch import Result, action
from gateway.ec2.volume_document import FILTERS, STATUS_FILTERS, Watched, describe, describe_status
from gateway.errors import InvalidVolumeModificationNotFound
from gateway.store import nodes, tags
from gateway.store.instances import select_described

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.ec2.context import Context
    from gateway.store.instances import Instance

MODIFICATIONS = Absent(
    "DescribeVolumesModifications",
    "volume",
    "volumeIds",
    """
    modification-state original-iops original-size original-volume-type
    originalMultiAttachEnabled start-time target-iops target-size target-volume-type
    targetMultiAttachEnabled volume-id
    """,
    tagged=False,
)


@action(harmless={"IncludeManagedResources": "no other service makes volumes here"})
def describe_volumes(
    ctx: Context,
    *,
    VolumeIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe the root disks of the account's instances, in the instances' order."""
    pages.refuse_with_ids("volumeIds", VolumeIds, MaxResults)
    wanted = filters.Filters(Filters, FILTERS, tagged=True)
    query = ["DescribeVolumes", ctx.account_id, VolumeIds, Filters]
    page = pages.Page(query, MaxResults, NextToken)
    among = wanted.exact("attachment.instance-id")
    if among is None and (named := wanted.exact("volume-id")) is not None:
        among = [volumes.instance_id(one) for one in named]
    passing = (
        (instance, tagged)
        for batch in _having(ctx, VolumeIds, page, among)
        for instance, tagged in _tagged(ctx, batch)
        if wanted.match(instance, tagged)
    )
    found, next_token = page.cut(passing, lambda item: places.write(item[0]))
    return {"Volumes": [describe(*item) for item in found], "NextToken": next_token}


@action(harmless={"IncludeManagedResources": "no other service makes volumes here"})
def describe_volume_status(
    ctx: Context,
    *,
    VolumeIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Tell of the root disks whether the nodes that keep them are there."""
    pages.refuse_with_ids("volumeIds", VolumeIds, MaxResults)
    wanted = filters.Filters(Filters, STATUS_FILTERS, document=describe_status)
    query = ["DescribeVolumeStatus", ctx.account_id, VolumeIds, Filters]
    page = pages.Page(query, MaxResults, NextToken)
    passing = (
        one
        for batch in _having(ctx, VolumeIds, page)
        for one in _watched(ctx, batch)
        if wanted.match(one)
    )
    found, next_token = page.cut(passing, lambda one: places.write(one.instance))
    return {"VolumeStatuses": [describe_status(one) for one in found], "NextToken": next_token}


@action(harmless={"IncludeManagedResources": "no other service makes volumes here"})
def describe_volumes_modifications(
    ctx: Context,
    *,
    VolumeIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe changes of volumes: no volume has had any."""
    pages.refuse_with_ids(MODIFICATIONS.ids, VolumeIds, MaxResults)
    MODIFICATIONS.check(ctx, Asked((), Filters, MaxResults, NextToken))
    if VolumeIds:
        volumes.find(ctx.db, ctx.account_id, VolumeIds)
        raise InvalidVolumeModificationNotFound(VolumeIds)
    return {"VolumesModifications": []}


@action()
def get_ebs_encryption_by_default(ctx: Context) -> Result:  # noqa: ARG001 - it is so for everybody
    """Say that new volumes are not encrypted."""
    return {"EbsEncryptionByDefault": False}


def _having(
    ctx: Context, volume_ids: Sequence[str], page: pages.Page, among: Sequence[str] | None = None
) -> Iterable[list[Instance]]:
    """Return in batches the instances that have the named volumes, or any."""
    if volume_ids:
        return [volumes.find(ctx.db, ctx.account_id, volume_ids)]
    batches = select_described(
        ctx.db,
        ctx.account_id,
        # Of the terminated ones none is wanted.
        terminated_after=ctx.now,
        after=places.read(page.after),
        among=among,
    )
    return ([one for one in batch if volumes.has_one(one)] for batch in batches)


def _tagged(
    ctx: Context, batch: Sequence[Instance]
) -> Iterator[tuple[Instance, Mapping[str, str]]]:
    of = {instance.id: volumes.volume_id(instance.id) for instance in batch}
    found = tags.select(ctx.db, list(of.values()))
    for instance in batch:
        yield instance, found.get(of[instance.id], filters.NO_TAGS)


def _watched(ctx: Context, batch: Sequence[Instance]) -> Iterator[Watched]:
    heard = nodes.select_contacts(ctx.db)
    for instance in batch:
        heard_at = heard.get(instance.claimed_by or "")
        yield Watched(instance, health.of_disk(instance, heard_at, ctx.now))
