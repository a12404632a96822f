# SPDX-License-Identifier: Apache-2.0
"""What the reconciler does about images that nodes shall cache and say nothing of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from test_reconciler import engine, reconciler, scheduler, settings

from gateway.cloud import prefetches as rules
from gateway.store import database, nodes, prefetches

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from gateway.config import Settings
    from gateway.scheduler.fake import FakeScheduler

__all__ = ["engine", "scheduler", "settings"]


def test_a_node_that_is_away_is_given_up_though_nobody_wants_another_image(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    now = datetime.now(UTC)
    long_ago = now - rules.KEPT - timedelta(minutes=1)
    with database.writing(engine) as db:
        nodes.insert(db, nodes.Node("one", "0" * 64, long_ago, None))
        numbers = [prefetches.insert(db, "one", f"ami-{at:%d}", at) for at in (long_ago, now)]
    reconciler(settings, engine, scheduler).step()
    with database.reading(engine) as db:
        states = [one.state for one in prefetches.select(db, numbers)]
    assert states == ["failed", "wanted"]
