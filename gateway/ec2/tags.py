# SPDX-License-Identifier: Apache-2.0
"""CreateTags, DeleteTags, DescribeTags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import ids, metadata
from gateway.cloud import tags as rules
from gateway.ec2 import filters, pages
from gateway.ec2.dispatch import Result, action
from gateway.errors import InvalidNextToken
from gateway.store.tags import select_described

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.ec2.context import Context
    from gateway.ec2.filters import Value
    from gateway.store.tags import Tag

RESOURCE_TYPES = {kind: kind.replace(" ", "-") for kind in rules.TAGGED}
"""EC2's names of the kinds of resources."""


def _resource_type(tag: Tag) -> str:
    return RESOURCE_TYPES[ids.kind_of(tag.resource_id) or ""]


FILTERS: dict[str, Callable[[Tag], Value]] = {
    "key": lambda tag: tag.key,
    "resource-id": lambda tag: tag.resource_id,
    "resource-type": _resource_type,
    "value": lambda tag: tag.value,
}


@action(writes=True, members=("Tags.Key", "Tags.Value"))
def create_tags(
    ctx: Context, *, Resources: Sequence[str], Tags: Sequence[Mapping[str, str]]
) -> Result:
    """Give tags to resources; a tag that is there takes the new value."""
    pairs = [(tag.get("Key", ""), tag.get("Value", "")) for tag in Tags]
    rules.create(
        ctx.db, ctx.account_id, Resources, pairs, ctx.terminated_after, zones=ctx.zone_names
    )
    metadata.tags_changed(ctx.db, ctx.account_id, Resources, ctx.now)
    ctx.wakes.add("nodelink")
    return {}


@action(writes=True, members=("Tags.Key", "Tags.Value"))
def delete_tags(
    ctx: Context, *, Resources: Sequence[str], Tags: Sequence[Mapping[str, str]] | None = None
) -> Result:
    """Take tags from resources, all of them where none are named.

    A tag that comes with a value, be it empty, is removed only where it has that value.
    """
    wanted = None if Tags is None else {tag.get("Key", ""): tag.get("Value") for tag in Tags}
    rules.delete(
        ctx.db, ctx.account_id, Resources, wanted, ctx.terminated_after, zones=ctx.zone_names
    )
    metadata.tags_changed(ctx.db, ctx.account_id, Resources, ctx.now)
    ctx.wakes.add("nodelink")
    return {}


@action()
def describe_tags(
    ctx: Context,
    *,
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe the account's tags by resource and key."""
    wanted = filters.Filters(Filters, FILTERS, tagged=True)
    page = pages.Page(["DescribeTags", ctx.account_id, Filters], MaxResults, NextToken)
    found = select_described(
        ctx.db,
        ctx.account_id,
        terminated_after=ctx.terminated_after,
        after=None if page.after is None else _position(page.after),
        among=wanted.exact("resource-id"),
    )
    passing = (tag for tag in found if wanted.match(tag, {tag.key: tag.value}))
    shown, next_token = page.cut(passing, lambda tag: [tag.resource_id, tag.key])
    return {
        "Tags": [
            {
                "ResourceId": tag.resource_id,
                "ResourceType": _resource_type(tag),
                "Key": tag.key,
                "Value": tag.value,
            }
            for tag in shown
        ],
        "NextToken": next_token,
    }


def _position(place: list[str]) -> tuple[str, str]:
    if len(place) != 2:
        raise InvalidNextToken
    return place[0], place[1]
