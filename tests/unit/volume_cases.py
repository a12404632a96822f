# SPDX-License-Identifier: Apache-2.0
"""Calls of the actions about volumes, for action_cases.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from action_cases import PAGE, Case, one_more_instance, where

from gateway.cloud import volumes

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_VOLUME = "vol-0123456789abcdef0"

VOLUME_CASES: Mapping[str, Case] = {
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
