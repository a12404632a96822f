# SPDX-License-Identifier: Apache-2.0
"""``/api/keys``: SSH key pairs, by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import keypairs
from gateway.cloud.errors import NotFound
from gateway.deltacloud.operations import NOTHING, Answer, operation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.cloud.keypairs import NewKey
    from gateway.deltacloud.operations import Context
    from gateway.store.key_pairs import KeyPair


@operation("keys")
def index(ctx: Context, *, id: str = "") -> Answer:  # noqa: A002 - Deltacloud's parameter
    """Return the account's key pairs."""
    pairs = [pair for pair in keypairs.find(ctx.db, ctx.account_id) if id in {"", pair.name}]
    return Answer(
        {"keys": {"key": [_xml(ctx, pair) for pair in pairs]}},
        {"keys": [_plain(ctx, pair) for pair in pairs]},
    )


@operation("keys")
def show(ctx: Context, name: str) -> Answer:
    """Return one key pair."""
    [pair] = keypairs.find(ctx.db, ctx.account_id, names=[name])
    return Answer({"key": _xml(ctx, pair)}, {"key": _plain(ctx, pair)})


def _generate(given: Mapping[str, str]) -> NewKey | None:
    return None if given.get("public_key") else keypairs.generate("rsa")


@operation("keys", writes=True, prepare=_generate)
def create(ctx: Context, made: NewKey | None, *, name: str, public_key: str = "") -> Answer:
    """Make a key pair, whose private key is in this answer and nowhere else, or take one in."""
    if made is None:
        material = public_key.encode()
        pair = keypairs.import_public_key(
            ctx.db, ctx.account_id, name, material, tagged={}, now=ctx.now, limits=ctx.limits
        )
    else:
        pair = keypairs.add(
            ctx.db, ctx.account_id, name, made, tagged={}, now=ctx.now, limits=ctx.limits
        )
    private = None if made is None else made.private
    return Answer(
        {"key": _xml(ctx, pair, private)},
        {"key": _plain(ctx, pair, private)},
        status=201,
        location=ctx.href("keys", pair.name),
    )


@operation("keys", writes=True)
def destroy(ctx: Context, name: str) -> Answer:
    """Remove a key pair."""
    if keypairs.delete(ctx.db, ctx.account_id, name=name) is None:
        raise NotFound("key pair", name)
    return NOTHING


def _xml(ctx: Context, pair: KeyPair, private: str | None = None) -> dict[str, Any]:
    href = ctx.href("keys", pair.name)
    return {
        "@href": href,
        "@id": pair.name,
        "@type": "key",
        "name": pair.name,
        "actions": {"link": {"@rel": "destroy", "@method": "delete", "@href": href}},
        "fingerprint": pair.fingerprint,
        **({} if private is None else {"pem": private}),
        "state": "AVAILABLE",
    }


def _plain(ctx: Context, pair: KeyPair, private: str | None = None) -> dict[str, Any]:
    return {
        "id": pair.name,
        "href": ctx.href("keys", pair.name),
        "name": pair.name,
        "credential_type": "key",
        "fingerprint": pair.fingerprint,
        # Clients look both up without asking whether they are there.
        "pem_rsa_key": private,
        "username": None,
        "password": None,
        "state": "AVAILABLE",
    }
