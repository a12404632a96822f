# SPDX-License-Identifier: Apache-2.0
"""Client tokens: a request that comes again with its token is answered as the first time.

A rule that makes something takes its request's token first, for the id of what it is about to
make, in the transaction in which it makes it. A token is one of its account's and of a kind of
resource; it is kept for a day and for as long as what was made with it is described.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from gateway.cloud import ids
from gateway.cloud.errors import Invalid, TokenReused
from gateway.store import client_tokens

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

KEPT = timedelta(days=1)
"""A client token is remembered for at least so long."""

MAX_TOKEN = 64


class ClientToken(NamedTuple):
    """A token, and what identifies the request that it came with."""

    text: str
    request_hash: str


def take(
    db: Connection, account_id: str, token: ClientToken | None, made: str, now: datetime
) -> str | None:
    """Take a request's token for what is about to be made, and return None.

    Where an earlier request took it, return the id of what that one made. A request without a
    token is never an earlier one's. Raises :class:`Invalid` for what EC2 does not take for a
    client token, and :class:`TokenReused` when the earlier request was another.
    """
    if token is None:
        return None
    if not 1 <= len(token.text) <= MAX_TOKEN or not token.text.isascii():
        raise Invalid("client token", token.text, f"It has from 1 to {MAX_TOKEN} ASCII characters.")
    kind = ids.kind_of(made)
    if kind is None:
        raise ValueError(f"{made} is no id")
    taken = client_tokens.Taken(account_id, kind, token.text, token.request_hash, made, now)
    if client_tokens.insert(db, taken):
        return None
    first = client_tokens.get(db, account_id, kind, token.text)
    if first.request_hash != token.request_hash:
        raise TokenReused(token.text)
    return first.resource_id


def forget(db: Connection, now: datetime) -> None:
    """Forget the tokens that need not be known any more."""
    client_tokens.delete_undescribed(db, now - KEPT)
