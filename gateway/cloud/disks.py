# SPDX-License-Identifier: Apache-2.0
"""Disks: what may be asked of the one that an instance starts from.

An instance has its root disk alone. It is as large as its image's, or larger where the image or
the launch says so, never smaller.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from gateway.cloud import snapshots
from gateway.cloud.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.store.images import Image

GIB = 2**30
MAX_GIB = 65536
"""What EC2's largest volume has."""

DEFAULT_ROOT = "/dev/vda"

TYPES = ("standard", "gp2", "gp3", "io1", "io2", "st1", "sc1")
"""What EC2 calls volumes; the first promises nothing and stands where nothing was said."""

_NAME = re.compile(r"/dev/[a-z][a-z0-9]{1,26}")


class Device(NamedTuple):
    """A disk that is asked for: its name, and its size in GiB (None: as large as the image).

    Its type is a word of EC2's that makes no difference: a disk is a file on its node. Its snapshot
    is the image's, if any is named.
    """

    name: str
    gib: int | None
    type: str | None = None
    snapshot: str | None = None


def check_name(name: str) -> None:
    """Raise :class:`Invalid` for what cannot be a disk's name."""
    if not _NAME.fullmatch(name):
        raise Invalid("root device", name, f"{name} is not the name of a disk, as /dev/vda is.")


def root_bytes(devices: Sequence[Device], root: str) -> int | None:
    """Return the bytes that are asked for the disk named ``root``, None where none are.

    Raises :class:`Invalid` for any other disk, and for a size that there is not.
    """
    for device in devices:
        if device.name != root:
            raise Invalid(
                "block device",
                device.name,
                f"The device {device.name} is not supported: {root} is an instance's only disk.",
            )
    if len(devices) > 1:
        raise Invalid("block devices", root, f"The device {root} is named more than once.")
    if not devices or devices[0].gib is None:
        return None
    gib = devices[0].gib
    if not 1 <= gib <= MAX_GIB:
        raise Invalid(
            "block devices", str(gib), f"A disk of {gib} GiB is not possible: 1 to {MAX_GIB} are."
        )
    return gib * GIB


def launched_bytes(image: Image, devices: Sequence[Device]) -> int | None:
    """Return the bytes of the disk that a launch makes; raise :class:`Invalid`."""
    asked = root_bytes(devices, image.root_device_name)
    if {one.snapshot for one in devices} - {None, snapshots.snapshot_id(image.id)}:
        raise Invalid("block devices", image.id, "snapshotId cannot be modified on root device")
    least = image.disk_size()
    if asked is None or least is None:
        return least
    if asked < least:
        raise Invalid(
            "block devices",
            image.id,
            f"Volume of size {asked // GIB}GB is smaller than the image '{image.id}', expect size"
            f" >= {whole_gib(least)}GB",
        )
    return asked


def launched_type(devices: Sequence[Device]) -> str:
    """Return what the disk of a launch is called; raise :class:`Invalid` for no word of EC2's."""
    asked = next((device.type for device in devices if device.type is not None), TYPES[0])
    if asked not in TYPES:
        raise Invalid("volume type", asked, f"The volume type {asked} is not known.")
    return asked


def whole_gib(size: int) -> int:
    """Return how many whole GiB hold so many bytes; one at least."""
    return max(1, -(-size // GIB))
