# SPDX-License-Identifier: Apache-2.0
"""How an instance's MetadataOptions are read and look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud.metadata import Options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.store.instances import Instance

_NAMES = ("HttpEndpoint", "HttpTokens", "HttpPutResponseHopLimit", "InstanceMetadataTags")
MEMBERS = tuple(f"MetadataOptions.{name}" for name in _NAMES)
ONLY: Mapping[str, object] = {"MetadataOptions.HttpProtocolIpv6": "disabled"}


def read(given: Mapping[str, Any]) -> Options:
    """Return what a request says; what it does not say is None."""
    return Options(*(given.get(name) for name in _NAMES))


def describe(instance: Instance) -> dict[str, Any]:
    """Return the structure ``InstanceMetadataOptionsResponse``."""
    return {
        "State": "pending" if instance.metadata_pending else "applied",
        "HttpTokens": instance.metadata_tokens,
        "HttpPutResponseHopLimit": instance.metadata_hop_limit,
        "HttpEndpoint": instance.metadata_endpoint,
        "HttpProtocolIpv6": "disabled",
        "InstanceMetadataTags": instance.metadata_tags,
    }
