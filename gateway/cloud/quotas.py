# SPDX-License-Identifier: Apache-2.0
"""Quotas: how much of each kind an account may have at a time, and how much it has.

A quota is the account's own (table ``quotas``) or the default of the settings. It is checked in
the transaction that adds something; :func:`binding` makes other such transactions of the account
wait. What there is already is never taken away: an account above its quota gets nothing more.

- ``instances``: all that are not terminated, stopped ones too, because they keep their disks.
- ``vcpus``: of pending and running instances; a stopped one has none (EC2 User Guide, "EC2
  instance type quotas").
- ``images``: registered, in whatever state.
- ``key-pairs``: EC2 has 5,000 of them in a region.
- ``image-bytes``: in the store, of images that are registered or that a disk stands on. Two
  images with the same content count twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.cloud.errors import Invalid, LimitReached
from gateway.store import images, instance_counts, key_pairs, quotas

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection

    from gateway.config import Settings

UNLIMITED: Mapping[str, int] = {}
"""Limits by kind, where a kind that is not named has none: so for what the administrator does."""

MAX_VALUE = 2**63 - 1


class Kind(NamedTuple):
    """A kind of quota: the setting with its default, how a refusal calls one, what there is."""

    setting: str
    subject: str
    used: Callable[[Connection, str], int]


KINDS: Mapping[str, Kind] = {
    "instances": Kind(
        "instance_limit", "instance", lambda db, id_: instance_counts.count(db, id_)[0]
    ),
    "vcpus": Kind("vcpu_limit", "vcpu", lambda db, id_: instance_counts.count(db, id_)[1]),
    "images": Kind("image_limit", "image", images.count),
    "key-pairs": Kind("key_pair_limit", "key pair", key_pairs.count),
    "image-bytes": Kind("image_bytes_limit", "image byte", images.sum_sizes),
}


def defaults(settings: Settings) -> dict[str, int]:
    """Return what the settings allow every account."""
    return {name: getattr(settings, kind.setting) for name, kind in KINDS.items()}


def current(db: Connection, account_id: str, settings: Settings) -> dict[str, int]:
    """Return what the account may have, for telling it."""
    return defaults(settings) | _known(quotas.select(db, account_id))


def binding(db: Connection, account_id: str, settings: Settings) -> dict[str, int]:
    """Return what the account may have, for adding something in this writing transaction."""
    return defaults(settings) | _known(quotas.select(db, account_id, lock=True))


def own(db: Connection, account_id: str) -> dict[str, int]:
    """Return the quotas that were set for the account itself."""
    return _known(quotas.select(db, account_id))


def usage(db: Connection, account_id: str) -> dict[str, int]:
    """Return how much the account has of each kind."""
    return {name: kind.used(db, account_id) for name, kind in KINDS.items()}


def put(db: Connection, account_id: str, kind: str, value: int | None) -> None:
    """Set an account's own quota; None takes it away, so that the setting holds again."""
    if kind not in KINDS:
        raise Invalid("quota", kind, f"There is no quota {kind}: {', '.join(KINDS)}.")
    if value is None:
        quotas.delete(db, account_id, kind)
    elif 0 <= value <= MAX_VALUE:
        quotas.put(db, account_id, kind, value)
    else:
        raise Invalid("quota", str(value), f"A quota is a number from 0 to {MAX_VALUE}.")


def check(db: Connection, account_id: str, name: str, more: int, limits: Mapping[str, int]) -> None:
    """Raise :class:`LimitReached` unless the account may have ``more`` of that kind."""
    if name not in limits:
        return
    kind = KINDS[name]
    used = kind.used(db, account_id)
    if used + more > limits[name]:
        raise LimitReached(kind.subject, more, limits[name], used)


def launchable(  # noqa: PLR0913 - whose, how many, how large, within what
    db: Connection,
    account_id: str,
    minimum: int,
    maximum: int,
    *,
    vcpus: int,
    limits: Mapping[str, int],
) -> int:
    """Return how many instances of so many vCPUs the account may launch, at most ``maximum``.

    Raises :class:`LimitReached` where that is less than ``minimum``.
    """
    has, has_vcpus = instance_counts.count(db, account_id)
    limit = limits.get("instances", has + maximum)
    if has + minimum > limit:
        raise LimitReached("instance", minimum, limit, has)
    vcpu_limit = limits.get("vcpus", has_vcpus + maximum * vcpus)
    if has_vcpus + minimum * vcpus > vcpu_limit:
        raise LimitReached("vcpu", minimum * vcpus, vcpu_limit, has_vcpus)
    return min(maximum, limit - has, (vcpu_limit - has_vcpus) // vcpus)


def _known(found: Mapping[str, int]) -> dict[str, int]:
    # A later release may have had more kinds.
    return {kind: value for kind, value in found.items() if kind in KINDS}
