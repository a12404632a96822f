# SPDX-License-Identifier: Apache-2.0
"""Looks at everything that a launch depends on, and says of each part what to do about it.

``verdict`` is what a check answers with; ``storage``, ``servers`` and ``pool`` are the checks.
Nothing here changes anything, and nothing needs a running gateway.
"""

from __future__ import annotations

import tomllib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateway import config
from gateway.cloud import flavors
from gateway.doctor import pool, servers, storage
from gateway.doctor.verdict import Check, failed, ok
from gateway.scheduler.condor import CondorScheduler
from gateway.store import database, inspection
from gateway.store.inspection import UnusableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from gateway.config import Settings

__all__ = ["Check", "examine"]


def examine() -> Iterator[Check]:
    """Yield every check's result as soon as it is known."""
    try:
        settings = config.load()
    except config.SettingsError as error:
        yield failed("settings", str(error), "Correct the file or variable; see `settings`.")
        return
    yield ok("settings", f"state in {settings.state_dir}")
    yield _instance_types(settings)
    running = servers.running(settings)
    yield from _database(settings)
    yield from storage.image_store(settings)
    yield storage.inspector(settings)
    yield from storage.image_buckets(settings)
    yield from servers.check(settings, running=running)
    yield from _pool(settings, running=running)


def _instance_types(settings: Settings) -> Check:
    try:
        known = flavors.load(settings.types_file)
    except (flavors.FlavorsError, tomllib.TOMLDecodeError) as error:
        return failed("instance types", str(error), "Correct the file; the gateway needs it.")
    return ok("instance types", f"{len(known)} types")


def _database(settings: Settings) -> Iterator[Check]:
    with _engine(settings) as engine:
        try:
            inspection.check_usable(engine)
            inspection.check_writable(engine)
        except UnusableError as error:
            yield failed("database", error.sentence, error.advice)
            return
        yield ok("database", "up to date and writable")
        with database.reading(engine) as db:
            yield storage.clock(inspection.latest_instant(db))
            yield storage.image_files(settings, inspection.select_images(db))


def _pool(settings: Settings, *, running: bool) -> Iterator[Check]:
    if not settings.pool and not running:
        # The embedded pool lives and dies with the gateway, which has been told of already.
        return
    scheduler = CondorScheduler(settings)
    try:
        yield from pool.check(settings, scheduler)
    finally:
        scheduler.close()
    with _engine(settings) as engine:
        yield from pool.event_log(settings, engine, running=running)


@contextmanager
def _engine(settings: Settings) -> Iterator[Engine]:
    engine = database.engine(settings.database)
    try:
        yield engine
    finally:
        engine.dispose()
