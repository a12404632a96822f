# SPDX-License-Identifier: Apache-2.0
"""A startd that was killed took its guests along: its successor's ad says so before any lease."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from test_reconciler import BIG, engine, launch, reconciler, scheduler, settings, state

from gateway.cloud import observed
from gateway.scheduler.condor import _claim_began
from gateway.store import database
from gateway.store import instances as rows
from gateway.store.instances import Whereabouts

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from gateway.config import Settings
    from gateway.scheduler.fake import FakeScheduler

__all__ = ["engine", "scheduler", "settings"]

NODE, OTHER = replace(BIG, name="slot1@one"), replace(BIG, name="slot1@second@one", began=900)


def running(settings: Settings, engine: Engine, scheduler: FakeScheduler) -> str:
    [instance_id] = launch(engine)
    reconciler(settings, engine, scheduler).step()
    scheduler.begin(1, 0, slot="slot1_3@one", startd_began=500)
    scheduler.waiting_for_a_node = {(1, 0)}
    now = datetime.now(UTC)
    with database.writing(engine) as db:
        rows.update_claim(db, instance_id, 1, nonce="n", host="one", node="one", at=now)
        where = Whereabouts("one", "10.77.0.9", None, None)
        observed.guest_runs(db, instance_id, 1, where, now)
    return instance_id


def test_an_instance_whose_startd_has_a_successor_ends_and_its_job_does_not_wait(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    instance_id = running(settings, engine, scheduler)
    scheduler.node_sizes = [replace(NODE, began=501), OTHER]
    reconciler(settings, engine, scheduler).step()
    assert scheduler.jobs() == []
    reconciler(settings, engine, scheduler).step()
    found = state(engine, instance_id)
    assert found.state == "terminated"
    assert "stopped running the instance" in str(found.reason_message)


@pytest.mark.parametrize("began", [None, 400, 500])
def test_an_instance_whose_startd_is_the_same_or_unknown_goes_on(
    settings: Settings, engine: Engine, scheduler: FakeScheduler, began: int | None
) -> None:
    instance_id = running(settings, engine, scheduler)
    scheduler.node_sizes = [OTHER, *([] if began is None else [replace(NODE, began=began)])]
    reconciler(settings, engine, scheduler).step()
    assert state(engine, instance_id).state == "running"
    assert len(scheduler.jobs()) == 1


def test_when_a_claims_startd_began_is_a_part_of_the_claims_id() -> None:
    claim = "<127.0.0.1:29182?addrs=127.0.0.1-29182&sock=startd_70_97b8>#1795880718#50#..."
    assert _claim_began(claim) == 1795880718
    assert [_claim_began(other) for other in (None, 7, "", "#", "<a>#b#c")] == [None] * 5
