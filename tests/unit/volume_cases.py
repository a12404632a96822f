# SPDX-License-Identifier: Apache-2.0
"""Calls of the actions about volumes and snapshots, for action_cases.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from action_cases import PAGE, Case, one_more_instance, where

from gateway.cloud import snapshots, volumes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from action_cases import World
    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey

NO_VOLUME = "vol-0123456789abcdef0"

NO_SNAPSHOT = "snap-0123456789abcdef0"


def _one_more_image(endpoint: Endpoint, key: AccessKey, _w: World, _number: int) -> None:
    endpoint.new_image(key.account_id)


VOLUME_CASES: Mapping[str, Case] = {
    "DeleteSnapshot": Case(
        [lambda w: {"SnapshotId": snapshots.snapshot_id(w.gone_image)}],
        [
            ("InvalidSnapshot.NotFound", lambda _: {"SnapshotId": NO_SNAPSHOT}),
            ("InvalidSnapshotID.Malformed", lambda _: {"SnapshotId": "snap-1"}),
            (
                "InvalidSnapshot.InUse",
                lambda w: {"SnapshotId": snapshots.snapshot_id(w.image)},
            ),
        ],
    ),
    "DescribeSnapshots": Case(
        [
            lambda _: PAGE,
            lambda w: {"SnapshotIds": [snapshots.snapshot_id(w.image)], "OwnerIds": ["self"]},
            lambda w: {"OwnerIds": [w.account], "RestorableByUserIds": ["self"]},
            lambda w: {"Filters": where("snapshot-id", snapshots.snapshot_id(w.image))},
            lambda w: {"Filters": where("owner-id", w.account)},
        ],
        [
            ("InvalidSnapshot.NotFound", lambda _: {"SnapshotIds": [NO_SNAPSHOT]}),
            ("InvalidSnapshotID.Malformed", lambda _: {"SnapshotIds": ["snap-1"]}),
            ("InvalidUserID.Malformed", lambda _: {"OwnerIds": ["nobody"]}),
        ],
        rows=_one_more_image,
        ids=["SnapshotIds"],
    ),
    "DescribeVolumes": Case(
        [
            lambda _: PAGE,
            lambda w: {"VolumeIds": [volumes.volume_id(w.instance)]},
            lambda w: {"Filters": where("attachment.instance-id", w.instance)},
            lambda w: {"Filters": where("volume-id", volumes.volume_id(w.running))},
        ],
        [
            ("InvalidVolume.NotFound", lambda _: {"VolumeIds": [NO_VOLUME]}),
            ("InvalidVolumeID.Malformed", lambda _: {"VolumeIds": ["vol-1"]}),
        ],
        rows=one_more_instance,
        ids=["VolumeIds"],
    ),
    "DescribeVolumeStatus": Case(
        [
            lambda _: PAGE,
            lambda w: {"VolumeIds": [volumes.volume_id(w.stopped)]},
            lambda w: {"Filters": where("attachment-status.instance-id", w.instance)},
        ],
        [("InvalidVolume.NotFound", lambda _: {"VolumeIds": [NO_VOLUME]})],
        rows=one_more_instance,
        ids=["VolumeIds"],
    ),
    "DescribeVolumesModifications": Case(
        [lambda _: {"VolumeIds": [], "Filters": where("volume-id", "x"), **PAGE}],
        [
            ("InvalidVolume.NotFound", lambda _: {"VolumeIds": ["vol-12345678"]}),
            (
                "InvalidVolumeModification.NotFound",
                lambda w: {"VolumeIds": [volumes.volume_id(w.instance)]},
            ),
        ],
        ids=["VolumeIds"],
    ),
}
