# SPDX-License-Identifier: Apache-2.0
"""ImportImage, DescribeImportImageTasks, CancelImportTask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import image_imports
from gateway.cloud.image_imports import NewImport
from gateway.cloud.images import source_object
from gateway.ec2 import filters, pages, tagging
from gateway.ec2.dispatch import Result, action
from gateway.errors import (
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
)
from gateway.store import images, tags

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.ec2.context import Context
    from gateway.ec2.filters import Value
    from gateway.store.import_tasks import ImportTask

FILTERS: dict[str, Callable[[ImportTask], Value]] = {"task-state": lambda task: task.state}

_CLIENT = "what the client has measured is not used"


@action(
    writes=True,
    members=(
        *("DiskContainers.Description", "DiskContainers.Format", "DiskContainers.Url"),
        *("DiskContainers.UserBucket.S3Bucket", "DiskContainers.UserBucket.S3Key"),
    ),
    only={"Encrypted": False, "Hypervisor": "xen"},
    harmless={
        "ClientData.Comment": _CLIENT,
        "ClientData.UploadEnd": _CLIENT,
        "ClientData.UploadSize": _CLIENT,
        "ClientData.UploadStart": _CLIENT,
        "DiskContainers.DeviceName": "an image's only disk is its root device",
        "RoleName": "no role is needed to read the disk",
    },
)
def import_image(
    ctx: Context,
    *,
    DiskContainers: Sequence[Mapping[str, Any]] = (),
    Architecture: str = "x86_64",
    BootMode: str | None = None,
    Description: str = "",
    Platform: str | None = None,
    TagSpecifications: Sequence[Mapping[str, Any]] = (),
    ClientToken: str | None = None,
) -> Result:
    """Begin to make an image out of a disk in another program's format."""
    if not DiskContainers:
        raise MissingParameter("DiskContainers")
    if len(DiskContainers) > 1:
        raise InvalidParameterValue("Only one disk can be imported; an image has no other.")
    disk = DiskContainers[0]
    said = disk.get("Format")
    asked = NewImport(
        location=_location(disk),
        format=None if said is None else said.lower(),
        description=Description,
        disk_description=disk.get("Description", ""),
        architecture=Architecture,
        platform=Platform,
        token=ctx.token(ClientToken),
        boot_mode=BootMode,
    )
    task = image_imports.begin(
        ctx.db,
        ctx.account_id,
        asked,
        tagged=tagging.read(TagSpecifications, "import-image-task"),
        now=ctx.now,
        sources=ctx.gateway.image_sources,
        limits=ctx.limits,
    )
    ctx.wakes.add("importer")
    return _describe(task, Architecture, tags.select(ctx.db, [task.id]).get(task.id, {}))


def _location(disk: Mapping[str, Any]) -> str:
    url, bucket = disk.get("Url"), disk.get("UserBucket")
    if url and bucket:
        raise InvalidParameterCombination.of("DiskContainer.Url", "DiskContainer.UserBucket")
    if bucket is not None:
        for name in ("S3Bucket", "S3Key"):
            if not bucket.get(name):
                raise MissingParameter(f"DiskContainer.UserBucket.{name}")
        return f"s3://{bucket['S3Bucket']}/{bucket['S3Key']}"
    if not url:
        raise MissingParameter("DiskContainer.Url")
    return str(url)


@action()
def describe_import_image_tasks(
    ctx: Context,
    *,
    ImportTaskIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Tell how far imports are, oldest first."""
    pages.refuse_with_ids("importTaskIdsSet", ImportTaskIds, MaxResults)
    wanted = filters.Filters(Filters, FILTERS, tagged=True)
    query = ["DescribeImportImageTasks", ctx.account_id, ImportTaskIds, Filters]
    page = pages.Page(query, MaxResults, NextToken)
    found = image_imports.find(ctx.db, ctx.account_id, ImportTaskIds or None)
    tagged = tags.select(ctx.db, [task.id for task in found])
    passing = (
        task
        for task in found
        if (page.after is None or _place(task) > page.after)
        and wanted.match(task, tagged.get(task.id, filters.NO_TAGS))
    )
    shown, next_token = page.cut(passing, _place)
    return {
        "ImportImageTasks": [
            _described_later(ctx, task, tagged.get(task.id, filters.NO_TAGS)) for task in shown
        ],
        "NextToken": next_token,
    }


@action(writes=True, harmless={"CancelReason": "the task's owner knows why"})
def cancel_import_task(ctx: Context, *, ImportTaskId: str | None = None) -> Result:
    """Stop an import; what there is of it is deleted."""
    if ImportTaskId is None:
        raise MissingParameter("ImportTaskId")
    before, after = image_imports.cancel(ctx.db, ctx.account_id, ImportTaskId)
    ctx.wakes.add("importer")
    return {"ImportTaskId": ImportTaskId, "PreviousState": before, "State": after}


def _place(task: ImportTask) -> list[str]:
    return [task.created_at.isoformat(), task.id]


def _described_later(ctx: Context, task: ImportTask, tagged: Mapping[str, str]) -> dict[str, Any]:
    image = images.get(ctx.db, task.image_id)
    if image is None:
        return _describe(task, None, tagged)
    return _describe(task, image.architecture, tagged) | {"BootMode": image.boot_mode}


def _describe(
    task: ImportTask, architecture: str | None, tagged: Mapping[str, str]
) -> dict[str, Any]:
    done = task.state == "completed"
    disk: dict[str, object] = {
        "Description": task.disk_description,
        "DiskImageSize": None if task.size is None else float(task.size),
        "Format": None if task.format is None else task.format.upper(),
        "Status": task.state,
        "Url": task.location,
    }
    if found := source_object(task.location):
        disk["UserBucket"] = dict(zip(("S3Bucket", "S3Key"), found, strict=True))
    return {
        "ImportTaskId": task.id,
        "Description": task.description,
        "Architecture": architecture,
        "Platform": task.platform,
        "Hypervisor": "xen",
        "Encrypted": False,
        # EC2 names the image when there is one, and the progress as long as there is none.
        "ImageId": task.image_id if done else None,
        "Progress": None if task.state != "active" else str(task.progress),
        "Status": task.state,
        "StatusMessage": task.status_message,
        "SnapshotDetails": [disk],
        "Tags": tagging.tag_set(tagged),
    }
