# SPDX-License-Identifier: Apache-2.0
"""Tags in requests and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import tags
from gateway.errors import InvalidParameterValue, UnsupportedOperation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What EC2 makes beside the resource, and can tag in the same request, and is not made here.
_NOT_MADE = {
    "instance": {"network-interface", "spot-instances-request", "elastic-gpu"},
}


def read(specifications: Iterable[Mapping[str, Any]], resource_type: str) -> dict[str, str]:
    """Return the tags for the one type of resource that the action makes."""
    return read_each(specifications, resource_type)[resource_type]


def read_each(
    specifications: Iterable[Mapping[str, Any]], *resource_types: str
) -> dict[str, dict[str, str]]:
    """Return the tags for each of the types of resources that the action makes, main one first."""
    pairs: dict[str, list[tuple[str, str]]] = {name: [] for name in resource_types}
    for specification in specifications:
        named = specification.get("ResourceType", "")
        if named not in pairs and named in _NOT_MADE.get(resource_types[0], ()):
            raise UnsupportedOperation(f"Tags for the resource type {named} are not supported.")
        if named not in pairs:
            raise InvalidParameterValue(
                f"'{named}' is not a valid taggable resource type for this operation."
            )
        given = specification.get("Tags", ())
        pairs[named].extend((tag.get("Key", ""), tag.get("Value", "")) for tag in given)
    return {named: tags.collect(its) for named, its in pairs.items()}


def tag_set(found: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the member ``Tags`` of an answer."""
    return [{"Key": key, "Value": value} for key, value in found.items()]
