# SPDX-License-Identifier: Apache-2.0
"""Requests: from the form on the wire to the dictionary that botocore's user began with.

A form is flat: ``TagSpecification.1.Tag.2.Key=x``. :func:`read` decodes it and sets aside what is
not the action's; :func:`parse` folds the rest into a tree at the dots and walks that tree along
the operation's input shape. Types come from the shape alone, never from what a value looks like.

The names on the wire follow botocore's serializer: ``queryName`` if the model has one, else
``locationName`` with its first letter in upper case, else the member's name. Lists take numbers
from 1 (AWS) or 0 (HTCondor, fog), in numeric order and with gaps, and no number at all for a
list of one (``KeyName=x``, libcloud and VM::EC2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import unquote_to_bytes

from gateway.errors import (
    InvalidParameterValue,
    MalformedQueryString,
    MissingAction,
    MissingParameter,
    NoSuchVersion,
    RequestEntityTooLarge,
    UnknownParameter,
)
from gateway.wire.model import ListShape, Operation, Shape, StructureShape
from gateway.wire.scalars import READERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# CreateTags may name 1,000 resources and 50 tags, of two parameters each.
MAX_PARAMETERS = 5_000
# EC2 takes up to 1,000 ids in one request.
MAX_LIST = 1_024
# The longest name in the model has 12 parts.
MAX_DEPTH = 16

_FIRST_YEAR = 2006

# What a signature in the address adds (version 4); :mod:`gateway.auth` reads it.
_PRESIGNED = frozenset(
    f"X-Amz-{name}"
    for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
)
# What the protocol and the signatures add; no operation has inputs of these names.
_PROTOCOL = frozenset(
    {
        "Action",
        "Version",
        "AWSAccessKeyId",
        "Signature",
        "SignatureMethod",
        "SignatureVersion",
        "Timestamp",
        "Expires",
        "SecurityToken",
    }
)

# What was a list when the action was young, and is still sent as one (boto 2), by operation.
_ONCE_NUMBERED = {"GetConsoleOutput": {"InstanceId.1": "InstanceId"}}

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_INDEX = re.compile(r"[0-9]{1,9}", re.ASCII)
_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)

_Node: TypeAlias = str | dict[str, "_Node"]


@dataclass(frozen=True, slots=True)
class Form:
    """A request's form: ``action`` and ``version`` as sent, and what belongs to the action."""

    action: str
    version: str
    parameters: Sequence[tuple[str, str]]


def split(form: bytes) -> list[tuple[bytes, bytes]]:
    """Decode ``a=1&b=2`` into pairs of bytes, in order; ``+`` is a blank, a missing ``=`` empty."""
    pairs = (piece.partition(b"=") for piece in form.replace(b"+", b" ").split(b"&") if piece)
    return [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in pairs]


def read(query_string: bytes, body: bytes) -> Form:
    """Read a request's parameters, which may be split between the URL and the body.

    The body is read as a form whatever its content type says. Raises MalformedQueryString,
    RequestEntityTooLarge, MissingAction, MissingParameter (``Version``) and NoSuchVersion.
    """
    if query_string.count(b"&") + body.count(b"&") > MAX_PARAMETERS + len(_PROTOCOL):
        raise RequestEntityTooLarge(MAX_PARAMETERS, "parameters")
    if _BAD_ESCAPE.search(query_string) or _BAD_ESCAPE.search(body):
        raise MalformedQueryString("A percent sign is not followed by two hexadecimal digits.")
    try:
        pairs = [
            (name.decode(), value.decode()) for name, value in split(query_string) + split(body)
        ]
    except UnicodeDecodeError:
        raise MalformedQueryString("It is not encoded in UTF-8.") from None
    protocol: dict[str, str] = {}
    parameters = []
    for name, value in pairs:
        if name in _PROTOCOL:
            if name in protocol:
                raise MalformedQueryString(f"The parameter {name} is given twice.")
            protocol[name] = value
        elif name not in _PRESIGNED:
            parameters.append((name, value))
    if not protocol.get("Action"):
        raise MissingAction
    return Form(protocol["Action"], _version(protocol), parameters)


def _version(protocol: Mapping[str, str]) -> str:
    version = protocol.get("Version")
    if not version:
        raise MissingParameter("Version")
    try:
        if _VERSION.fullmatch(version) and date.fromisoformat(version).year >= _FIRST_YEAR:
            return version
    except ValueError:
        pass  # a date such as 2016-02-31
    raise NoSuchVersion(version)


def parse(operation: Operation, parameters: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the operation's input as botocore's user would write it.

    Keys are the model's member names (``TagSpecifications``, not ``TagSpecification``); only
    what was sent is present. Values are str, int, float, bool, bytes (blobs, decoded from
    base64), aware datetimes in UTC, lists and dictionaries. Enumerations are not checked.

    Raises UnknownParameter, MissingParameter, InvalidParameterValue, MalformedQueryString
    (a name twice, or both as a value and as a prefix) and RequestEntityTooLarge.
    """
    if numbered := _ONCE_NUMBERED.get(operation.name):
        parameters = [(numbered.get(name, name), value) for name, value in parameters]
    return _structure(_fold(parameters), operation.input, "")


def _fold(parameters: Sequence[tuple[str, str]]) -> dict[str, _Node]:
    if len(parameters) > MAX_PARAMETERS:
        raise RequestEntityTooLarge(MAX_PARAMETERS, "parameters")
    root: dict[str, _Node] = {}
    for name, value in parameters:
        if name.count(".") >= MAX_DEPTH:
            raise UnknownParameter(name)
        *prefixes, last = name.split(".")
        branch = root
        for prefix in prefixes:
            child = branch.setdefault(prefix, {})
            if isinstance(child, str):
                raise MalformedQueryString(f"The parameter {name} contradicts another one.")
            branch = child
        if last in branch:
            raise MalformedQueryString(f"The parameter {name} is given twice.")
        branch[last] = value
    return root


def _read(node: _Node, shape: Shape, path: str) -> Any:
    if isinstance(shape, StructureShape):
        if isinstance(node, str):
            raise UnknownParameter(path)
        return _structure(node, shape, f"{path}.")
    if isinstance(shape, ListShape):
        return _list(node, shape, path)
    if not isinstance(node, str):
        raise UnknownParameter(_as_sent(path, node))
    try:
        return READERS[shape.type_name](node)
    except ValueError as error:
        if shape.type_name == "blob" and path.startswith("UserData"):
            raise InvalidParameterValue.user_data() from None
        raise InvalidParameterValue.of(path, node, str(error)) from None


def _structure(tree: Mapping[str, _Node], shape: StructureShape, prefix: str) -> dict[str, Any]:
    members = _members(shape)
    result = {}
    for name, node in tree.items():
        if name not in members:
            raise UnknownParameter(_as_sent(prefix + name, node))
        member, member_shape = members[name]
        result[member] = _read(node, member_shape, prefix + name)
    for name, (member, _) in members.items():
        if member in shape.required_members and member not in result:
            raise MissingParameter(prefix + name)
    return result


def _list(node: _Node, shape: ListShape, path: str) -> list[Any]:
    if isinstance(node, str):
        return [_read(node, shape.member, path)]
    numbered: dict[int, str] = {}
    for index in node:
        if not _INDEX.fullmatch(index):
            raise UnknownParameter(_as_sent(f"{path}.{index}", node[index]))
        if int(index) in numbered:
            raise MalformedQueryString(f"The parameter {path}.{index} is given twice.")
        numbered[int(index)] = index
    if len(numbered) > MAX_LIST:
        raise InvalidParameterValue(f"The parameter {path} has more than {MAX_LIST} values")
    return [
        _read(node[index], shape.member, f"{path}.{index}") for _, index in sorted(numbered.items())
    ]


def _as_sent(path: str, node: _Node) -> str:
    """Return the full name of the first parameter at or below this node."""
    while isinstance(node, dict):
        name, node = next(iter(node.items()))
        path = f"{path}.{name}"
    return path


@cache
def _members(shape: StructureShape) -> dict[str, tuple[str, Shape]]:
    """Return the members of a structure by their names on the wire."""
    return {_wire_name(name, member): (name, member) for name, member in shape.members.items()}


def _wire_name(name: str, shape: Shape) -> str:
    if query_name := shape.serialization.get("queryName"):
        return cast("str", query_name)
    location_name: str = shape.serialization.get("name", name)
    return location_name[0].upper() + location_name[1:]
