# SPDX-License-Identifier: Apache-2.0
"""Every operation: its collection, its method and path, and the function that answers it.

A function's keyword-only parameters are the operation's; those without a default are required.
Whatever else a request has is refused by its name.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gateway import context
from gateway.deltacloud import problems
from gateway.deltacloud.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.deltacloud.asked import Asked

DRIVER = "condor"
VERSION = "1.1.3"
"""Of the API that is spoken here; clients compare it with the Server header."""


@dataclass(frozen=True)
class Context(context.Context):
    """One request of the Deltacloud API; nobody asks for what is open to all.

    Addresses of resources begin with ``base``.
    """

    base: str

    def href(self, *segments: str) -> str:
        """Return the absolute address of a resource."""
        return "/".join((self.base, *(quote(segment, safe="") for segment in segments)))

    def reference(self, collection: str, name: str) -> dict[str, str]:
        """Return how XML refers to a resource elsewhere."""
        return {"@href": self.href(collection, name), "@id": name}

    def plain_reference(self, collection: str, name: str) -> dict[str, str]:
        """Return how JSON refers to a resource elsewhere."""
        rel = collection.removesuffix("s")
        return {"id": name, "href": self.href(collection, name), "rel": rel}


@dataclass(frozen=True)
class Answer:
    """A success: the document in both forms (see ``render``), None for one without a body."""

    xml: Mapping[str, Any] | None
    plain: object = None
    status: int = 200
    location: str | None = None


NOTHING = Answer(None, status=204)


@dataclass(frozen=True)
class Operation:
    """``verb`` is the path's last part after the id, empty for the four plain operations."""

    collection: str
    name: str
    method: str
    member: bool
    verb: str
    function: Callable[..., Answer]
    open: bool
    writes: bool
    prepare: Callable[..., object] | None

    def call(self, ctx: Context, asked: Asked, *prepared: object) -> Answer:
        """Answer the request."""
        member = asked.segments[1:2] if self.member else ()
        return self.function(ctx, *member, *prepared, **asked.parameters)

    def check(self, asked: Asked) -> None:
        """Refuse parameters that are unknown, and the lack of required ones."""
        known = parameters(self.function)
        for name in asked.parameters:
            if name not in known:
                raise problems.unsupported(name)
        for name, required in known.items():
            if required and not asked.parameters.get(name):
                raise problems.missing(name, sorted(asked.parameters))


OPERATIONS: list[Operation] = []
"""Every operation that there is; ``gateway.deltacloud.resources`` fills it by importing them."""

_PLAIN = {
    "index": ("GET", False),
    "show": ("GET", True),
    "create": ("POST", False),
    "destroy": ("DELETE", True),
}


def operation(
    collection: str,
    *,
    open: bool = False,  # noqa: A002 - Deltacloud's operations that ask for no credentials
    writes: bool = False,
    prepare: Callable[..., object] | None = None,
) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Register a function: ``index``, ``show``, ``create`` or ``destroy``, or a member's action.

    ``prepare`` gets the request's parameters before the transaction; its result follows the
    context, so that long computing holds up no other writer.
    """

    def register(function: Callable[..., Answer]) -> Callable[..., Answer]:
        name = function.__name__
        method, member = _PLAIN.get(name, ("POST", True))
        verb = "" if name in _PLAIN else name
        made = Operation(collection, name, method, member, verb, function, open, writes, prepare)
        OPERATIONS.append(made)
        return function

    return register


def parameters(function: Callable[..., object]) -> dict[str, bool]:
    """Return a function's parameters, each with whether it is required."""
    return {
        one.name: one.default is inspect.Parameter.empty
        for one in inspect.signature(function).parameters.values()
        if one.kind is inspect.Parameter.KEYWORD_ONLY
    }


def at(asked: Asked) -> list[Operation]:
    """Return the operations of the request's path; raise :class:`Problem` 404 if there are none."""
    collection, member, verb, *more = (*asked.segments, "", "", "")
    found = [
        one
        for one in OPERATIONS
        if one.collection == collection
        and one.member == bool(member)
        and one.verb == verb
        and not any(more)
    ]
    if not found:
        raise Problem(404, "Not Found")
    return found


def find(asked: Asked) -> Operation:
    """Return the operation; raise :class:`Problem` 404 or 405."""
    found = at(asked)
    method = "GET" if asked.method == "HEAD" else asked.method
    for one in found:
        if one.method == method:
            return one
    raise problems.not_allowed(f"{asked.method} is not possible here.", methods(found))


def methods(found: list[Operation]) -> list[str]:
    """Return the methods of a path, for the header Allow."""
    named = [one.method for one in found]
    return ["OPTIONS", *(["HEAD"] if "GET" in named else []), *named]
