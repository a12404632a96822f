# SPDX-License-Identifier: Apache-2.0
"""Whether an instance's node, guest and disk are well: pure, from what was observed of them.

The node is well while its listener asks for commands; one that lost its power is noticed within a
minute. The guest is well once its node has heard it in this run: it sent something through its
network card, which firmware does not that boots from a disk, and which can be seen without anything
installed in it.

A node that its administrator drains will end its guests, which is an event of each of them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from gateway.cloud import ends, ids, volumes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.store.instances import Instance
    from gateway.store.machines import Machine

SILENCE = timedelta(seconds=45)
"""A listener asks every 15 seconds."""

BOOT = timedelta(minutes=5)
"""A guest that was not heard for so long after its start may have no driver for its card."""


class Check(NamedTuple):
    """What a check found: EC2's words, and since when it has failed."""

    status: str
    reachability: str | None
    impaired_since: datetime | None = None


NOT_APPLICABLE = Check("not-applicable", None)
OK = Check("ok", "passed")
INITIALIZING = Check("initializing", "initializing")
UNKNOWN = Check("insufficient-data", "insufficient-data")


def of_node(instance: Instance, heard_at: datetime | None, now: datetime) -> Check:
    """Return how the instance's node is; ``heard_at`` is when its listener asked last."""
    if instance.state != "running":
        return NOT_APPLICABLE
    if heard_at is None:
        return INITIALIZING if now - instance.begun_at < SILENCE else UNKNOWN
    if now - heard_at > SILENCE:
        return Check("impaired", "failed", heard_at)
    return OK


def of_guest(instance: Instance, node: Check, now: datetime) -> Check:
    """Return how the guest is."""
    if instance.state != "running":
        return NOT_APPLICABLE
    if node.status == "impaired":
        return UNKNOWN
    if instance.heard_run == instance.run:
        return OK
    return INITIALIZING if now - instance.begun_at < BOOT else UNKNOWN


def of_disk(instance: Instance, heard_at: datetime | None, now: datetime) -> Check:
    """Return how an instance's disk is: well while the node that keeps it is there.

    Nobody looks into a disk, so none is found impaired, and one in the store is well. ``heard_at``
    as for :func:`of_node`; of a stopped instance the node is the one that ran it last.
    """
    if instance.parked:
        return OK
    made = volumes.attachment(instance) != "attaching"
    return OK if made and heard_at is not None and now - heard_at <= SILENCE else UNKNOWN


class Event(NamedTuple):
    """What is scheduled for an instance, in EC2's words; ``not_before`` is when it will happen."""

    id: str
    code: str
    description: str
    not_before: datetime


def scheduled(instance: Instance, machines: Iterable[Machine]) -> Event | None:
    """Return the end of a running guest whose node is being drained."""
    if instance.state != "running":
        return None
    for machine in machines:
        here = (machine.host, machine.zone) == (instance.node, instance.availability_zone)
        if here and machine.drained_since is not None:
            stops = ends.becomes(instance, None) == "stopped"
            since = machine.drained_since
            return Event(
                ids.derived("instance-event", instance.id, since.isoformat()),
                "instance-stop" if stops else "instance-retirement",
                f"The instance's node is being drained: {machine.drain_reason or 'no reason'}",
                machine.drained_by or since,
            )
    return None
