# SPDX-License-Identifier: Apache-2.0
"""Imports: images out of disks in other programs' formats, and how far that is.

An import is an image that is pending, named like its task, and the task. The importer takes the
image in as it does every pending one, converts it on the way, and writes down here how far it is.
A task ends together with its image's being pending, in one transaction.

States, as in EC2: active, completed; deleting and then deleted, where it failed or was cancelled.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from gateway.cloud import boot_modes, ids, tokens
from gateway.cloud import images as image_rules
from gateway.cloud.errors import Invalid, NotFound, NotReady, unknown
from gateway.cloud.images import NewImage
from gateway.store import images, import_tasks, tags
from gateway.store.import_tasks import ImportTask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from gateway.cloud.image_sources import ImageSources
    from gateway.cloud.tokens import ClientToken
    from gateway.store.images import Content

KIND = "import image task"
FORMATS = ("raw", "qcow2", "vmdk", "vhd", "vhdx", "ova")
PLATFORMS = ("Linux", "Windows")
KEPT = timedelta(days=7)
"""How long a task that has ended is told of."""

_MAX_REASON = 500


class NewImport(NamedTuple):
    """What is asked for."""

    location: str
    format: str | None
    description: str
    disk_description: str
    architecture: str
    platform: str | None
    token: ClientToken | None = None
    boot_mode: str | None = None


class CancelledError(Exception):
    """The task is not active any more: whoever works on it stops."""


def begin(  # noqa: PLR0913 - who, what, how tagged, when, from where, within what
    db: Connection,
    account_id: str,
    asked: NewImport,
    *,
    tagged: Mapping[str, str],
    now: datetime,
    sources: ImageSources | None,
    limits: Mapping[str, int],
) -> ImportTask:
    """Begin an import; with a client token that came before, return the first one as it is now.

    Raises what registering an image and ``tokens.take`` do.
    """
    task_id = ids.new(KIND)
    if (first := tokens.take(db, account_id, asked.token, task_id, now)) is not None:
        return find(db, account_id, [first])[0]
    if asked.format is not None and asked.format not in FORMATS:
        raise Invalid("disk format", asked.format, f"It is one of: {', '.join(FORMATS)}.")
    if asked.platform is not None and asked.platform not in PLATFORMS:
        raise Invalid("platform", asked.platform, f"It is one of: {', '.join(PLATFORMS)}.")
    boot_modes.check(asked.boot_mode, asked.architecture, boot_modes.OF_IMPORTS)
    image_rules.check_description(asked.disk_description)
    new = NewImage(
        task_id,
        asked.location,
        asked.description,
        asked.architecture,
        boot_mode=asked.boot_mode,
    )
    image = image_rules.register(
        db, account_id, new, tagged={}, now=now, sources=sources, limits=limits
    )
    task = ImportTask(
        id=task_id,
        account_id=account_id,
        image_id=image.id,
        description=asked.description,
        disk_description=asked.disk_description,
        location=asked.location,
        format=asked.format,
        platform=asked.platform,
        state="active",
        status_message="pending",
        progress=1,
        size=None,
        created_at=now,
        ended_at=None,
    )
    import_tasks.insert(db, task)
    tags.insert(db, account_id, [task_id], tagged)
    return task


def find(
    db: Connection, account_id: str, task_ids: Sequence[str] | None = None
) -> list[ImportTask]:
    """Return the account's tasks, or those of them that are named; raises :class:`NotFound`."""
    found = import_tasks.select(db, account_id, task_ids)
    if task_ids is not None and (missing := unknown(task_ids, [task.id for task in found])):
        raise NotFound(KIND, *missing)
    return found


def cancel(db: Connection, account_id: str, task_id: str) -> tuple[str, str]:
    """Stop a task that is active; return its state before and after.

    Raises :class:`NotReady` for one that is complete. Repeating is no error.
    """
    task = find(db, account_id, [task_id])[0]
    if task.state == "completed":
        raise NotReady(KIND, task_id, task.state)
    if task.state != "active":
        return task.state, task.state
    import_tasks.update(
        db, task_id, "active", state="deleting", status_message="The import was cancelled."
    )
    return task.state, "deleting"


def advance(
    db: Connection, task: ImportTask, message: str, progress: float, size: int | None
) -> None:
    """Write down how far a task is; raises :class:`CancelledError` when it shall stop."""
    values = {"status_message": message, "progress": max(1, min(99, int(progress))), "size": size}
    if not import_tasks.update(db, task.id, "active", **values):
        raise CancelledError


def complete(
    db: Connection, task: ImportTask, content: Content, now: datetime, limits: Mapping[str, int]
) -> None:
    """Make the task's image available; raises :class:`CancelledError` when nobody wants it now."""
    values = {"state": "completed", "status_message": None, "progress": 100}
    if not import_tasks.update(db, task.id, "active", **values, ended_at=now):
        raise CancelledError
    image_rules.imported(db, task.image_id, content, limits)


def fail(db: Connection, task: ImportTask, reason: str, now: datetime) -> None:
    """Say why a task, and its image, came to nothing."""
    told = f"ClientError: {reason[:_MAX_REASON]}"
    if import_tasks.update(
        db, task.id, "active", state="deleted", status_message=told, ended_at=now
    ):
        image_rules.import_failed(db, task.image_id, reason)


class Ending(NamedTuple):
    """What is to be ended: cancelled tasks, tasks without an image, tasks of long ago."""

    cancelled: list[ImportTask]
    bereft: list[ImportTask]
    old: list[str]

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return any(self)


def to_end(db: Connection, busy: set[str], now: datetime) -> Ending:
    """Return what :func:`end` would end; nobody works on the images but on those in ``busy``."""
    deleting = import_tasks.select_state(db, "deleting")
    active = import_tasks.select_state(db, "active")
    return Ending(
        [task for task in deleting if task.image_id not in busy],
        [task for task in active if not _is_registered(db, task.image_id)],
        import_tasks.select_ended_before(db, now - KEPT),
    )


def end(db: Connection, busy: set[str], now: datetime) -> None:
    """End what has to end, with its images and tags."""
    found = to_end(db, busy, now)
    for task in found.cancelled:
        import_tasks.update(db, task.id, "deleting", state="deleted", ended_at=now)
        image_rules.withdraw(db, task.image_id)
    for task in found.bereft:
        told = "The image was deregistered while it was imported."
        values = {"state": "deleted", "status_message": told, "ended_at": now}
        import_tasks.update(db, task.id, "active", **values)
    tags.delete(db, found.old)
    import_tasks.delete(db, found.old)


def _is_registered(db: Connection, image_id: str) -> bool:
    image = images.get(db, image_id)
    return image is not None and image.registered
