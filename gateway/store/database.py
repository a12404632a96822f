# SPDX-License-Identifier: Apache-2.0
"""Opening the database, its two kinds of transaction, and bringing it up to date.

SQLite runs in WAL mode: readers never wait for the writer. ``synchronous=NORMAL`` keeps every
committed transaction when the process dies, however it dies; a power cut may lose the last ones
but never damages the file. A writing transaction takes the write lock at its start (BEGIN
IMMEDIATE), so that what it read is still true when it writes.

Whoever waits for the write lock holds a thread. A server gives its engine fewer places for writers
than it has threads: while somebody holds the lock for long, what only reads is answered. A file
that was moved away or replaced is not written to any longer: the next transaction opens what the
name stands for, or fails.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import event, inspect
from sqlalchemy.engine import make_url

from gateway.store import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

OutOfOrder = sqlalchemy.exc.OperationalError
"""Raised by any query when the database is missing, locked for too long, full or unreachable."""

LOCK_SECONDS = 20.0
"""How long a transaction waits for SQLite's one writer before it fails."""

STUCK_SECONDS = 2.0
"""For so long no writer has begun or ended, and all places are taken: the next is sent away."""


class Crowded(Exception):  # noqa: N818 - a state, and not a fault
    """All places of writers have been taken for too long; trying again helps."""


class DatabaseError(Exception):
    """The database cannot be used; the text is one sentence for the administrator."""


class _Places:
    """How many of a process's threads may write, or wait to, at a time."""

    def __init__(self, count: int) -> None:
        self._free = threading.Semaphore(count)
        self._moved = time.monotonic()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Wait for a place as long as writers come and go; raise :class:`Crowded` if none does."""
        taken = self._free.acquire(blocking=False)
        while not taken:
            if time.monotonic() - self._moved > STUCK_SECONDS:
                raise Crowded
            taken = self._free.acquire(timeout=STUCK_SECONDS / 8)
        self._moved = time.monotonic()
        try:
            yield
        finally:
            self._moved = time.monotonic()
            self._free.release()


_PLACES: weakref.WeakKeyDictionary[Engine, _Places] = weakref.WeakKeyDictionary()


def engine(url: str, *, writers: int | None = None) -> Engine:
    """Return the engine for an SQLAlchemy URL; nothing is opened before the first use.

    With ``writers`` at most so many of the process's transactions write, or wait to, at a time.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        made = sqlalchemy.create_engine(
            parsed, max_overflow=-1, pool_pre_ping=True, hide_parameters=True
        )
    else:
        made = sqlalchemy.create_engine(
            parsed,
            max_overflow=-1,
            hide_parameters=True,
            connect_args={"timeout": LOCK_SECONDS},
        )
        event.listen(made, "connect", _open_sqlite)
        event.listen(made, "begin", _begin_sqlite)
        if parsed.database and parsed.database != ":memory:":
            _follow_file(made, parsed.database)
    if writers is not None:
        _PLACES[made] = _Places(writers)
    _forget_connections_in_children(made)
    return made


@contextmanager
def reading(database: Engine) -> Iterator[Connection]:
    """One consistent view, in which nothing is to be written."""
    with database.connect() as connection:
        yield connection


@contextmanager
def writing(database: Engine, *, durably: bool = False) -> Iterator[Connection]:
    """One transaction that holds the write lock; committed unless an exception leaves it.

    With ``durably`` it, and all before it, outlasts a power cut, which costs a wait for the disk:
    for what lets others remove the only other copy of something. Raises :class:`Crowded` where the
    engine has places for writers and none becomes free.
    """
    places = _PLACES.get(database)
    with places.one() if places else nullcontext(), database.connect() as connection:
        connection.execution_options(writes=True, durably=durably)
        with connection.begin():
            yield connection


@contextmanager
def rehearsing(database: Engine) -> Iterator[Connection]:
    """Hold the write lock for a transaction that is undone, whatever is written in it.

    A view of :func:`reading` could not write: SQLite refuses that once another one has.
    """
    with database.connect() as connection:
        connection.execution_options(writes=True)
        yield connection


@contextmanager
def part(connection: Connection) -> Iterator[None]:
    """Undo a part of a transaction alone when an exception leaves it (SAVEPOINT)."""
    with connection.begin_nested():
        yield


def migrate(url: str) -> None:
    """Bring the database to the newest schema, creating it where there is none.

    Safe when several processes start at once. Raises :class:`DatabaseError` when the database
    was written by a newer release or cannot be opened.
    """
    database = engine(url)
    try:
        if make_url(url).get_backend_name() == "sqlite":
            _prepare_file(database)
        with writing(database) as connection:
            if _revision(connection) != schema.REVISION:
                _upgrade(connection)
    except OutOfOrder as error:
        raise DatabaseError(
            f"The database {database.url!r} cannot be used: {error.orig}."
        ) from error
    finally:
        database.dispose()


def _open_sqlite(connection: Any, _record: object) -> None:
    # SQLAlchemy begins transactions itself (below); the driver's own guessing is switched off.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = NORMAL")


def _follow_file(made: Engine, name: str) -> None:
    """Let a connection be given out only while the file that it has open has its name."""
    known = Path(name).exists()

    @event.listens_for(made, "do_connect")
    def is_there(*_: object) -> None:
        # SQLite would make an empty database in its place.
        if known and not Path(name).exists():
            raise sqlite3.OperationalError(f"the file {name} is not there")

    @event.listens_for(made, "connect")
    def opened(_connection: object, record: Any) -> None:
        nonlocal known
        known = True
        record.info["file"] = _identity(name)

    @event.listens_for(made, "checkout")
    def given_out(_connection: object, record: Any, _proxy: object) -> None:
        if record.info.get("file") != _identity(name):
            raise sqlalchemy.exc.InvalidatePoolError(f"{name} is another file now")


def _identity(name: str) -> tuple[int, int] | None:
    try:
        found = Path(name).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    writes = options.get("writes", False)
    if writes:
        # https://sqlite.org/pragma.html#pragma_synchronous: with FULL the log is synced at commit.
        level = "FULL" if options.get("durably", False) else "NORMAL"
        connection.exec_driver_sql(f"PRAGMA synchronous = {level}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _forget_connections_in_children(made: Engine) -> None:
    # A connection must not be shared between a process and its forks (gunicorn's workers).
    reference = weakref.ref(made)

    def forget() -> None:
        inherited = reference()
        if inherited is not None:
            inherited.dispose(close=False)

    os.register_at_fork(after_in_child=forget)


def _prepare_file(database: Engine) -> None:
    name = database.url.database
    if name and name != ":memory:":
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            # Access keys' secrets are in it: nobody but the gateway's user may read it.
            path.touch(mode=0o600)
    with database.connect() as connection:
        raw = connection.connection.driver_connection
        if raw is not None:
            raw.execute("COMMIT") if raw.in_transaction else None
            raw.execute("PRAGMA journal_mode = WAL")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    return None if row is None else str(row[0])


def _upgrade(connection: Connection) -> None:
    # Imported here: Alembic takes longer to import than an up-to-date database to check.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise DatabaseError(
            f"The database is at a revision that this release does not know ({error}); "
            "use the release that wrote it, or a newer one."
        ) from error
