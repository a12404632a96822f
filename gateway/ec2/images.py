# SPDX-License-Identifier: Apache-2.0
"""RegisterImage, CreateImage, CopyImage, DescribeImages, DeregisterImage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import captures, disks, image_copies, image_sharing, images, snapshots
from gateway.cloud.captures import NewCapture
from gateway.cloud.image_copies import Copy
from gateway.cloud.images import NewImage
from gateway.ec2 import block_devices, filters, owners, pages, tagging
from gateway.ec2.dispatch import Result, action
from gateway.ec2.image_document import FILTERS, describe, place
from gateway.errors import InvalidParameterValue, MissingParameter
from gateway.store import launch_permissions, tags

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.ec2.context import Context
    from gateway.store.images import Image

# Accounts that AWS has names for and that are not here: their images are none.
_ALIASES = {"amazon", "aws-marketplace", "aws-backup-vault", "microsoft"}


@action(
    writes=True,
    members=block_devices.MEMBERS,
    only={"VirtualizationType": "hvm", **block_devices.ONLY},
    harmless={
        "EnaSupport": "guests have a virtio network card whatever the image supports",
        "SriovNetSupport": "guests have a virtio network card whatever the image supports",
        **block_devices.HARMLESS,
    },
)
def register_image(
    ctx: Context,
    *,
    Name: str,
    ImageLocation: str | None = None,
    Description: str = "",
    Architecture: str = "x86_64",
    BootMode: str | None = None,
    RootDeviceName: str = disks.DEFAULT_ROOT,
    BlockDeviceMappings: Sequence[Mapping[str, Any]] = (),
    TagSpecifications: Sequence[Mapping[str, Any]] = (),
) -> Result:
    """Register a disk image; it is pending until the store has taken it in."""
    if ImageLocation is None:
        raise MissingParameter("ImageLocation")
    given_tags = tagging.read_each(TagSpecifications, "image", snapshots.KIND)
    image = images.register(
        ctx.db,
        ctx.account_id,
        NewImage(
            Name,
            ImageLocation,
            Description,
            Architecture,
            root_device_name=RootDeviceName,
            devices=block_devices.read(BlockDeviceMappings),
            boot_mode=BootMode,
        ),
        tagged=given_tags["image"],
        now=ctx.now,
        sources=ctx.gateway.image_sources,
        limits=ctx.limits,
    )
    snapshots.tag(ctx.db, image, given_tags[snapshots.KIND])
    ctx.wakes.add("importer")
    return {"ImageId": image.id}


@action(
    writes=True,
    members=block_devices.MEMBERS,
    only=block_devices.ONLY,
    harmless=block_devices.HARMLESS,
)
def create_image(
    ctx: Context,
    *,
    InstanceId: str,
    Name: str,
    Description: str = "",
    NoReboot: bool = False,
    BlockDeviceMappings: Sequence[Mapping[str, Any]] = (),
    TagSpecifications: Sequence[Mapping[str, Any]] = (),
) -> Result:
    """Make an image of an instance's disk; it is pending until the store has it.

    A running guest boots anew, and is copied when it has shut down; with ``NoReboot`` it goes on.
    A stopped instance stays so.
    """
    given_tags = tagging.read_each(TagSpecifications, "image", snapshots.KIND)
    asked = NewCapture(
        InstanceId,
        Name,
        Description,
        given_tags["image"],
        None if NoReboot else ctx.settings.shutdown_grace,
        block_devices.read(BlockDeviceMappings),
    )
    image = captures.begin(
        ctx.db, ctx.account_id, asked, ctx.now, ctx.terminated_after, limits=ctx.limits
    )
    snapshots.tag(ctx.db, image, given_tags[snapshots.KIND])
    ctx.wakes.update(("nodelink", "importer"))
    return {"ImageId": image.id}


@action(writes=True, only={"Encrypted": False})
def copy_image(
    ctx: Context,
    *,
    Name: str,
    SourceImageId: str,
    SourceRegion: str,
    Description: str = "",
    CopyImageTags: bool = False,
    TagSpecifications: Sequence[Mapping[str, Any]] = (),
    ClientToken: str | None = None,
) -> Result:
    """Make an image of one's own over the same bytes; it is available at once."""
    if SourceRegion != ctx.settings.region:
        raise InvalidParameterValue.of(
            "sourceRegion", SourceRegion, f"The only region is {ctx.settings.region}."
        )
    given_tags = tagging.read_each(TagSpecifications, "image", snapshots.KIND)
    asked = Copy(
        source_id=SourceImageId,
        name=Name,
        description=Description,
        tags=given_tags["image"],
        snapshot_tags=given_tags[snapshots.KIND],
        with_tags=CopyImageTags,
        token=ctx.token(ClientToken),
    )
    return {"ImageId": image_copies.copy(ctx.db, ctx.account_id, asked, ctx.now, ctx.limits)}


@action(harmless={"IncludeDisabled": "no image is disabled"})
def describe_images(
    ctx: Context,
    *,
    ImageIds: Sequence[str] = (),
    Owners: Sequence[str] = (),
    ExecutableUsers: Sequence[str] = (),
    IncludeDeprecated: bool = False,
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe the images that the account may launch, oldest first."""
    pages.refuse_with_ids("imagesSet", ImageIds, MaxResults)
    wanted = filters.Filters(
        Filters, FILTERS, tagged=True, document=lambda image: describe(ctx, image, filters.NO_TAGS)
    )
    query = [
        "DescribeImages",
        ctx.account_id,
        ImageIds,
        Owners,
        ExecutableUsers,
        IncludeDeprecated,
        Filters,
    ]
    page = pages.Page(query, MaxResults, NextToken)
    named = owners.accounts(ctx, Owners, _ALIASES)
    found = images.find(ctx.db, ctx.account_id, ImageIds or None)
    # Another account's tags are its own, on public images too.
    mine = [image.id for image in found if image.account_id == ctx.account_id]
    tagged = tags.select(ctx.db, mine)
    executable = _executable(ctx, found, ExecutableUsers)
    passing = (
        image
        for image in found
        if (page.after is None or place(image) > page.after)
        # EC2: whoever names a deprecated image gets it.
        and (IncludeDeprecated or ImageIds or image_sharing.is_shown(image, *_asking(ctx)))
        and (not named or image.account_id in named)
        and (not ExecutableUsers or image.id in executable)
        and wanted.match(image, tagged.get(image.id, filters.NO_TAGS))
    )
    shown, next_token = page.cut(passing, place)
    return {
        "Images": [describe(ctx, image, tagged.get(image.id, filters.NO_TAGS)) for image in shown],
        "NextToken": next_token,
    }


@action(writes=True)
def deregister_image(
    ctx: Context, *, ImageId: str, DeleteAssociatedSnapshots: bool = False
) -> Result:
    """Take an image away from new launches; instances that have it go on.

    Its snapshot goes with it in any case.
    """
    images.deregister(ctx.db, ctx.account_id, ImageId)
    if not DeleteAssociatedSnapshots:
        snapshots.gone(ctx.db, ctx.account_id, ImageId, ctx.now)
    ctx.wakes.add("importer")
    gone = {"SnapshotId": snapshots.snapshot_id(ImageId), "ReturnCode": "success"}
    return {"Return": True, "DeleteSnapshotResults": [gone] if DeleteAssociatedSnapshots else []}


def _asking(ctx: Context) -> tuple[str, Any]:
    return ctx.account_id, ctx.now


def _executable(ctx: Context, found: Sequence[Image], users: Sequence[str]) -> set[str]:
    """Return which of the images are for these users by a permission of their owners.

    EC2: ``all`` are the public images; ``self``, or an account, those that it is named for. For
    which other accounts an image is, only its owner learns.
    """
    accounts = owners.accounts(ctx, users, {"all"})
    named = launch_permissions.select(ctx.db, [image.id for image in found]) if users else {}
    return {
        image.id
        for image in found
        if (image.public and "all" in accounts)
        or (ctx.account_id in accounts and ctx.account_id in named.get(image.id, ()))
        or (image.account_id == ctx.account_id and accounts.intersection(named.get(image.id, ())))
    }
