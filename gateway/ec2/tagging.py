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
    "image": {"snapshot"},
}

# What EC2 makes only for some launches, and never for one here: the tags are read and there is
# nothing to give them to, as in EC2 where the image's disk is the instance's own. Ansible tags the
# volumes of every machine as it does the machine.
_NEVER_THERE = {"instance": {"volume"}}


def read(specifications: Iterable[Mapping[str, Any]], resource_type: str) -> dict[str, str]:
    """Return the tags for the one type of resource that the action makes."""
    pairs: dict[str, list[tuple[str, str]]] = {resource_type: []}
    for specification in specifications:
        named = specification.get("ResourceType", "")
        if named in _NOT_MADE.get(resource_type, ()):
            raise UnsupportedOperation(f"Tags for the resource type {named} are not supported.")
        if named != resource_type and named not in _NEVER_THERE.get(resource_type, ()):
            raise InvalidParameterValue(
                f"'{named}' is not a valid taggable resource type for this operation."
            )
        given = specification.get("Tags", ())
        pairs.setdefault(named, []).extend(
            (tag.get("Key", ""), tag.get("Value", "")) for tag in given
        )
    collected = {named: tags.collect(its) for named, its in pairs.items()}
    return collected[resource_type]


def read_beside(
    specifications: Iterable[Mapping[str, Any]], resource_type: str, other: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the tags for each of the two types of resources that the action makes."""
    given = list(specifications)
    its = [one for one in given if one.get("ResourceType") == other]
    mine = [one for one in given if one.get("ResourceType") != other]
    return read(mine, resource_type), read(its, other)


def tag_set(found: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the member ``Tags`` of an answer."""
    return [{"Key": key, "Value": value} for key, value in found.items()]
