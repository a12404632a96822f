# SPDX-License-Identifier: Apache-2.0
"""Answers: from a dictionary in botocore's member names to EC2's XML.

Each output structure is compiled once into a list of (opening tag, writer, closing tag); an
answer is then joined from strings. A result that does not fit the operation's output shape is
our own mistake and raises :class:`ResultError`; nothing is left out silently.

What the model does not say, and EC2 does: the namespace ends in a slash and carries the version
that the client asked for (libcloud finds nothing otherwise), ``requestId`` comes first, and the
operations without an output shape answer ``<return>true</return>``.
"""

from __future__ import annotations

import base64
import math
import re
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from gateway.wire.model import ListShape, Operation, Shape, StructureShape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONTENT_TYPE = "text/xml;charset=UTF-8"

_PROLOG = '<?xml version="1.0" encoding="UTF-8"?>\n'
# What has to be replaced: markup, carriage return, and all that XML 1.0 cannot carry. Written as
# one negated class, which the regular expression engine searches fastest.
_SPECIAL = re.compile(r"[^\t\n !#-%'-;=?-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REPLACEMENT = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"}

_Writer: TypeAlias = "Callable[[Any], str]"
# A member's name, its writer, and its tags: opening, closing and empty.
_Member: TypeAlias = "tuple[str, _Writer, str, str, str]"


class ResultError(TypeError):
    """A result that its operation's output shape does not allow: a mistake in the gateway."""


def serialize(
    operation: Operation, result: Mapping[str, Any], *, version: str, request_id: str
) -> bytes:
    """Write the answer of an operation.

    ``result`` has botocore's member names. Members that are absent or None are not written;
    ``[]`` and ``{}`` are written as an empty element, as is ``""``. Datetimes must be aware.
    ``version`` is the one that the request named.
    """
    if operation.output is None:
        if result:
            raise ResultError(f"{operation.name} has no output, but a result: {sorted(result)}")
        body = "<return>true</return>"
    else:
        body = _structure_writer(operation.output)(dict(result))
    root = f"{operation.name}Response"
    namespace = f"http://ec2.amazonaws.com/doc/{escape(version)}/"
    text = (
        f'{_PROLOG}<{root} xmlns="{namespace}"><requestId>{escape(request_id)}</requestId>'
        f"{body}</{root}>"
    )
    return text.encode()


def error_document(code: str, message: str, request_id: str) -> bytes:
    """Write EC2's error document: no namespace, and exactly two children in ``Error``."""
    text = (
        f"{_PROLOG}<Response><Errors><Error><Code>{escape(code)}</Code>"
        f"<Message>{escape(message)}</Message></Error></Errors>"
        f"<RequestID>{escape(request_id)}</RequestID></Response>"
    )
    return text.encode()


def escape(text: str) -> str:
    """Return a text as the content of an element; what XML cannot carry is replaced."""
    return _SPECIAL.sub(_replace, text) if _SPECIAL.search(text) else text


def _replace(match: re.Match[str]) -> str:
    # What XML cannot carry becomes the Unicode replacement character.
    return _REPLACEMENT.get(match[0], "\ufffd")


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ResultError(f"a string is expected, not {value!r}")
    return _SPECIAL.sub(_replace, value) if _SPECIAL.search(value) else value


def _integer(value: Any) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ResultError(f"an integer is expected, not {value!r}")
    return str(value)


def _float(value: Any) -> str:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ResultError(f"a finite number is expected, not {value!r}")
    return repr(float(value))


def _boolean(value: Any) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    raise ResultError(f"a boolean is expected, not {value!r}")


def _timestamp(value: Any) -> str:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ResultError(f"an aware datetime is expected, not {value!r}")
    return _spelled(value if value.tzinfo is UTC else value.astimezone(UTC))


@lru_cache(maxsize=1024)
def _spelled(instant: datetime) -> str:
    # In UTC, where equal datetimes are the same. Machines of one launch share theirs, and one
    # machine has it several times.
    return instant.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _blob(value: Any) -> str:
    if not isinstance(value, bytes):
        raise ResultError(f"bytes are expected, not {type(value).__name__}")
    return base64.b64encode(value).decode()


_SCALARS: Mapping[str, _Writer] = {
    "string": _string,
    "integer": _integer,
    "long": _integer,
    "float": _float,
    "double": _float,
    "boolean": _boolean,
    "timestamp": _timestamp,
    "blob": _blob,
}


def _writer(shape: Shape) -> _Writer:
    """Return the function that writes a value of the shape, without the element around it."""
    if isinstance(shape, StructureShape):
        return _structure_writer(shape)
    if isinstance(shape, ListShape):
        return _list_writer(shape)
    return _SCALARS[shape.type_name]


def _list_writer(shape: ListShape) -> _Writer:
    # The model names the item of all lists but one; EC2 calls it so in that one as well.
    tag = shape.member.serialization.get("name", "item")
    opening, between, closing = f"<{tag}>", f"</{tag}><{tag}>", f"</{tag}>"
    write_item = _writer(shape.member)

    def write(value: Any) -> str:
        if not isinstance(value, list | tuple):
            raise ResultError(f"a list is expected, not {value!r}")
        if not value:
            return ""
        return opening + between.join([write_item(item) for item in value]) + closing

    return write


class _Structure:
    """Writes one kind of structure, in the model's order but with its own id first.

    The order is worked out once for each set of keys that results come with; unknown keys are
    found at the same time. There are as many such sets as our code has forms of results.
    """

    def __init__(self, shape: StructureShape) -> None:
        self._shape = shape
        self._plans: dict[tuple[str, ...], list[_Member]] = {}

    def __call__(self, value: Any) -> str:
        if not isinstance(value, dict):
            raise ResultError(f"a dictionary is expected for {self._shape.name}, not {value!r}")
        keys = tuple(value)
        plan = self._plans.get(keys)
        if plan is None:
            plan = self._plans[keys] = self._plan(keys)
        try:
            return "".join(
                [
                    opening + text + closing if (text := write(item)) else empty
                    for key, write, opening, closing, empty in plan
                    if (item := value[key]) is not None
                ]
            )
        except ResultError:
            self._blame(plan, value)
            raise

    def _plan(self, keys: tuple[str, ...]) -> list[_Member]:
        members = self._shape.members
        if unknown := sorted(set(keys) - set(members)):
            raise ResultError(f"{self._shape.name} has no {', '.join(unknown)}")
        # As in EC2: clients that take any first child for the resource's id rely on it.
        first = ("InstanceId", f"{self._shape.name}Id")
        order = sorted(members, key=lambda member: member not in first)
        plan = []
        for member in order:
            if member in keys:
                tag = members[member].serialization.get("name", member)
                write = _writer(members[member])
                plan.append((member, write, f"<{tag}>", f"</{tag}>", f"<{tag}/>"))
        return plan

    def _blame(self, plan: list[_Member], value: dict[str, Any]) -> None:
        """Raise the error again with the name of the member that it is about."""
        for key, write, *_ in plan:
            if value[key] is not None:
                try:
                    write(value[key])
                except ResultError as error:
                    raise ResultError(f"{self._shape.name}.{key}: {error}") from None


# Cached before its members are looked at, so that a shape may contain itself.
_structure_writer = cache(_Structure)
