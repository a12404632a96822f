# SPDX-License-Identifier: Apache-2.0
"""What nodes say in their requests, read with its types, and how a request is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import request

from gateway.store import instances

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gateway.store.instances import Instance


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """A request that is answered with an error: HTTP status, a word for programs, a sentence."""

    def __init__(self, status: int, slug: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.slug = slug
        self.message = message


def instance(db: Connection, instance_id: str) -> Instance:
    """Return an instance, or refuse what is said of one that there is not."""
    found = instances.get(db, instance_id)
    if found is None:
        raise Refused(404, "no-such-instance", f"There is no instance {instance_id}.")
    return found


def read() -> dict[str, Any]:
    """Return the request's JSON object, or refuse it."""
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise Refused(400, "bad-request", "The body is not a JSON object.")
    return body


def numbers(body: dict[str, Any], name: str) -> list[int]:
    """Return a member that is a list of positive numbers."""
    found: list[int] = typed(body, name, list)
    if not all(type(number) is int and 0 < number < 1 << 31 for number in found):
        raise Refused(400, "bad-request", f"{name} is not a list of numbers.")
    return found


def typed(body: dict[str, Any], name: str, kind: type) -> Any:
    """Return a member of that kind; numbers are not negative."""
    value = body.get(name)
    fits = isinstance(value, kind) and not isinstance(value, bool)
    if fits and isinstance(value, int):
        fits = 0 <= value < 1 << 62
    if not fits:
        raise Refused(400, "bad-request", f"{name} is missing or not of the kind {kind.__name__}.")
    return value
