# SPDX-License-Identifier: Apache-2.0
"""Calls of the actions about tags, for action_cases.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from action_cases import NO_IMAGE, NO_INSTANCE, PAGE, Case, where

from gateway.cloud import snapshots, volumes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from action_cases import World
    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey


def _one_more_tag(endpoint: Endpoint, key: AccessKey, w: World, number: int) -> None:
    tags = [{"Key": f"key-{number}", "Value": "value"}]
    endpoint.client(key).create_tags(Resources=[w.instance], Tags=tags)


TAG_CASES: Mapping[str, Case] = {
    "CreateTags": Case(
        [
            lambda w: {
                "Resources": [w.instance, w.key_pair, w.image, w.spot_request],
                "Tags": [{"Key": "key", "Value": "new"}],
            },
            lambda w: {"Resources": [w.image], "Tags": [{"Key": "key"}]},
            lambda w: {"Resources": [w.key_pair], "Tags": [{"Key": "key"}]},
            lambda w: {"Resources": [volumes.volume_id(w.running)], "Tags": [{"Key": "key"}]},
            lambda w: {"Resources": [snapshots.snapshot_id(w.image)], "Tags": [{"Key": "key"}]},
        ],
        [
            (
                "InvalidInstanceID.NotFound",
                lambda w: {"Resources": [w.image, NO_INSTANCE], "Tags": [{"Key": "key"}]},
            ),
            (
                "TagLimitExceeded",
                lambda w: {
                    "Resources": [w.instance],
                    "Tags": [{"Key": f"key{number}"} for number in range(51)],
                },
            ),
        ],
    ),
    "DeleteTags": Case(
        [
            lambda w: {
                "Resources": [w.instance],
                "Tags": [{"Key": "key", "Value": w.tag_value}],
            },
            lambda w: {"Resources": [w.image]},
            lambda w: {"Resources": [w.key_pair]},
            lambda w: {"Resources": [volumes.volume_id(w.running)]},
            lambda w: {"Resources": [snapshots.snapshot_id(w.image)]},
        ],
        [("InvalidAMIID.NotFound", lambda _: {"Resources": [NO_IMAGE]})],
    ),
    "DescribeTags": Case(
        [
            lambda _: PAGE,
            lambda w: {"Filters": where("resource-id", w.instance)},
            lambda w: {"Filters": where("value", w.tag_value)},
        ],
        [("InvalidParameterValue", lambda _: {"Filters": where("nothing", "x")})],
        rows=_one_more_tag,
    ),
}
