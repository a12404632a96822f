# SPDX-License-Identifier: Apache-2.0
"""What a look at the whole database needs: is it usable, and what is in it for all accounts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import func, inspect, union
from sqlalchemy import select as sql_select
from sqlalchemy.exc import SQLAlchemyError

from gateway.store import cursors, database, schema
from gateway.store.access_keys import AccessKey
from gateway.store.images import Image, needed
from gateway.store.instances import Instance
from gateway.store.nodes import Node
from gateway.store.parkings import FAILED, HERE, LEFT, PARKED, WANTED
from gateway.store.schema import (
    access_keys,
    captures,
    console,
    images,
    import_tasks,
    instances,
    nodes,
    parkings,
    reservations,
)

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import ColumnElement, CompoundSelect, Connection, Engine, Select, Table

_START_FIRST = "Start `condor-cloud run` first."


class UnusableError(Exception):
    """The database cannot be used: what is the matter, and what to do about it."""

    def __init__(self, sentence: str, advice: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.advice = advice


class Submission(NamedTuple):
    """An instance's launch and the job that it became."""

    instance_id: str
    launched_at: datetime
    cluster: int
    proc: int


class Numbers(NamedTuple):
    """How much there is of all accounts' things; by state, with a zero for states of none."""

    stored_bytes: int
    stored_files: int
    stopped_disk_bytes: int
    stopped_disks: dict[str, int]
    images: dict[str, int]
    instances: dict[str, int]
    import_tasks: dict[str, int]


def check_usable(engine: Engine) -> None:
    """Raise :class:`UnusableError` unless the database is there and of this release's schema."""
    _check_file(engine)
    name = engine.url.render_as_string(hide_password=True)
    try:
        with database.reading(engine) as db:
            found = revision(db)
    except SQLAlchemyError as error:
        reason = getattr(error, "orig", None) or error
        raise UnusableError(
            f"The database {name} cannot be used: {reason}.",
            "Run this as the gateway's own user, and see that the file is a database.",
        ) from error
    if found is None:
        raise UnusableError(f"The database {name} is empty.", _START_FIRST)
    if found != schema.REVISION:
        raise UnusableError(
            f"The database {name} has the schema {found}; this release uses {schema.REVISION}.",
            "Start this release's `condor-cloud run`, or use the release that wrote the database.",
        )


def check_writable(engine: Engine) -> None:
    """Raise :class:`UnusableError` unless a transaction can write; nothing stays of it."""
    try:
        with engine.connect() as connection:
            connection.execution_options(writes=True)
            with connection.begin() as transaction:
                cursors.put(connection, "written-by-doctor", "{}")
                transaction.rollback()
    except SQLAlchemyError as error:
        raise UnusableError(
            f"The database cannot be written: {getattr(error, 'orig', None) or error}.",
            "See whether its disk is full or read-only, and whether another program locks it.",
        ) from error


def revision(db: Connection) -> str | None:
    """Return the schema's revision, or None where there are no tables."""
    if not inspect(db).has_table("alembic_version"):
        return None
    row = db.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    return None if row is None else str(row[0])


def latest_instant(db: Connection) -> datetime | None:
    """Return the latest point in time that the gateway has written down."""
    columns = (
        access_keys.c.created_at,
        console.c.updated_at,
        images.c.created_at,
        instances.c.claimed_at,
        instances.c.state_changed_at,
        nodes.c.created_at,
        reservations.c.created_at,
    )
    found = [db.execute(sql_select(func.max(column))).scalar() for column in columns]
    return max((at for at in found if at is not None), default=None)


def latest_submission(db: Connection) -> Submission | None:
    """Return the launch that became a job last."""
    own = instances.c
    query = (
        sql_select(own.id, own.launched_at, own.cluster, own.proc)
        .where(own.cluster.is_not(None))
        .order_by(own.launched_at.desc())
        .limit(1)
    )
    row = db.execute(query).first()
    return None if row is None else Submission._make(row)


def select_images(db: Connection) -> list[Image]:
    """Return every account's images that are registered or still needed, oldest first."""
    query = sql_select(images).where(needed()).order_by(images.c.created_at, images.c.id)
    return [Image._make(row) for row in db.execute(query)]


def numbers(db: Connection) -> Numbers:
    """Count; bytes that several images share count once."""
    kept = sql_select(images.c.sha256, images.c.size).where(images.c.sha256.is_not(None), needed())
    stored_bytes, stored_files = _sum(db, kept)
    disks = sql_select(parkings.c.sha256, parkings.c.size).where(parkings.c.state == PARKED)
    # One that becomes an image is kept for that, whatever its instance is at.
    imaged = sql_select(captures.c.sha256, captures.c.size).where(
        captures.c.disk_bytes.is_not(None)
    )
    return Numbers(
        stored_bytes=stored_bytes,
        stored_files=stored_files,
        stopped_disk_bytes=_sum(db, union(disks, imaged))[0],
        stopped_disks=_by_state(db, parkings, _DISK_STATES),
        images=_by_state(db, images, _IMAGE_STATES, images.c.registered),
        instances=_by_state(db, instances, _INSTANCE_STATES),
        import_tasks=_by_state(db, import_tasks, _TASK_STATES),
    )


def _sum(db: Connection, kept: Select[Any] | CompoundSelect[Any]) -> tuple[int, int]:
    """Return the bytes and the number of files, each checksum counted once."""
    files = kept.subquery()
    one = sql_select(files.c.sha256, func.max(files.c.size).label("size")).group_by(files.c.sha256)
    distinct = one.subquery()
    query = sql_select(func.coalesce(func.sum(distinct.c.size), 0), func.count())
    size, number = db.execute(query.select_from(distinct)).one()
    return int(size), number


_IMAGE_STATES = ("pending", "available", "failed")
_INSTANCE_STATES = ("pending", "running", "shutting-down", "terminated", "stopping", "stopped")
_DISK_STATES = (WANTED, HERE, PARKED, FAILED, LEFT)
_TASK_STATES = ("active", "completed", "deleting", "deleted")


def _by_state(
    db: Connection, table: Table, states: tuple[str, ...], *conditions: ColumnElement[bool]
) -> dict[str, int]:
    query = sql_select(table.c.state, func.count()).where(*conditions).group_by(table.c.state)
    return dict.fromkeys(states, 0) | {row.state: row[1] for row in db.execute(query)}


def select_access_keys(db: Connection) -> list[AccessKey]:
    """Return every account's access keys, oldest first, revoked ones too."""
    query = sql_select(access_keys).order_by(access_keys.c.created_at, access_keys.c.id)
    return [AccessKey._make(row) for row in db.execute(query)]


def select_nodes(db: Connection) -> list[Node]:
    """Return every node by name, revoked ones too."""
    return [Node._make(row) for row in db.execute(sql_select(nodes).order_by(nodes.c.name))]


def select_instances(db: Connection) -> list[Instance]:
    """Return every account's instances, oldest first, terminated ones too."""
    columns = [
        instances.c[name] if name in instances.c else _OTHERS[name] for name in Instance._fields
    ]
    query = (
        sql_select(*columns)
        .select_from(instances.join(reservations).join(images))
        .order_by(instances.c.launched_at, instances.c.reservation_id, instances.c.launch_index)
    )
    return [Instance._make(row) for row in db.execute(query)]


_OTHERS = {
    "client_token": reservations.c.client_token,
    "architecture": images.c.architecture,
    "root_device_name": images.c.root_device_name,
    "boot_mode": images.c.boot_mode,
}


def _check_file(engine: Engine) -> None:
    # Opening an SQLite database that is not there would make an empty one.
    if engine.url.get_backend_name() != "sqlite" or not engine.url.database:
        return
    path = Path(engine.url.database)
    try:
        there = path.is_file()
    except PermissionError:
        there = False
    if not there:
        raise UnusableError(f"There is no database {path} yet.", _START_FIRST)
    if not os.access(path, os.R_OK | os.W_OK):
        raise UnusableError(
            f"The database {path} may not be read and written by this user.",
            "Run this as root or as the gateway's own user.",
        )
