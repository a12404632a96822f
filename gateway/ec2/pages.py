# SPDX-License-Identifier: Apache-2.0
"""Pages of the Describe actions.

A page ends at a resource's place in a fixed order, and the token says that place: rows that come
or go between two pages make nothing appear twice or be skipped. A token belongs to an account and
a query. It holds nothing secret and gives no right: the query runs again with the caller's own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from gateway.errors import InvalidNextToken, InvalidParameterCombination, InvalidParameterValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Item = TypeVar("Item")


class Page:
    """What was asked for: how many at most (None: all), behind which place (None: from the start).

    ``query`` is everything that decides what is found: action, account, ids, filters.
    """

    def __init__(
        self,
        query: object,
        max_results: int | None,
        next_token: str | None,
        *,
        least: int = 5,
        most: int = 1000,
    ) -> None:
        if max_results is not None and max_results < least:
            raise InvalidParameterValue.of(
                "maxResults", str(max_results), f"Expecting a value greater than {least}."
            )
        if max_results is not None and max_results > most:
            raise InvalidParameterValue.of(
                "maxResults", str(max_results), f"Expecting a value less than {most}."
            )
        self.size = max_results
        self._query = query
        self.after = None if next_token is None else self._read(next_token)

    def cut(
        self, items: Iterable[Item], place: Callable[[Item], list[str]]
    ) -> tuple[list[Item], str | None]:
        """Return the page's items and the token of the next page, None on the last."""
        if self.size is None:
            return list(items), None
        found = list(islice(items, self.size + 1))
        if len(found) <= self.size:
            return found, None
        return found[:-1], self._write(place(found[-2]))

    def _write(self, place: list[str]) -> str:
        text = json.dumps([self._sum(place), *place], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode()

    def _read(self, token: str) -> list[str]:
        try:
            text = base64.b64decode(token, altchars=b"-_", validate=True)
            told, *place = json.loads(text)
        except (binascii.Error, ValueError, TypeError, RecursionError):
            raise InvalidNextToken from None
        # JSON can spell half a surrogate pair, which no database takes for text.
        if not all(isinstance(part, str) and _is_unicode(part) for part in place):
            raise InvalidNextToken
        if told != self._sum(place):
            raise InvalidNextToken
        return [str(part) for part in place]

    def _sum(self, place: list[str]) -> str:
        text = json.dumps([self._query, place], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:24]


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def refuse_with_ids(ids_member: str, ids: object, max_results: int | None) -> None:
    """Refuse paging through named resources, as EC2 does."""
    if ids and max_results is not None:
        raise InvalidParameterCombination.of(ids_member, "maxResults")
