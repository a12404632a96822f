# SPDX-License-Identifier: Apache-2.0
"""CreateKeyPair, ImportKeyPair, DescribeKeyPairs, DeleteKeyPair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import keypairs
from gateway.ec2 import filters, tagging
from gateway.ec2.dispatch import Result, action
from gateway.errors import InvalidParameterCombination, MissingParameter
from gateway.store import tags

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.cloud.keypairs import NewKey
    from gateway.ec2.context import Context
    from gateway.ec2.filters import Value
    from gateway.store.key_pairs import KeyPair

FILTERS: dict[str, Callable[[KeyPair], Value]] = {
    "fingerprint": lambda pair: pair.fingerprint,
    "key-name": lambda pair: pair.name,
    "key-pair-id": lambda pair: pair.id,
}


def _generate(*, KeyType: str = "rsa", KeyFormat: str = "pem") -> NewKey:
    return keypairs.generate(KeyType, KeyFormat)


@action(writes=True, prepare=_generate)
def create_key_pair(
    ctx: Context,
    key: NewKey,
    *,
    KeyName: str,
    TagSpecifications: Sequence[Mapping[str, Any]] = (),
) -> Result:
    """Make a key pair; its private key is in this answer and nowhere else."""
    tagged = tagging.read(TagSpecifications, "key-pair")
    pair = keypairs.add(
        ctx.db, ctx.account_id, KeyName, key, tagged=tagged, now=ctx.now, limits=ctx.limits
    )
    return {**_named(pair, tagged), "KeyMaterial": key.private}


@action(writes=True)
def import_key_pair(
    ctx: Context,
    *,
    KeyName: str,
    PublicKeyMaterial: bytes,
    TagSpecifications: Sequence[Mapping[str, Any]] = (),
) -> Result:
    """Take in a public key."""
    tagged = tagging.read(TagSpecifications, "key-pair")
    pair = keypairs.import_public_key(
        ctx.db,
        ctx.account_id,
        KeyName,
        PublicKeyMaterial,
        tagged=tagged,
        now=ctx.now,
        limits=ctx.limits,
    )
    return _named(pair, tagged)


@action()
def describe_key_pairs(
    ctx: Context,
    *,
    KeyNames: Sequence[str] = (),
    KeyPairIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    IncludePublicKey: bool = False,
) -> Result:
    """Describe the account's key pairs by name."""
    wanted = filters.Filters(Filters, FILTERS, tagged=True)
    pairs = keypairs.find(ctx.db, ctx.account_id, names=KeyNames, pair_ids=KeyPairIds)
    tagged = tags.select(ctx.db, [pair.id for pair in pairs])
    return {
        "KeyPairs": [
            _described(pair, tagged.get(pair.id, filters.NO_TAGS), public=IncludePublicKey)
            for pair in pairs
            if wanted.match(pair, tagged.get(pair.id, filters.NO_TAGS))
        ]
    }


@action(writes=True)
def delete_key_pair(
    ctx: Context, *, KeyName: str | None = None, KeyPairId: str | None = None
) -> Result:
    """Remove a key pair; one that does not exist is no error in EC2."""
    if KeyName is None and KeyPairId is None:
        raise MissingParameter("KeyName")
    if KeyName is not None and KeyPairId is not None:
        raise InvalidParameterCombination.of("keyName", "keyPairId")
    pair = keypairs.delete(ctx.db, ctx.account_id, name=KeyName, pair_id=KeyPairId)
    return {"Return": True, "KeyPairId": None if pair is None else pair.id}


def _named(pair: KeyPair, tagged: Mapping[str, str]) -> Result:
    return {
        "KeyName": pair.name,
        "KeyFingerprint": pair.fingerprint,
        "KeyPairId": pair.id,
        "Tags": tagging.tag_set(tagged),
    }


def _described(pair: KeyPair, tagged: Mapping[str, str], *, public: bool) -> Result:
    return {
        **_named(pair, tagged),
        "KeyType": pair.key_type,
        "CreateTime": pair.created_at,
        "PublicKey": f"{pair.public_key} {pair.name}" if public else None,
    }
