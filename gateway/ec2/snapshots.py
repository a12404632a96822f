# SPDX-License-Identifier: Apache-2.0
"""DescribeSnapshots, DeleteSnapshot.

The snapshots are the disks of the account's images: made with them, and gone with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import snapshots
from gateway.ec2 import block_devices, constants, filters, owners, pages
from gateway.ec2.dispatch import Result, action
from gateway.ec2.filters import nothing
from gateway.ec2.image_document import place
from gateway.ec2.tagging import tag_set
from gateway.store import tags

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.ec2.context import Context
    from gateway.ec2.filters import Look
    from gateway.store.images import Image

_TIER = "standard"
_ALIASES = {"amazon", "aws-backup-vault"}


def _progress(image: Image) -> str:
    return "100%" if image.state == "available" else "0%"


FILTERS: dict[str, Look[Image]] = {
    "description": snapshots.description,
    "encrypted": lambda _: False,
    "owner-alias": nothing,
    "owner-id": lambda image: image.account_id,
    "progress": _progress,
    "snapshot-id": lambda image: snapshots.snapshot_id(image.id),
    "start-time": lambda image: constants.timestamp(image.created_at),
    "status": lambda image: snapshots.STATES[image.state],
    "storage-tier": lambda _: _TIER,
    "transfer-type": nothing,
    "volume-id": snapshots.volume,
    "volume-size": block_devices.gib,
}


@action()
def describe_snapshots(
    ctx: Context,
    *,
    SnapshotIds: Sequence[str] = (),
    OwnerIds: Sequence[str] = (),
    RestorableByUserIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe the disks of the account's own images, oldest first; nobody shares any."""
    pages.refuse_with_ids("snapshotIds", SnapshotIds, MaxResults)
    wanted = filters.Filters(Filters, FILTERS, tagged=True)
    query = [
        "DescribeSnapshots",
        ctx.account_id,
        SnapshotIds,
        OwnerIds,
        RestorableByUserIds,
        Filters,
    ]
    page = pages.Page(query, MaxResults, NextToken)
    asked = (
        owners.accounts(ctx, OwnerIds, _ALIASES),
        owners.accounts(ctx, RestorableByUserIds, {"all"}),
    )
    mine = all(not named or ctx.account_id in named for named in asked)
    found = snapshots.find(ctx.db, ctx.account_id, SnapshotIds or None)
    ids = {image.id: snapshots.snapshot_id(image.id) for image in found}
    tagged = tags.select(ctx.db, list(ids.values()))
    passing = (
        image
        for image in found
        if mine
        and (page.after is None or place(image) > page.after)
        and wanted.match(image, tagged.get(ids[image.id], filters.NO_TAGS))
    )
    shown, next_token = page.cut(passing, place)
    return {
        "Snapshots": [_describe(image, tagged.get(ids[image.id], {})) for image in shown],
        "NextToken": next_token,
    }


@action(writes=True)
def delete_snapshot(ctx: Context, *, SnapshotId: str) -> Result:
    """Refuse while its image is registered; afterwards it is gone already."""
    snapshots.delete(ctx.db, ctx.account_id, SnapshotId, ctx.now)
    return {}


def _describe(image: Image, tagged: Mapping[str, str]) -> dict[str, Any]:
    return {
        "SnapshotId": snapshots.snapshot_id(image.id),
        "VolumeId": snapshots.volume(image),
        "State": snapshots.STATES[image.state],
        "StateMessage": image.state_reason if image.state == "failed" else None,
        "StartTime": image.created_at,
        "Progress": _progress(image),
        "OwnerId": image.account_id,
        "Description": snapshots.description(image),
        "VolumeSize": block_devices.gib(image),
        "Encrypted": False,
        "StorageTier": _TIER,
        "Tags": tag_set(tagged),
    }
