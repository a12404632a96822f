# SPDX-License-Identifier: Apache-2.0
"""Instances: launching, finding, terminating. How their states follow: ``states``.

A launch is answered when it is written down; the reconciler turns it into jobs afterwards.
"""

from __future__ import annotations

import secrets
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from gateway.cloud import attributes, disks, ids, quotas, states, tokens, volumes
from gateway.cloud.errors import (
    Invalid,
    LimitReached,
    NotFound,
    NotReady,
    Protected,
    TokenSpent,
    unknown,
)
from gateway.cloud.states import Reason
from gateway.store import (
    commands,
    console,
    images,
    instances,
    key_pairs,
    reservations,
    screenshots,
    tags,
)
from gateway.store.reservations import Reservation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import Connection

    from gateway.cloud.disks import Device
    from gateway.cloud.flavors import Flavor
    from gateway.cloud.tokens import ClientToken
    from gateway.store.images import Image
    from gateway.store.instances import Instance

MAX_LAUNCH = 1000
"""Instances in one launch."""

METADATA_DEFAULTS = {
    "metadata_endpoint": "enabled",
    "metadata_tokens": "optional",
    "metadata_hop_limit": 1,
    "metadata_tags": "disabled",
    "metadata_pending": False,
}

USER_INITIATED = Reason(
    "Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"
)


ENDING = frozenset({"shutting-down", "terminated"})


class Launch(NamedTuple):
    """What is asked for."""

    image_id: str
    flavor: str
    minimum: int
    maximum: int
    zone: str
    key_name: str | None
    user_data: bytes | None
    tags: Mapping[str, str]
    token: ClientToken | None = None
    devices: Sequence[Device] = ()
    metadata: Mapping[str, object] = MappingProxyType({})
    """columns of the metadata's that differ from the defaults"""
    shutdown_behavior: str = "stop"
    disable_api_termination: bool = False
    disable_api_stop: bool = False
    monitoring: bool = False
    zone_required: bool = False
    """whether the zone was asked for; otherwise it is where the instances are expected to run"""
    volume_tags: Mapping[str, str] = MappingProxyType({})


def launch(  # noqa: PLR0913 - who, what, when, within what
    db: Connection,
    account_id: str,
    asked: Launch,
    now: datetime,
    *,
    flavors: Mapping[str, Flavor],
    limits: Mapping[str, int],
) -> list[Instance]:
    """Write down a launch and return its instances in their order, all ``pending``.

    As many as ``asked.maximum`` are launched, or as few as ``asked.minimum`` where ``limits``
    (``quotas``) allow no more. With a client token that came before, the instances of the first
    launch are returned as they are now.

    Raises :class:`NotFound`, :class:`NotReady`, :class:`Invalid`, :class:`LimitReached`,
    :class:`TokenSpent`, and what ``tokens.take`` does.
    """
    said = None if asked.token is None else asked.token.text
    reservation = Reservation(ids.new("reservation"), account_id, said, now)
    first = tokens.take(db, account_id, asked.token, reservation.id, now)
    if first is not None:
        return _launched(db, first, said)
    _check_counts(asked)
    image = _usable_image(db, account_id, asked.image_id)
    public_key = _public_key(db, account_id, asked.key_name)
    flavor = flavors.get(asked.flavor)
    if flavor is None:
        raise NotFound("flavor", asked.flavor)
    attributes.check_user_data(asked.user_data or b"")
    count = quotas.launchable(
        db,
        account_id,
        asked.minimum,
        min(asked.maximum, MAX_LAUNCH),
        vcpus=flavor.vcpus,
        limits=limits,
    )
    reservations.insert(db, reservation)
    rows = _rows(
        db, reservation, asked, image=image, flavor=flavor, public_key=public_key, count=count
    )
    instances.insert(db, rows)
    launched = [str(row["id"]) for row in rows]
    tags.insert(db, account_id, launched, asked.tags)
    tags.insert(db, account_id, [volumes.volume_id(one) for one in launched], asked.volume_tags)
    return instances.select_reservation(db, reservation.id)


def find(
    db: Connection,
    account_id: str,
    instance_ids: Sequence[str],
    terminated_after: datetime,
) -> list[Instance]:
    """Return the named instances; raise :class:`NotFound` naming those that there are not.

    An instance that was terminated before ``terminated_after`` is not found any more.
    """
    ids.check("instance", instance_ids)
    found = [
        instance
        for instance in instances.select_ids(db, account_id, dict.fromkeys(instance_ids))
        if instance.state != "terminated" or instance.state_changed_at > terminated_after
    ]
    if missing := unknown(instance_ids, [instance.id for instance in found]):
        raise NotFound("instance", *missing)
    return found


class Change(NamedTuple):
    """What a request did: an instance's state before and after."""

    instance_id: str
    before: str
    after: str


def terminate(
    db: Connection,
    account_id: str,
    instance_ids: Sequence[str],
    now: datetime,
    terminated_after: datetime,
) -> list[Change]:
    """Want the instances to end, all of them or, with a refusal, none.

    One that was never handed to the pool, or is stopped, ends at once; for the others the
    reconciler removes the job. One that is ending or has ended stays as it is. Raises
    :class:`NotFound`, :class:`Protected`.
    """
    found = find(db, account_id, instance_ids, terminated_after)
    for instance in found:
        if instance.disable_api_termination and instance.state not in ENDING:
            raise Protected("instance", instance.id, "terminated")
    by_id = {instance.id: instance for instance in found}
    return [_terminate(db, by_id[name], now) for name in dict.fromkeys(instance_ids)]


def forget(db: Connection, now: datetime, kept: timedelta) -> int:
    """Remove instances that are not described any more and whose token need not be known.

    Returns how many. For the reconciler, now and then.
    """
    before = now - max(kept, tokens.KEPT)
    gone = instances.select_terminated_before(db, before)
    for start in range(0, len(gone), instances.BATCH):
        batch = gone[start : start + instances.BATCH]
        tags.delete(db, batch)
        console.delete(db, batch)
        commands.delete(db, batch)
        screenshots.delete(db, batch)
        instances.delete(db, batch)
    reservations.delete_empty(db, before)
    tokens.forget(db, now)
    images.delete_unused(db)
    return len(gone)


def _terminate(db: Connection, instance: Instance, now: datetime) -> Change:
    if instance.state in ENDING:
        return Change(instance.id, instance.state, instance.state)
    has_no_job = instance.submit_state in {"wanted", "none"}
    after = "terminated" if has_no_job else "shutting-down"
    told = states.initiated("User initiated", now)
    states.change(db, instance, after, now, reason=USER_INITIATED, transition=told)
    instances.update_wanted(db, instance.id, "terminated")
    if has_no_job:
        instances.update_submission(db, [instance.id], "none")
    return Change(instance.id, instance.state, after)


def _launched(db: Connection, reservation_id: str, token: str | None) -> list[Instance]:
    launched = instances.select_reservation(db, reservation_id)
    # The client that still waits for these would wait for ever; EC2 tells it since 2025.
    if all(instance.state == "terminated" for instance in launched):
        raise TokenSpent(token or "")
    return launched


def _check_counts(asked: Launch) -> None:
    if asked.minimum < 1:
        raise Invalid("count", "", "Minimum instance count must be greater than zero")
    if asked.maximum < 1:
        raise Invalid("count", "", "Maximum instance count must be greater than zero")
    if asked.maximum < asked.minimum:
        raise Invalid(
            "count", "", "Maximum instance count must not be less than minimum instance count"
        )
    if asked.minimum > MAX_LAUNCH:
        raise LimitReached("instance", asked.minimum, MAX_LAUNCH)


def _usable_image(db: Connection, account_id: str, image_id: str) -> Image:
    ids.check("image", [image_id])
    found = images.select_visible(db, account_id, [image_id])
    if not found:
        raise NotFound("image", image_id)
    if found[0].state != "available":
        raise NotReady("image", image_id, found[0].state)
    return found[0]


def _public_key(db: Connection, account_id: str, key_name: str | None) -> str | None:
    if key_name is None:
        return None
    pair = key_pairs.get(db, account_id, key_name)
    if pair is None:
        raise NotFound("key pair", key_name)
    return pair.public_key


def _rows(  # noqa: PLR0913 - what the rows are made of
    db: Connection,
    reservation: Reservation,
    asked: Launch,
    *,
    image: Image,
    flavor: Flavor,
    public_key: str | None,
    count: int,
) -> list[dict[str, object]]:
    disk_bytes = disks.launched_bytes(image, asked.devices)
    volume_type = disks.launched_type(asked.devices)
    return [
        {
            "id": ids.new("instance"),
            "reservation_id": reservation.id,
            "account_id": reservation.account_id,
            "launch_index": index,
            "image_id": image.id,
            "instance_type": flavor.name,
            "vcpus": flavor.vcpus,
            "memory_mib": flavor.memory_mib,
            "disk_bytes": disk_bytes,
            "volume_type": volume_type,
            "key_name": asked.key_name,
            "public_key": public_key,
            "user_data": asked.user_data,
            "mac": mac,
            "launched_at": reservation.created_at,
            "wanted": "running",
            "state": "pending",
            "state_changed_at": reservation.created_at,
            "reason_code": "pending",
            "reason_message": "pending",
            "transition_reason": None,
            "run": 1,
            "lost_runs": 0,
            "submit_state": "wanted",
            "cluster": None,
            "proc": None,
            "node": None,
            "private_ip": None,
            "vnc_port": None,
            "virt_type": None,
            "heard_run": None,
            "claim_nonce": None,
            "claimed_at": None,
            "claimed_by": None,
            "started_at": reservation.created_at,
            "home": None,
            "parked": False,
            "shutdown_behavior": asked.shutdown_behavior,
            "disable_api_termination": asked.disable_api_termination,
            "disable_api_stop": asked.disable_api_stop,
            "monitoring": asked.monitoring,
            "source_dest_check": True,
            "availability_zone": asked.zone,
            "zone_required": asked.zone_required,
            "spot_request_id": None,
            **METADATA_DEFAULTS,
            **asked.metadata,
        }
        for index, mac in enumerate(_free_macs(db, count))
    ]


def _free_macs(db: Connection, count: int) -> list[str]:
    # 52:54:00 is what QEMU and libvirt use; the rest is random and must be free.
    free: set[str] = set()
    while len(free) < count:
        made = {f"52:54:00:{secrets.token_bytes(3).hex(':')}" for _ in range(count - len(free))}
        free |= made - instances.select_macs(db, made)
    return sorted(free)
