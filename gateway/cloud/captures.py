# SPDX-License-Identifier: Apache-2.0
"""Images of instances: asked of an instance's node, sent by it in pieces.

A running instance's supervisor is asked by a command, a stopped one's node as an errand
(:mod:`gateway.cloud.errands`), and nobody for a disk that the store has
(:mod:`gateway.cloud.parking`): there the importer makes the image of what the instance left.

Such an image is pending until the importer has taken it in, as it takes in every other. It fails
with a reason when its node says that there will be nothing, when the run ends or a stopped
instance's disk changes before, or when nothing is heard of the node for :data:`SILENCE`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from gateway.cloud import disks, ids, parking, quotas
from gateway.cloud import images as image_rules
from gateway.cloud import instances as rules
from gateway.cloud.errors import Invalid, NotRunning, WrongState
from gateway.store import captures, commands, images, instances, tags
from gateway.store.captures import Capture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from gateway.cloud.disks import Device
    from gateway.store.images import Image
    from gateway.store.instances import Instance
    from gateway.store.parkings import Parking

SILENCE = timedelta(minutes=15)
"""How long a node may say nothing of a copy."""

START_WAITS = timedelta(minutes=5)
"""How long a start waits until its instance's disk is copied; then there will be no copy."""

PLAIN, REBOOTING = "capture", "reboot-capture"
"""The commands' verbs; with the second the guest boots anew and is copied when it has shut down."""

STOPPED = "stopped"
"""The word for a disk that nobody had in use."""

NOTES = {
    "frozen": "The guest's agent held its file systems while the copy began.",
    "running": "The copy is of one instant of the running guest; no agent held its file systems.",
    "rebooted": "The guest had shut down, to boot anew, when the copy began.",
    "reset": "The guest did not shut down when it was asked to; it was reset when the copy began.",
    STOPPED: "The instance was stopped when its disk was copied.",
}
"""What is told of an image for each word that a node says of the guest's file systems."""

ENDED = "The instance ended before its disk was copied."
STARTED = "The instance was started before its disk was copied."
GAVE_WAY = "The copy of the disk was given up, because the instance was to start."

_MAX_REASON = 500


class NewCapture(NamedTuple):
    """What is asked for. ``grace``: seconds that the guest has to shut down; None: no reboot."""

    instance_id: str
    name: str
    description: str
    tags: Mapping[str, str]
    grace: float | None
    devices: Sequence[Device] = ()


def begin(  # noqa: PLR0913 - who, what, when, within what
    db: Connection,
    account_id: str,
    asked: NewCapture,
    now: datetime,
    terminated_after: datetime,
    *,
    limits: Mapping[str, int] = quotas.UNLIMITED,
) -> Image:
    """Add a pending image of a running or stopped instance, and ask its node for the disk.

    It is like the image that the instance was launched from, in all but its bytes. Raises
    :class:`NotRunning` where neither a node nor the store has a stopped one's disk,
    :class:`WrongState`, and what registering an image does.
    """
    [instance] = rules.find(db, account_id, [asked.instance_id], terminated_after)
    source = images.get(db, instance.image_id)
    if instance.state not in {"running", "stopped"} or source is None:
        raise WrongState("instance", instance.id, "imaged")
    stored = parking.get(db, instance) if instance.state == "stopped" else None
    on_node = instance.home is not None and instance.claimed_by is not None
    if instance.state == "stopped" and not on_node and stored is None:
        raise NotRunning("instance", instance.id)
    # A disk that is on its way into the store stays until it is copied.
    parking.cancel(db, instance.id)
    image_rules.check_name(db, account_id, asked.name)
    image_rules.check_description(asked.description)
    wanted = disks.root_bytes(asked.devices, source.root_device_name)
    has = instance.disk_bytes or source.disk_size() or 0
    if wanted is not None and wanted < has:
        least = disks.whole_gib(has)
        told = f"The volume is smaller than the instance's disk, which needs {least} GiB."
        raise Invalid("block devices", instance.id, told)
    quotas.check(db, account_id, "images", 1, limits)
    # How many bytes it has is not known yet: see `images.imported`.
    quotas.check(db, account_id, "image-bytes", 1, limits)
    image = source._replace(
        id=ids.new("image"),
        account_id=account_id,
        name=asked.name,
        description=asked.description,
        state="pending",
        state_reason=None,
        location=f"{account_id}/{asked.name}",
        sha256=None,
        size=None,
        virtual_size=None,
        format=None,
        created_at=now,
        public=False,
        registered=True,
        disk_bytes=wanted,
        deprecated_at=None,
        source_image_id=source.id,
        source_instance_id=instance.id,
    )
    images.insert(db, image)
    tags.insert(db, account_id, [image.id], asked.tags)
    if stored is None:
        captures.insert(db, _asked(db, instance, image, asked.grace, now))
    else:
        captures.insert(db, _here(db, stored, image, has, now))
    return image


def _asked(
    db: Connection, instance: Instance, image: Image, grace: float | None, now: datetime
) -> Capture:
    """Ask for a copy of the disk; return how it is known."""
    stopped = instance.state == "stopped"
    if stopped:
        # There is no guest that could boot anew, and nobody who takes commands.
        number = commands.reserve(db, instance.id, now)
    else:
        verb = PLAIN if grace is None else REBOOTING
        number = commands.insert(db, instance.id, instance.run, verb, grace=grace or 0.0, at=now)
    return Capture(number, image.id, instance.id, instance.run, None, None, None, now, stopped)


def _here(db: Connection, stored: Parking, image: Image, disk_bytes: int, now: datetime) -> Capture:
    """Return a capture of a disk that the store has; whatever becomes of the instance, it stays."""
    return Capture(
        commands.reserve(db, stored.instance_id, now),
        image.id,
        stored.instance_id,
        stored.run,
        STOPPED,
        (stored.size or 0) - (stored.nvram_bytes or 0),
        stored.sha256,
        now,
        stopped=True,
        disk_bytes=disk_bytes,
    )


def wanted(db: Connection, node: str) -> list[tuple[Capture, Instance]]:
    """Return the copies of stopped instances' disks that a node shall send, oldest first."""
    found = [
        (one, instances.get(db, one.instance_id))
        for one in captures.select_stopped(db, node)
        if _is_wanted(db, one)
    ]
    return [(one, of) for one, of in found if of is not None and not _lost(one, of)]


def expected(db: Connection, number: int, node: str) -> Capture | None:
    """Return the capture that a node may send; None where nobody wants it (any more)."""
    capture = captures.get(db, number)
    if capture is None or not _is_wanted(db, capture):
        return None
    instance = instances.get(db, capture.instance_id)
    if instance is None or instance.claimed_by != node:
        return None
    if capture.stopped:
        return None if _lost(capture, instance) else capture
    return capture if instance.run == capture.run else None


def may_begin(db: Connection, capture: Capture) -> bool:
    """Whether a node that keeps everybody from a stopped instance's disk may copy it now.

    It may not once a later run has claimed the disk, and so may have written to it.
    """
    instance = instances.get(db, capture.instance_id)
    return instance is not None and _is_as_asked(capture, instance)


def heard(db: Connection, capture: Capture, how: str | None, now: datetime) -> None:
    """Note that a capture goes on; ``how`` is one of :data:`NOTES`."""
    captures.update_heard(db, capture.command_id, how, now)


def copied(db: Connection, capture: Capture, size: int) -> None:
    """Note that a stopped instance's disk is copied: whatever becomes of it now, it can be sent."""
    captures.update_copied(db, capture.command_id, size)


def arrived(db: Connection, capture: Capture, size: int, sha256: str) -> None:
    """Note that all of a capture is here: from now on it is the importer's."""
    captures.update_here(db, capture.command_id, size, sha256)


def fail(db: Connection, capture: Capture, reason: str) -> None:
    """Say why there will be no image."""
    captures.delete(db, capture.command_id)
    if _is_wanted(db, capture):
        image_rules.import_failed(db, capture.image_id, reason[:_MAX_REASON])


def hopeless(db: Connection, now: datetime) -> list[tuple[Capture, str]]:
    """Return the captures of which nothing will come, each with the reason."""
    found = []
    every = captures.select(db)
    # A guest's captures are done one after the other: the last word on any of them counts for all.
    heard: dict[tuple[str, int], datetime] = {}
    for one in every:
        run = one.instance_id, one.run
        heard[run] = max(one.heard_at, heard.get(run, one.heard_at))
    for capture in every:
        instance = instances.get(db, capture.instance_id)
        if not _is_wanted(db, capture):
            found.append((capture, "The image was deregistered."))
        elif capture.is_here:
            continue
        elif reason := _over(capture, instance, now):
            found.append((capture, reason))
        elif now - heard[capture.instance_id, capture.run] > SILENCE:
            found.append((capture, "The instance's node has not been heard of."))
    return found


def _over(capture: Capture, instance: Instance | None, now: datetime) -> str | None:
    """Return why an instance's disk cannot be copied any more; None where it can."""
    if instance is None:
        return ENDED
    if not capture.stopped:
        alive = instance.run == capture.run and instance.state in {"running", "stopping"}
        return None if alive else ENDED
    if reason := _lost(capture, instance):
        return reason
    waits = instance.state == "pending" and instance.claim_nonce is None
    if capture.how and capture.size is None and waits and now - instance.begun_at > START_WAITS:
        return GAVE_WAY
    return None


def _lost(capture: Capture, instance: Instance) -> str | None:
    """Return why a stopped instance's disk is not what was to be copied; None where it is."""
    if instance.state in rules.ENDING:
        return ENDED
    # One that was begun is of a disk that the node keeps from whoever starts.
    return None if capture.how or _is_as_asked(capture, instance) else STARTED


def _is_as_asked(capture: Capture, instance: Instance) -> bool:
    """Whether no run has claimed the disk since the image was asked for."""
    # Runs that were lost before their claims have touched nothing.
    next_run = capture.run + 1 + instance.lost_runs
    unclaimed = instance.run == next_run and instance.claim_nonce is None
    return instance.state not in rules.ENDING and (instance.run == capture.run or unclaimed)


def _is_wanted(db: Connection, capture: Capture) -> bool:
    image = images.get(db, capture.image_id)
    return image is not None and image.registered and image.state == "pending"
