# SPDX-License-Identifier: Apache-2.0
"""Block device mappings: an instance's root disk, whose size may be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import disks, snapshots
from gateway.cloud.disks import Device
from gateway.errors import MissingParameter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.ec2.filters import Value
    from gateway.store.images import Image

_IN = "BlockDeviceMappings"
MEMBERS = (f"{_IN}.DeviceName", f"{_IN}.Ebs.VolumeSize")
ONLY: Mapping[str, object] = {
    f"{_IN}.Ebs.DeleteOnTermination": True,
    f"{_IN}.Ebs.Encrypted": False,
}
HARMLESS: Mapping[str, str] = {
    f"{_IN}.Ebs.VolumeType": "it is not kept: a launch names the type of its volume itself"
}
"""For images."""

LAUNCH_MEMBERS = (*MEMBERS, f"{_IN}.Ebs.SnapshotId", f"{_IN}.Ebs.VolumeType")
LAUNCH_NOTES: Mapping[str, str] = {
    f"{_IN}.Ebs.SnapshotId": "only the image's own, as DescribeImages names it",
    f"{_IN}.Ebs.VolumeType": "it is told again, and makes no difference: disks are files",
}


def gib(image: Image) -> int | None:
    """Return how many GiB the disk of a launch has; None while that is not known."""
    size = image.disk_size()
    return None if size is None else disks.whole_gib(size)


IMAGE_FILTERS: dict[str, Callable[[Image], Value | Iterable[Value]]] = {
    "block-device-mapping.delete-on-termination": lambda _: True,
    "block-device-mapping.device-name": lambda image: image.root_device_name,
    "block-device-mapping.encrypted": lambda _: False,
    "block-device-mapping.snapshot-id": lambda image: snapshots.snapshot_id(image.id),
    "block-device-mapping.volume-size": gib,
    "block-device-mapping.volume-type": lambda _: None,
}


def read(mappings: Sequence[Mapping[str, Any]]) -> list[Device]:
    """Return the disks that a request asks for."""
    return [_device(mapping) for mapping in mappings]


def of_image(image: Image) -> list[dict[str, Any]]:
    """Return the member ``BlockDeviceMappings`` of an image.

    There is no type of volume behind the disk, so none is named.
    """
    ebs = {
        "DeleteOnTermination": True,
        "SnapshotId": snapshots.snapshot_id(image.id),
        "VolumeSize": gib(image),
        "Encrypted": False,
    }
    return [{"DeviceName": image.root_device_name, "Ebs": ebs}]


def _device(mapping: Mapping[str, Any]) -> Device:
    name = mapping.get("DeviceName")
    if not name:
        raise MissingParameter("DeviceName")
    ebs = mapping.get("Ebs", {})
    return Device(
        name, ebs.get("VolumeSize"), ebs.get("VolumeType") or None, ebs.get("SnapshotId") or None
    )
