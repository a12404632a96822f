# SPDX-License-Identifier: Apache-2.0
"""Filters of the Describe actions: any value of a filter, all of the filters.

Each resource has one table from a filter's name to what it looks at: a function of the resource,
or the way to a member of its document, such as ``Placement.Tenancy``, through structures and lists
of them. Values are compared as text and with case; ``*`` stands for any characters, ``?`` for one,
a backslash takes the meaning away.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from gateway.ec2.constants import timestamp
from gateway.errors import FilterLimitExceeded, InvalidParameterValue, MissingParameter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

MAX_VALUES = 200
MAX_LENGTH = 1024
"""Letters of one value: more than anything that it could be compared with has."""


Item = TypeVar("Item")
Value = str | bool | float | None
NO_TAGS: Mapping[str, str] = {}


class Filters(Generic[Item]):
    """The filters of one request for one kind of resource."""

    def __init__(
        self,
        given: Sequence[Mapping[str, Any]],
        names: Mapping[str, Look[Item]],
        *,
        tagged: bool = False,
        document: Callable[[Item], object] = lambda item: item,
    ) -> None:
        """Refuse unknown names; ``tagged`` adds ``tag:Key`` and ``tag-key``.

        ``document`` makes of a resource what the answer shows of it. It is called where a filter
        looks at the document, and once for each resource that has passed the others.
        """
        if sum(len(one.get("Values", ())) for one in given) > MAX_VALUES:
            raise FilterLimitExceeded(MAX_VALUES)
        self._given = given
        self._document = document
        self._tests: list[_Test[Item]] = []
        self._shown: list[tuple[list[str], Callable[[str], object]]] = []
        for one in given:
            name = one.get("Name", "")
            values = one.get("Values")
            look = names.get(name) or _look_at_tags(name, tagged=tagged)
            if not values:
                raise MissingParameter("Filter.Value")
            if any(len(value) > MAX_LENGTH for value in values):
                raise InvalidParameterValue(
                    f"The values of the filter '{name}' have at most {MAX_LENGTH} characters."
                )
            if isinstance(look, str):
                self._shown.append((look.split("."), _matcher(values)))
            else:
                self._tests.append((look, _matcher(values)))

    def match(self, item: Item, tags: Mapping[str, str] = NO_TAGS) -> bool:
        """Return whether the resource passes every filter."""
        for look, matches in self._tests:
            found = look(tags) if isinstance(look, _Tags) else look(item)
            if not any(matches(_text(value)) for value in _several(found) if value is not None):
                return False
        if not self._shown:
            return True
        document = self._document(item)
        return all(
            any(matches(_text(value)) for value in shown(document, path))
            for path, matches in self._shown
        )

    def exact(self, name: str) -> list[str] | None:
        """Return the values of a filter if it is there and none is a pattern.

        With that a query can be narrowed before the rows are looked at one by one.
        """
        for one in self._given:
            if one.get("Name") == name and not any(_is_pattern(text) for text in one["Values"]):
                return list(one["Values"])
        return None


class _Tags(NamedTuple):
    """What looks at the tags of a resource: at the value of one, or at all keys."""

    key: str | None

    def __call__(self, tags: Mapping[str, str]) -> Value | Iterable[Value]:
        return tags.keys() if self.key is None else tags.get(self.key)


if TYPE_CHECKING:
    Look = Callable[[Item], Value | Iterable[Value]] | str
    _Test = tuple[Callable[[Item], Value | Iterable[Value]] | _Tags, Callable[[str], object]]


def nothing(_: object) -> None:
    """Look at what nothing here has: a filter that EC2 has, and that nothing passes."""


def shown(document: object, path: Sequence[str]) -> Iterator[Value]:
    """Yield what a document has at the end of a path.

    An empty text is how EC2 shows that there is none of something, such as a public name.
    """
    if isinstance(document, list):
        for item in document:
            yield from shown(item, path)
    elif isinstance(document, dict):
        if path:
            yield from shown(document.get(path[0]), path[1:])
    elif isinstance(document, datetime):
        yield timestamp(document)
    elif isinstance(document, str | bool | int | float) and document != "":
        yield document


def _look_at_tags(name: str, *, tagged: bool) -> _Tags:
    if tagged and name == "tag-key":
        return _Tags(None)
    if tagged and name.startswith("tag:"):
        return _Tags(name.removeprefix("tag:"))
    raise InvalidParameterValue.filter(name)


def _several(value: Value | Iterable[Value]) -> Iterable[Value]:
    return (value,) if value is None or isinstance(value, str | bool | float | int) else value


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_pattern(text: str) -> bool:
    return any(letter in text for letter in "*?\\")


def _matcher(values: Sequence[str]) -> Callable[[str], object]:
    plain = frozenset(text for text in values if not _is_pattern(text))
    patterns = dict.fromkeys(_pattern(text) for text in values if _is_pattern(text))
    if not patterns:
        return plain.__contains__
    # One expression for all of them, and each text looked at once: thousands of instances have
    # few types, states or images among them.
    matches = re.compile("|".join(patterns), re.DOTALL).fullmatch
    known: dict[str, bool] = {}

    def passes(text: str) -> bool:
        found = known.get(text)
        if found is None:
            found = known[text] = text in plain or matches(text) is not None
        return found

    return passes


def _pattern(text: str) -> str:
    # Between two stars the first match is as good as any: the atomic group never tries another,
    # so that no pattern takes more than linear time for each star.
    pieces = [""]
    letters = iter(text)
    for letter in letters:
        if letter == "*":
            pieces.append("")
        elif letter == "?":
            pieces[-1] += "."
        else:
            pieces[-1] += re.escape(next(letters, "\\") if letter == "\\" else letter)
    first, *middle = pieces
    if not middle:
        return first
    last = middle.pop()
    groups = "".join(f"(?>.*?{piece})" for piece in middle if piece)
    return f"{first}{groups}.*{last}"
