# SPDX-License-Identifier: Apache-2.0
"""What goes wrong, as Deltacloud's status codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cloud.errors import (
    Invalid,
    LimitReached,
    Malformed,
    NotFound,
    NotOwner,
    NotReady,
    NotRunning,
    Protected,
    Refused,
    Taken,
    WrongState,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

# The first class that fits; what is not here is a request that cannot be understood.
_STATUSES: tuple[tuple[type[Refused], int], ...] = (
    (NotFound, 404),
    (Malformed, 404),
    (NotOwner, 403),
    (Protected, 403),
    (WrongState, 405),
    (NotRunning, 405),
    (LimitReached, 403),
    (Taken, 409),
    (NotReady, 409),
    (Invalid, 400),
)


class Problem(Exception):  # noqa: N818 - Deltacloud has no word of its own for it
    """An answer other than success: a status, a sentence, and headers that belong to it."""

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = headers or {}


def unauthorized(realm: str, sentence: str) -> Problem:
    """Return the demand for an access key and its secret."""
    return Problem(401, sentence, {"WWW-Authenticate": f'Basic realm="{realm}"'})


def not_allowed(sentence: str, allowed: Sequence[str]) -> Problem:
    """Return 405 with what is possible."""
    return Problem(405, sentence, {"Allow": ",".join(allowed)})


def missing(name: str, had: Sequence[str]) -> Problem:
    """Return the complaint about a required parameter, in Deltacloud's words."""
    return Problem(400, f"Required parameter '{name}' not found in [{', '.join(had)}]")


def unsupported(name: str) -> Problem:
    """Return the refusal of a parameter that is not honoured."""
    return Problem(400, f"The parameter '{name}' is not supported.")


def translate(refused: Refused) -> Problem:
    """Return the problem for one of the cloud's refusals."""
    status = next((code for kind, code in _STATUSES if isinstance(refused, kind)), 400)
    return Problem(status, str(refused))
