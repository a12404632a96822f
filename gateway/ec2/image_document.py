# SPDX-License-Identifier: Apache-2.0
"""How an image looks in EC2's answers, and what its filters look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import images
from gateway.ec2 import block_devices, constants, tagging
from gateway.ec2.filters import nothing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.ec2.context import Context
    from gateway.ec2.filters import Look
    from gateway.store.images import Image

_INVALID = "Client.InvalidImage"
_CREATED = "Client.CreateImage"
_OURS = "Server.InternalError"

FILTERS: dict[str, Look[Image]] = {
    **block_devices.IMAGE_FILTERS,
    "architecture": lambda image: image.architecture,
    "boot-mode": "BootMode",
    "creation-date": lambda image: constants.timestamp(image.created_at),
    "description": lambda image: image.description,
    "ena-support": "EnaSupport",
    "free-tier-eligible": "FreeTierEligible",
    "hypervisor": lambda _: constants.HYPERVISOR,
    "image-allowed": "ImageAllowed",
    "image-id": lambda image: image.id,
    "image-type": lambda _: "machine",
    "is-public": lambda image: image.public,
    "kernel-id": "KernelId",
    "manifest-location": lambda image: image.location,
    "name": lambda image: image.name,
    "owner-alias": "ImageOwnerAlias",
    "owner-id": lambda image: image.account_id,
    "platform": "Platform",
    "product-code": "ProductCodes.ProductCodeId",
    "product-code.type": "ProductCodes.ProductCodeType",
    "public-ssm-parameter-name": "PublicSsmParameterName",
    "ramdisk-id": "RamdiskId",
    "root-device-name": lambda image: image.root_device_name,
    "root-device-type": lambda _: constants.ROOT_DEVICE_TYPE,
    "source-image-id": lambda image: image.source_image_id,
    "source-image-region": "SourceImageRegion",
    "source-instance-id": lambda image: image.source_instance_id,
    "sriov-net-support": "SriovNetSupport",
    "state": lambda image: image.state,
    "state-reason-code": lambda image: None if image.state_reason is None else _code(image),
    "state-reason-message": lambda image: image.state_reason,
    "virtualization-type": lambda _: constants.VIRTUALIZATION_TYPE,
    # What EC2 finds out about an image, or takes down of its making, and nothing here does.
    **dict.fromkeys(
        (
            "image-watermark.source-image-creation-time",
            "image-watermark.source-image-id",
            "image-watermark.source-image-region",
            "image-watermark.watermark-creation-time",
            "image-watermark.watermark-key",
            "instance-type-specification.supported-instance-type",
            "instance-type-specification.unsupported-instance-type",
            "scan-result.critical-fix-available-since",
            "scan-result.finding-scan-date",
            "scan-result.high-fix-available-since",
            "scan-result.highest-finding-severity-label",
            "scan-result.informational-fix-available-since",
            "scan-result.low-fix-available-since",
            "scan-result.medium-fix-available-since",
        ),
        nothing,
    ),
}


def place(image: Image) -> list[str]:
    """Return where in the order of description an image is, and its snapshot."""
    return [constants.timestamp(image.created_at), image.id]


def describe(ctx: Context, image: Image, tagged: Mapping[str, str]) -> dict[str, Any]:
    """Return the structure ``Image`` as the account may see it."""
    mine = image.account_id == ctx.account_id
    return {
        "ImageId": image.id,
        # Where the owner took it from is the owner's to know.
        "ImageLocation": image.location if mine else f"{image.account_id}/{image.name}",
        "State": image.state,
        "StateReason": _state_reason(image),
        "OwnerId": image.account_id,
        "CreationDate": constants.timestamp(image.created_at),
        "DeprecationTime": image.deprecated_at and constants.timestamp(image.deprecated_at),
        "Public": image.public,
        "ProductCodes": [],
        "Architecture": image.architecture,
        "BootMode": image.boot_mode,
        "ImageType": "machine",
        "Name": image.name,
        "Description": image.description,
        "RootDeviceType": constants.ROOT_DEVICE_TYPE,
        "RootDeviceName": image.root_device_name,
        "BlockDeviceMappings": block_devices.of_image(image),
        "SourceInstanceId": image.source_instance_id,
        "SourceImageId": image.source_image_id,
        "SourceImageRegion": image.source_image_id and ctx.settings.region,
        "VirtualizationType": constants.VIRTUALIZATION_TYPE,
        "Hypervisor": constants.HYPERVISOR,
        "Tags": tagging.tag_set(tagged),
    }


def _state_reason(image: Image) -> dict[str, str] | None:
    if image.state_reason is None:
        return None
    return {"Code": _code(image), "Message": image.state_reason}


def _code(image: Image) -> str:
    # What is said of an image that is good is how a running guest's disk was copied.
    if image.state == "available":
        return _CREATED
    return _OURS if images.is_our_failure(image) else _INVALID
