# SPDX-License-Identifier: Apache-2.0
"""DescribeVolumes, DescribeVolumeStatus, DescribeVolumesModifications, DescribeSnapshots.

There are none: a root disk is made for the launch and gone with its instance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.ec2.absent import Absent, Asked
from gateway.ec2.dispatch import Result, action

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.ec2.context import Context

VOLUMES = Absent(
    "DescribeVolumes",
    "volume",
    "volumeIds",
    """
    attachment.attach-time attachment.delete-on-termination attachment.device
    attachment.instance-id attachment.status availability-zone availability-zone-id
    create-time encrypted fast-restored multi-attach-enabled operator.managed
    operator.principal size snapshot-id status volume-id volume-type
    """,
)

STATUSES = Absent(
    "DescribeVolumeStatus",
    "volume",
    "volumeIds",
    """
    action.code action.description action.event-id attachment-status.instance-id
    attachment-status.io-performance availability-zone availability-zone-id
    event.description event.event-id event.event-type event.not-after event.not-before
    volume-status.details-name volume-status.details-status volume-status.status
    """,
    tagged=False,
)

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

SNAPSHOTS = Absent(
    "DescribeSnapshots",
    "snapshot",
    "snapshotIds",
    """
    description encrypted owner-alias owner-id progress snapshot-id start-time status
    storage-tier transfer-type volume-id volume-size
    """,
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
    """Describe volumes."""
    VOLUMES.check(ctx, Asked(VolumeIds, Filters, MaxResults, NextToken))
    return {"Volumes": []}


@action(harmless={"IncludeManagedResources": "no other service makes volumes here"})
def describe_volume_status(
    ctx: Context,
    *,
    VolumeIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe how volumes are."""
    STATUSES.check(ctx, Asked(VolumeIds, Filters, MaxResults, NextToken))
    return {"VolumeStatuses": []}


@action(harmless={"IncludeManagedResources": "no other service makes volumes here"})
def describe_volumes_modifications(
    ctx: Context,
    *,
    VolumeIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe changes of volumes."""
    MODIFICATIONS.check(ctx, Asked(VolumeIds, Filters, MaxResults, NextToken))
    return {"VolumesModifications": []}


@action(
    harmless={
        "OwnerIds": "nobody has a snapshot",
        "RestorableByUserIds": "nobody has a snapshot",
    }
)
def describe_snapshots(
    ctx: Context,
    *,
    SnapshotIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe snapshots."""
    SNAPSHOTS.check(ctx, Asked(SnapshotIds, Filters, MaxResults, NextToken))
    return {"Snapshots": []}


@action()
def get_ebs_encryption_by_default(ctx: Context) -> Result:  # noqa: ARG001 - it is so for everybody
    """Say that new volumes are not encrypted."""
    return {"EbsEncryptionByDefault": False}
