# SPDX-License-Identifier: Apache-2.0
"""DescribeImageAttribute, ModifyImageAttribute, ResetImageAttribute, image deprecation.

An owner says who may launch an image, describes it, and says when it will be out of date.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import image_sharing, images
from gateway.cloud.image_sharing import Permissions
from gateway.ec2 import block_devices, constants
from gateway.ec2.dispatch import Result, action
from gateway.errors import (
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    UnsupportedOperation,
)
from gateway.store.instance_counts import last_launch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from gateway.ec2.context import Context
    from gateway.store.images import Image

# Attributes of EC2's images that no image here has: asked for, they are answered as absent.
_ABSENT = {
    "kernel": "KernelId",
    "ramdisk": "RamdiskId",
    "sriovNetSupport": "SriovNetSupport",
    "tpmSupport": "TpmSupport",
    "uefiData": "UefiData",
    "imdsSupport": "ImdsSupport",
    "deregistrationProtection": "DeregistrationProtection",
}
_TEXTS: Mapping[str, tuple[str, Callable[[Image], str | None]]] = {
    "bootMode": ("BootMode", lambda image: image.boot_mode),
    "description": ("Description", lambda image: image.description),
}
_SHARING = "launchPermission"
_LASTING = {"blockDeviceMapping", "bootMode", "lastLaunchedTime", "productCodes"}


@action()
def describe_image_attribute(ctx: Context, *, Attribute: str, ImageId: str) -> Result:
    """Tell one attribute of an image of one's own."""
    asked = _spelled(Attribute)
    image = images.own(ctx.db, ctx.account_id, ImageId)
    answer: Result = {"ImageId": ImageId}
    if asked in _TEXTS:
        name, text_of = _TEXTS[asked]
        text = text_of(image)
        return answer | {name: {} if text is None else {"Value": text}}
    if asked == _SHARING:
        allowed = image_sharing.permissions(ctx.db, ctx.account_id, ImageId)
        groups = [{"Group": group} for group in allowed.groups]
        accounts = [{"UserId": account} for account in allowed.accounts]
        return answer | {"LaunchPermissions": [*groups, *accounts]}
    if asked == "blockDeviceMapping":
        return answer | {"BlockDeviceMappings": block_devices.of_image(image)}
    if asked == "productCodes":
        return answer | {"ProductCodes": []}
    if asked == "lastLaunchedTime":
        launched = last_launch(ctx.db, ImageId)
        value = {} if launched is None else {"Value": constants.timestamp(launched)}
        return answer | {"LastLaunchedTime": value}
    if asked in _ABSENT:
        return answer | {_ABSENT[asked]: {}}
    raise InvalidParameterValue.of("attribute", Attribute, "It is not an attribute of an image.")


@action(
    writes=True,
    members=(
        "LaunchPermission.Add.UserId",
        "LaunchPermission.Add.Group",
        "LaunchPermission.Remove.UserId",
        "LaunchPermission.Remove.Group",
        "Description.Value",
    ),
)
def modify_image_attribute(
    ctx: Context,
    *,
    ImageId: str,
    Attribute: str | None = None,
    OperationType: str | None = None,
    UserIds: Sequence[str] = (),
    UserGroups: Sequence[str] = (),
    Value: str | None = None,
    LaunchPermission: Mapping[str, Any] | None = None,
    Description: Mapping[str, Any] | None = None,
) -> Result:
    """Change one attribute of an image of one's own."""
    named = {
        _attribute(Attribute) if Attribute else None,
        _SHARING if LaunchPermission is not None or UserIds or UserGroups else None,
        "description" if Description is not None else None,
    } - {None}
    if not named:
        raise InvalidParameterCombination("No attributes specified.")
    if len(named) > 1:
        raise InvalidParameterCombination(
            "Fields for multiple attribute types specified: "
            + ", ".join(sorted(str(one) for one in named))
        )
    if named == {"description"}:
        _exclude(description=Description, value=Value)
        _exclude(description="description", operationType=OperationType)
        text = Value if Description is None else Description.get("Value")
        if text is None:
            raise MissingParameter("Value")
        image_sharing.describe(ctx.db, ctx.account_id, ImageId, text)
        return {}
    given = Permissions(UserIds, UserGroups)
    _exclude(launchPermission=_SHARING, value=Value)
    _exclude(launchPermission=LaunchPermission, operationType=OperationType)
    _exclude(launchPermission=LaunchPermission, userId=UserIds or UserGroups or None)
    add, remove = _listed(LaunchPermission) if LaunchPermission else _one(OperationType, given)
    if not any((add.accounts, add.groups, remove.accounts, remove.groups)):
        raise MissingParameter("UserId")
    image_sharing.share(ctx.db, ctx.account_id, ImageId, add, remove)
    return {}


@action(writes=True)
def reset_image_attribute(ctx: Context, *, Attribute: str, ImageId: str) -> Result:
    """Keep an image of one's own to oneself again."""
    if _spelled(Attribute) != _SHARING:
        raise InvalidParameterValue.of("attribute", Attribute, f"Only {_SHARING} can be reset.")
    image_sharing.unshare(ctx.db, ctx.account_id, ImageId)
    return {}


@action(writes=True)
def enable_image_deprecation(ctx: Context, *, ImageId: str, DeprecateAt: datetime) -> Result:
    """Say from when on an image of one's own is out of date."""
    image_sharing.deprecate(ctx.db, ctx.account_id, ImageId, DeprecateAt, ctx.now)
    return {"Return": True}


@action(writes=True)
def disable_image_deprecation(ctx: Context, *, ImageId: str) -> Result:
    """Say that an image of one's own is not out of date and will not be."""
    image_sharing.deprecate(ctx.db, ctx.account_id, ImageId, None, ctx.now)
    return {"Return": True}


def _spelled(name: str) -> str:
    """Return the attribute's name; Ansible's ec2_ami begins it as a member: LaunchPermission."""
    return name[:1].lower() + name[1:]


def _attribute(given: str) -> str:
    name = _spelled(given)
    if name in {_SHARING, "description"}:
        return name
    if name in _ABSENT or name in _LASTING:
        raise UnsupportedOperation(f"Changing the attribute {name} is not supported.")
    raise InvalidParameterValue.of("attribute", given, "It is not an attribute of an image.")


def _exclude(**given: object) -> None:
    """Refuse two parameters that are both there."""
    if all(value is not None for value in given.values()):
        raise InvalidParameterCombination.of(*given)


def _one(operation: str | None, given: Permissions) -> tuple[Permissions, Permissions]:
    if not (given.accounts or given.groups):
        raise MissingParameter("UserId")
    if operation not in {"add", "remove"}:
        raise InvalidParameterValue.of("operationType", operation or "", "It is add or remove.")
    nobody = Permissions([], [])
    return (given, nobody) if operation == "add" else (nobody, given)


def _listed(changes: Mapping[str, Any]) -> tuple[Permissions, Permissions]:
    return _permissions(changes.get("Add", ())), _permissions(changes.get("Remove", ()))


def _permissions(items: Sequence[Mapping[str, Any]]) -> Permissions:
    return Permissions(
        [one["UserId"] for one in items if "UserId" in one],
        [one["Group"] for one in items if "Group" in one],
    )
