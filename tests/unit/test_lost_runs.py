# SPDX-License-Identifier: Apache-2.0
"""Runs whose node is lost: before a claim another one follows, after it the instance ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from test_follower import (
    NOW,
    TOKEN,
    ask_to_stop,
    claim,
    ends,
    engine,
    instance_id,
    log,
    runs,
    settings,
    shutdown_behavior,
    start_again,
    state,
)

from gateway.cloud import instances
from gateway.nodelink.app import create_app
from gateway.store import database

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from test_follower import Log

    from gateway.config import Settings

__all__ = ["engine", "instance_id", "log", "settings", "shutdown_behavior"]


def disk_of_claim(settings: Settings, instance_id: str, run: int) -> object:
    """Claim a run; return what its supervisor is told of the disk."""
    answer = (
        create_app(settings)
        .test_client()
        .post(
            f"/v1/instances/{instance_id}/claim",
            json={"run": run, "node": "n1", "job": f"{run}.0", "nonce": f"of {run}"},
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
    )
    return answer.get_json()["disk"]


LOST = pytest.mark.parametrize("lost", [4, 24], ids=["evicted", "reconnect-failed"])


@LOST
def test_a_run_lost_before_its_claim_is_followed_by_another(
    settings: Settings, engine: Engine, log: Log, instance_id: str, lost: int
) -> None:
    log.write(1, instance_id)
    log.write(lost, instance_id)
    log.follower().catch_up()
    assert log.woken == 1, "its job shall be removed at once"
    assert claim(settings, instance_id, "1.0", "late") == 409
    log.write(9, instance_id)
    log.follower().catch_up()
    found = state(engine, instance_id)
    assert (found.state, found.run, found.submit_state) == ("pending", 2, "wanted")
    assert found.begun_at == NOW, "it has been waiting since its launch"
    assert claim(settings, instance_id, "1.0", "late") == 409
    log.write(1, instance_id, 2, CondorCloudRun=2)
    log.follower().catch_up()
    assert disk_of_claim(settings, instance_id, 2) == "new"
    runs(log, instance_id, run=2)
    assert state(engine, instance_id).state == "running"

    # And what was stopped has a disk, however many runs were lost before it and after.
    ask_to_stop(engine, instance_id)
    ends(log, instance_id, "stopped", run=2)
    start_again(engine, instance_id)
    for event in (1, lost, 9):
        log.write(event, instance_id, 3, CondorCloudRun=3)
    log.follower().catch_up()
    assert state(engine, instance_id).run == 4
    log.write(1, instance_id, 4, CondorCloudRun=4)
    log.follower().catch_up()
    assert disk_of_claim(settings, instance_id, 4) == "kept"


@LOST
def test_a_run_lost_after_its_claim_is_the_last(
    settings: Settings, engine: Engine, log: Log, instance_id: str, lost: int
) -> None:
    log.write(1, instance_id)
    log.follower().catch_up()
    assert claim(settings, instance_id, "1.0", "first") == 200
    log.write(lost, instance_id)
    log.write(9, instance_id)
    log.follower().catch_up()
    found = state(engine, instance_id)
    assert (found.state, found.run) == ("terminated", 1)
    assert "not started again" in str(found.reason_message)


def test_an_instance_whose_runs_are_lost_again_and_again_ends(
    engine: Engine, log: Log, instance_id: str
) -> None:
    for run in range(1, 6):
        for event in (1, 24, 9):
            log.write(event, instance_id, job=run, CondorCloudRun=run)
        log.follower().catch_up()
    found = state(engine, instance_id)
    assert (found.state, found.run) == ("terminated", 4)
    assert "not started again" in str(found.reason_message)


def test_an_instance_that_shall_end_gets_no_other_run(
    engine: Engine, log: Log, instance_id: str
) -> None:
    log.write(1, instance_id)
    log.write(24, instance_id)
    log.follower().catch_up()
    with database.writing(engine) as db:
        instances.terminate(db, state(engine, instance_id).account_id, [instance_id], NOW, NOW)
    log.write(9, instance_id)
    log.follower().catch_up()
    found = state(engine, instance_id)
    assert (found.state, found.run) == ("terminated", 1)
    assert found.reason_code == "Client.UserInitiatedShutdown"


def test_a_job_that_an_administrator_removes_is_not_submitted_again(
    engine: Engine, log: Log, instance_id: str
) -> None:
    log.write(1, instance_id)
    log.write(9, instance_id)
    log.follower().catch_up()
    found = state(engine, instance_id)
    assert (found.state, found.run) == ("terminated", 1)
    assert "was removed" in str(found.reason_message)
