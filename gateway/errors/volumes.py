# SPDX-License-Identifier: Apache-2.0
"""About volumes."""

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
