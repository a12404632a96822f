# SPDX-License-Identifier: Apache-2.0
"""What EC2 has and there is none of here: the set is empty, and every id is unknown.

Clients ask for these before or after a launch and go on with an empty set. What they ask is
checked all the same: an id that cannot be one, a filter that EC2 does not have, a page's bounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.ec2 import filters, pages
from gateway.ec2.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.ec2.context import Context


class Asked(NamedTuple):
    """What every one of these actions takes."""

    ids: Sequence[str]
    filters: Sequence[Mapping[str, Any]]
    max_results: int | None = None
    next_token: str | None = None


class Absent(NamedTuple):
    """A kind of resource that nobody has."""

    action: str
    kind: str | None
    """As ``gateway.ec2.kinds`` has it; None for what has no ids."""
    ids: str
    """The member of the request that names them, as EC2's message has it."""
    filters: str
    """The names of its filters, apart by blanks."""
    tagged: bool = True
    least: int = 5
    most: int = 1000

    def check(self, ctx: Context, asked: Asked) -> None:
        """Refuse what is asked for by id, and what EC2 would refuse of an empty set."""
        pages.refuse_with_ids(self.ids, asked.ids, asked.max_results)
        names = dict.fromkeys(self.filters.split(), filters.nothing)
        filters.Filters(asked.filters, names, tagged=self.tagged)
        query = [self.action, ctx.account_id, asked.ids, asked.filters]
        pages.Page(query, asked.max_results, asked.next_token, least=self.least, most=self.most)
        if asked.ids and self.kind is not None:
            KINDS[self.kind].check(asked.ids)
            raise KINDS[self.kind].not_found(asked.ids)
