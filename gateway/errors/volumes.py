# SPDX-License-Identifier: Apache-2.0
"""About volumes and snapshots."""

from __future__ import annotations

from gateway.errors import base


class InvalidVolumeNotFound(base.Absent):
    """Raised when a volume does not exist: when it is none of the account's root disks."""

    code = "InvalidVolume.NotFound"
    one = "The volume '{}' does not exist."
    many = "The volumes '{}' do not exist."


class InvalidVolumeIDMalformed(base.About):
    """Raised for text that cannot be the id of a volume."""

    code = "InvalidVolumeID.Malformed"
    sentence = 'Invalid id: "{}" (expecting "vol-...")'


class InvalidVolumeModificationNotFound(base.Absent):
    """Raised when a change of a volume is asked for that has never been changed."""

    code = "InvalidVolumeModification.NotFound"
    one = "Modification for volume '{}' does not exist."
    many = "Modifications for volumes '{}' do not exist."


class UnknownVolumeType(base.About):
    """Raised for a type of volume that EC2 does not have."""

    sentence = "Unsupported volume type '{}' for volume creation."


class InvalidSnapshotNotFound(base.Absent):
    """Raised when a snapshot does not exist: when it is of none of the account's images."""

    code = "InvalidSnapshot.NotFound"
    one = "The snapshot '{}' does not exist."
    many = "The snapshots '{}' do not exist."


class InvalidSnapshotIDMalformed(base.About):
    """Raised for text that cannot be the id of a snapshot."""

    code = "InvalidSnapshotID.Malformed"
    sentence = 'Invalid id: "{}" (expecting "snap-...")'


class InvalidSnapshotInUse(base.EC2Error):
    """Raised when a snapshot shall go whose image is registered."""

    code = "InvalidSnapshot.InUse"

    def __init__(self, snapshot_id: str, image_id: str) -> None:
        super().__init__(f"The snapshot {snapshot_id} is currently in use by {image_id}")
