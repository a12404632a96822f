# SPDX-License-Identifier: Apache-2.0
"""A request taken apart: which resource, which parameters, which form of answer.

Clients put parameters into the form, the query string (for POST, too) or the path itself
(``/api/instances;image_id=x``); the form counts most and the path least.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_plus

from werkzeug.exceptions import BadRequest

from gateway import body
from gateway.deltacloud.problems import Problem

if TYPE_CHECKING:
    from flask import Request
    from werkzeug.datastructures import MultiDict

MAX_BODY = 1024 * 1024
"""Bytes of a request's body."""

ROOT = "api"
XML = "application/xml"
JSON = "application/json"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_FORMATS = {"xml": XML, "json": JSON}
_ACCEPTED = {XML: XML, "text/xml": XML, JSON: JSON}
# They choose the form of the answer or the provider, and are nobody's parameters.
_EVERYWHERE = {"format", "driver", "provider"}


class Asked(NamedTuple):
    """``segments`` is the path below ``/api``: nothing, collection, id, what to do."""

    method: str
    segments: tuple[str, ...]
    parameters: dict[str, str]
    driver: str | None


def take_apart(received: Request) -> Asked | None:
    """Return what is asked for; None for a path that is not Deltacloud's."""
    segments, matrix = _path(received)
    if segments[0] != ROOT:
        return None
    parameters = matrix | _once(received.args) | _once(_form(received))
    driver = received.headers.get("X-Deltacloud-Driver") or parameters.get("driver")
    return Asked(
        received.method,
        tuple(segments[1:]),
        {name: value for name, value in parameters.items() if name not in _EVERYWHERE},
        driver,
    )


def _path(received: Request) -> tuple[list[str], dict[str, str]]:
    """Return the path's segments and the parameters in it."""
    # The path as it was sent: a key's name may have a slash, which was escaped in its href.
    sent = received.environ.get("RAW_URI") or received.environ.get("REQUEST_URI", "/")
    matrix: dict[str, str] = {}
    segments = []
    for part in sent.partition("?")[0].strip("/").split("/"):
        name, *pairs = part.split(";")
        segments.append(_decoded(name.replace("+", "%2B")))
        for pair in filter(None, pairs):
            key, _, value = pair.partition("=")
            matrix[_decoded(key)] = _decoded(value)
    return segments, matrix


def _form(received: Request) -> MultiDict[str, str]:
    try:
        body.read(received, MAX_BODY)
    except BadRequest:
        raise Problem(400, "The request's body could not be read.") from None
    return received.form


def _once(given: MultiDict[str, str]) -> dict[str, str]:
    for name, values in given.lists():
        if len(values) > 1:
            raise Problem(400, f"The parameter '{name}' is given twice.")
        if _CONTROL.search(values[0]):
            raise Problem(400, f"The parameter '{name}' has control characters.")
    return given.to_dict()


def answer_form(received: Request) -> str:
    """Return the content type that the client wants; raise :class:`Problem` 406 for no other.

    A client that takes anything gets XML: HTML, which Deltacloud gave it, breaks programs.
    """
    named = (
        _form(received).get("format")
        or received.args.get("format")
        or _path(received)[1].get("format")
    )
    if named is not None:
        if named not in _FORMATS:
            raise Problem(406, f"The format {named} is not supported: xml or json.")
        return _FORMATS[named]
    if not received.accept_mimetypes:
        return XML
    best = received.accept_mimetypes.best_match(list(_ACCEPTED))
    if best is None:
        raise Problem(406, "Only application/xml and application/json can be had.")
    return _ACCEPTED[best]


def _decoded(text: str) -> str:
    return unquote_plus(text, errors="replace")
