# SPDX-License-Identifier: Apache-2.0
"""Writes down now and then what the pool's nodes tell of themselves, for the metrics.

In a thread and with a connection of its own: a collector that hangs must not hold up launches.
"""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.cloud import pool_report
from gateway.scheduler.protocol import SchedulerError
from gateway.store import database

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from gateway.scheduler.protocol import Scheduler

INTERVAL = 30.0  # seconds
_log = logging.getLogger(__name__)


class NodeWatcher(threading.Thread):
    """Sees the nodes every half minute until ``stopping``."""

    def __init__(self, engine: Engine, scheduler: Scheduler, stopping: threading.Event) -> None:
        """Ask ``scheduler``, which nobody else uses, and write into ``engine``'s database."""
        super().__init__(name="nodes", daemon=True)
        self._engine = engine
        self._scheduler = scheduler
        self._stopping = stopping

    def run(self) -> None:
        """See the nodes again and again; trouble is logged, and over by the next time perhaps."""
        while not self._stopping.is_set():
            try:
                self.see()
            except SchedulerError as error:
                _log.warning("The nodes cannot be seen: %s", error)
            except Exception:  # noqa: BLE001 - the metrics get old, and nothing else is amiss
                _log.exception("Seeing the nodes failed; trying again")
            self._stopping.wait(INTERVAL)

    def see(self) -> None:
        """Ask once. The connection is closed: it would take memory for nothing meanwhile."""
        try:
            reports = self._scheduler.machines()
        finally:
            self._scheduler.close()
        with database.writing(self._engine) as db:
            pool_report.saw_nodes(db, reports, datetime.now(UTC))
