# SPDX-License-Identifier: Apache-2.0
"""How an instance's root disk looks, in its instance's description and as a volume by itself.

A terminated instance has none: its disk is gone. No rate is promised for it: its type is what the
launch called it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.cloud import disks, snapshots, volumes
from gateway.ec2.constants import timestamp
from gateway.ec2.filters import nothing
from gateway.ec2.tagging import tag_set

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.cloud.health import Check
    from gateway.ec2.filters import Look, Value
    from gateway.store.instances import Instance

STATE = "in-use"


def of_instance(instance: Instance) -> list[dict[str, Any]]:
    """Return the member ``BlockDeviceMappings`` of an instance."""
    if not volumes.has_one(instance):
        return []
    ebs = {
        "VolumeId": volumes.volume_id(instance.id),
        "Status": volumes.attachment(instance),
        "AttachTime": instance.launched_at,
        "DeleteOnTermination": True,
    }
    return [{"DeviceName": instance.root_device_name, "Ebs": ebs}]


def describe(instance: Instance, tagged: Mapping[str, str]) -> dict[str, Any]:
    """Return the structure ``Volume`` of the instance's disk; ``Size`` is in GiB."""
    volume_id = volumes.volume_id(instance.id)
    return {
        "VolumeId": volume_id,
        "Size": _gib(instance),
        "SnapshotId": snapshots.snapshot_id(instance.image_id),
        "AvailabilityZone": instance.availability_zone,
        "AvailabilityZoneId": instance.availability_zone,
        "State": STATE,
        "CreateTime": instance.launched_at,
        "VolumeType": instance.volume_type,
        "Encrypted": False,
        "FastRestored": False,
        "MultiAttachEnabled": False,
        "Operator": {"Managed": False},
        "Tags": tag_set(tagged),
        "Attachments": [
            {
                "VolumeId": volume_id,
                "InstanceId": instance.id,
                "Device": instance.root_device_name,
                "State": volumes.attachment(instance),
                "AttachTime": instance.launched_at,
                "DeleteOnTermination": True,
            }
        ],
    }


class Watched(NamedTuple):
    """An instance that has a volume, and what the check of its disk found."""

    instance: Instance
    check: Check


def describe_status(one: Watched) -> dict[str, Any]:
    """Return the structure ``VolumeStatusItem``; nobody measures how fast a disk is."""
    instance, check = one
    return {
        "VolumeId": volumes.volume_id(instance.id),
        "AvailabilityZone": instance.availability_zone,
        "AvailabilityZoneId": instance.availability_zone,
        "VolumeStatus": {
            "Status": check.status,
            "Details": [
                {"Name": "io-enabled", "Status": check.reachability},
                {"Name": "io-performance", "Status": "not-applicable"},
            ],
        },
        "Events": [],
        "Actions": [],
        "AttachmentStatuses": [{"InstanceId": instance.id}],
        "Operator": {"Managed": False},
    }


def _gib(instance: Instance) -> int | None:
    # Launches of before the column say no size.
    return None if instance.disk_bytes is None else disks.whole_gib(instance.disk_bytes)


FILTERS: dict[str, Look[Instance]] = {
    "attachment.attach-time": lambda instance: timestamp(instance.launched_at),
    "attachment.delete-on-termination": lambda _: True,
    "attachment.device": lambda instance: instance.root_device_name,
    "attachment.instance-id": lambda instance: instance.id,
    "attachment.status": volumes.attachment,
    "availability-zone": lambda instance: instance.availability_zone,
    "availability-zone-id": lambda instance: instance.availability_zone,
    "create-time": lambda instance: timestamp(instance.launched_at),
    "encrypted": lambda _: False,
    "fast-restored": lambda _: False,
    "multi-attach-enabled": lambda _: False,
    "operator.managed": lambda _: False,
    "operator.principal": nothing,
    "size": _gib,
    "snapshot-id": lambda instance: snapshots.snapshot_id(instance.image_id),
    "status": lambda _: STATE,
    "volume-id": lambda instance: volumes.volume_id(instance.id),
    "volume-type": lambda instance: instance.volume_type,
}
"""DescribeVolumes."""

STATUS_FILTERS: dict[str, Look[Watched]] = {
    "action.code": "Actions.Code",
    "action.description": "Actions.Description",
    "action.event-id": "Actions.EventId",
    "attachment-status.instance-id": "AttachmentStatuses.InstanceId",
    "attachment-status.io-performance": "AttachmentStatuses.IoPerformance",
    "availability-zone": "AvailabilityZone",
    "availability-zone-id": "AvailabilityZoneId",
    "event.description": "Events.Description",
    "event.event-id": "Events.EventId",
    "event.event-type": "Events.EventType",
    "event.not-after": "Events.NotAfter",
    "event.not-before": "Events.NotBefore",
    "volume-status.details-name": "VolumeStatus.Details.Name",
    "volume-status.details-status": "VolumeStatus.Details.Status",
    "volume-status.status": "VolumeStatus.Status",
}
"""DescribeVolumeStatus."""


def _while_it_has_one(look: Callable[[Instance], Value]) -> Callable[[Instance], Value]:
    return lambda instance: look(instance) if volumes.has_one(instance) else None


INSTANCE_FILTERS: dict[str, Look[Instance]] = {
    f"block-device-mapping.{name}": _while_it_has_one(look)
    for name, look in {
        "attach-time": lambda instance: timestamp(instance.launched_at),
        "delete-on-termination": lambda _: True,
        "device-name": lambda instance: instance.root_device_name,
        "status": volumes.attachment,
        "volume-id": lambda instance: volumes.volume_id(instance.id),
    }.items()
}
"""What the volume adds to the filters of DescribeInstances."""
