# SPDX-License-Identifier: Apache-2.0
"""The document that answers a claim: everything that a node needs to run an instance."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from gateway.cloud import boot_modes, metadata, parking
from gateway.store import images, instances

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gateway.cloud.errands import Errand
    from gateway.config import Settings
    from gateway.store.images import Image
    from gateway.store.instances import Instance

VERSION = 1


def specification(db: Connection, settings: Settings, instance: Instance) -> dict[str, Any]:
    """Return the instance's specification; sizes in bytes but ``memory_mib``.

    ``docs/reference/node-link.md`` describes every member; execnode/spec.py reads it.
    """
    image = images.get(db, instance.image_id)
    user_data = instances.get_user_data(db, instance.id)
    keys = []
    if instance.public_key:
        keys.append({"name": instance.key_name, "key": instance.public_key})
    return {
        "v": VERSION,
        "instance_id": instance.id,
        "run": instance.run,
        "account_id": instance.account_id,
        "reservation_id": instance.reservation_id,
        "launch_index": instance.launch_index,
        "instance_type": instance.instance_type,
        "vcpus": instance.vcpus,
        "memory_mib": instance.memory_mib,
        "disk_bytes": instance.disk_bytes,
        "architecture": instance.architecture,
        "boot_mode": boot_modes.current(instance.boot_mode, instance.architecture),
        **_disk(db, instance),
        "mac": instance.mac,
        "private_ip": instance.private_ip,
        "hostname": instance.id,
        "availability_zone": instance.availability_zone,
        "region": settings.region,
        "user_data": None if user_data is None else base64.b64encode(user_data).decode("ascii"),
        "ssh_keys": keys,
        "metadata": metadata.document(db, settings, instance),
        "image": None if image is None else image_document(image),
    }


def _disk(db: Connection, instance: Instance) -> dict[str, Any]:
    """Return where the disk is: the first run that is claimed makes it, and no other ever does."""
    parked = parking.get(db, instance)
    if parked is None:
        # Runs that were lost before their claims have made nothing.
        return {"disk": "new" if instance.run - instance.lost_runs == 1 else "kept"}
    facts = {"sha256": parked.sha256, "size": parked.size, "nvram_bytes": parked.nvram_bytes}
    return {
        "disk": "parked",
        "parked": facts | {"path": f"/v1/instances/{instance.id}/disk"},
    }


def errand_document(errand: Errand) -> dict[str, Any]:
    """Return what a node needs to do an errand; execnode/errands.py reads it."""
    return {
        "id": errand.number,
        "kind": errand.kind,
        "instance": errand.instance_id,
        "image": image_document(errand.image),
    }


def image_document(image: Image) -> dict[str, Any]:
    """Return what a node needs to fetch an image; execnode/spec.py reads it."""
    return {
        "id": image.id,
        "sha256": image.sha256,
        "size": image.size,
        "format": image.format,
        "virtual_size": image.virtual_size,
        "path": f"/v1/images/{image.sha256}",
    }
