# SPDX-License-Identifier: Apache-2.0
"""What the event log tells, and whose word counts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cloud import accounts, flavors, images, instances, power
from gateway.config import Settings
from gateway.nodelink import credentials
from gateway.nodelink.app import create_app
from gateway.reconcile.follower import Follower
from gateway.store import database, nodes
from gateway.store import instances as rows
from gateway.store.images import Content

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

NOW = datetime(2026, 11, 22, tzinfo=UTC)
TOKEN = "the node's token"  # noqa: S105 - made here


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(state_dir=tmp_path, event_log=str(tmp_path / "EventLog"))
    database.migrate(made.database)
    return made


@pytest.fixture
def engine(settings: Settings) -> Engine:
    return database.engine(settings.database)


@pytest.fixture
def shutdown_behavior() -> str:
    return "terminate"


@pytest.fixture
def instance_id(engine: Engine, shutdown_behavior: str) -> str:
    with database.writing(engine) as db:
        account = accounts.ensure_account(db, "test", NOW)
        new = images.NewImage("image", "http://localhost/image")
        image = images.register(db, account.id, new, tagged={}, now=NOW, sources=None)
        images.imported(db, image.id, Content("ab" * 32, 1000, 2000, "qcow2"))
        asked = instances.Launch(
            image_id=image.id,
            flavor="small",
            minimum=1,
            maximum=1,
            zone="condor-a",
            key_name=None,
            user_data=None,
            tags={},
            shutdown_behavior=shutdown_behavior,
        )
        [made] = instances.launch(db, account.id, asked, now=NOW, flavors=flavors.load(), limits={})
        nodes.insert(db, nodes.Node("node", credentials.token_hash(TOKEN), NOW, None))
    return made.id


class Log:
    """The event log as HTCondor writes it, and its follower."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.file = settings.event_log_file
        self.woken = 0
        self.engine = engine

    def follower(self) -> Follower:
        return Follower(self.engine, self.file, self._wake, stopping=None)  # type: ignore[arg-type]

    def _wake(self) -> None:
        self.woken += 1

    def write(self, trigger: int, instance_id: str, job: int = 1, **more: Any) -> None:
        document = {
            "EventTypeNumber": 28,
            "TriggerEventTypeNumber": trigger,
            "Cluster": job,
            "Proc": 0,
            "CondorCloudInstanceId": instance_id,
            "CondorCloudRun": 1,
        }
        with self.file.open("a") as file:
            file.write(json.dumps(document | more, indent=2) + "\n")

    def tell(self, instance_id: str, job: int = 1, **told: Any) -> None:
        line = {"v": 1, "instance": instance_id, "run": 1, **told}
        self.write(8, instance_id, job, Info="condor-cloud " + json.dumps(line))


@pytest.fixture
def log(settings: Settings, engine: Engine) -> Log:
    return Log(settings, engine)


def state(engine: Engine, instance_id: str) -> rows.Instance:
    with database.reading(engine) as db:
        found = rows.get(db, instance_id)
    assert found is not None
    return found


def claim(settings: Settings, instance_id: str, job: str, nonce: str) -> int:
    client = create_app(settings).test_client()
    return client.post(
        f"/v1/instances/{instance_id}/claim",
        json={"run": 1, "node": "node", "job": job, "nonce": nonce},
        headers={"Authorization": f"Bearer {TOKEN}"},
    ).status_code


def test_a_running_guest_is_described_with_its_whereabouts(
    engine: Engine, log: Log, instance_id: str
) -> None:
    log.write(1, instance_id)
    log.tell(instance_id, event="running", node="n1", ip="10.0.0.9", vnc=5901, virt="qemu")
    log.follower().catch_up()
    found = state(engine, instance_id)
    assert found.state == "running"
    assert (found.cluster, found.proc) == (1, 0)
    assert (found.node, found.private_ip, found.vnc_port) == ("n1", "10.0.0.9", 5901)


def test_a_guest_that_was_heard_is_remembered_for_its_run(
    engine: Engine, log: Log, instance_id: str
) -> None:
    log.write(1, instance_id)
    log.tell(instance_id, event="running", node="n1", ip="10.0.0.9", vnc=5901, virt="qemu")
    log.follower().catch_up()
    assert state(engine, instance_id).heard_run is None
    log.tell(instance_id, job=2, event="heard")  # another job's word
    log.follower().catch_up()
    assert state(engine, instance_id).heard_run is None
    log.tell(instance_id, event="heard")
    log.follower().catch_up()
    assert state(engine, instance_id).heard_run == 1


def test_reading_the_log_again_from_its_beginning_changes_nothing(
    engine: Engine, log: Log, instance_id: str
) -> None:
    log.write(1, instance_id)
    log.tell(instance_id, event="running", node="n1", ip="10.0.0.9", vnc=5901, virt="qemu")
    log.tell(instance_id, event="ended", code="guest-shutdown", message="It powered off.")
    log.follower().catch_up()
    first = state(engine, instance_id)
    assert first.state == "terminated"
    assert first.reason_code == "Client.InstanceInitiatedShutdown"
    with database.writing(engine) as db:
        db.exec_driver_sql("DELETE FROM cursors")
    log.follower().catch_up()
    assert state(engine, instance_id) == first


def test_a_rotated_log_is_read_to_its_end_before_the_new_one(
    engine: Engine, log: Log, instance_id: str
) -> None:
    log.write(1, instance_id)
    log.follower().catch_up()
    log.tell(instance_id, event="running", node="n1", ip="10.0.0.9", vnc=5901, virt="qemu")
    log.file.rename(log.file.with_name("EventLog.old"))
    log.tell(instance_id, event="ended", code="guest-shutdown", message="It powered off.")
    log.follower().catch_up()
    found = state(engine, instance_id)
    assert found.private_ip == "10.0.0.9"
    assert found.state == "terminated"


def test_a_held_job_is_lost_and_asks_for_its_removal(
    engine: Engine, log: Log, instance_id: str
) -> None:
    log.write(1, instance_id)
    log.write(12, instance_id, HoldReason="no such executable")
    log.follower().catch_up()
    found = state(engine, instance_id)
    assert found.state == "shutting-down"
    assert "no such executable" in (found.reason_message or "")
    assert log.woken == 1


def test_of_two_jobs_of_one_launch_the_one_that_claims_is_the_instances(
    settings: Settings, engine: Engine, log: Log, instance_id: str
) -> None:
    log.write(1, instance_id, job=7)
    log.follower().catch_up()
    assert claim(settings, instance_id, "5.0", "a") == 200
    assert claim(settings, instance_id, "7.0", "b") == 409
    assert claim(settings, instance_id, "5.0", "a") == 200, "a lost answer may be asked for again"
    log.tell(instance_id, job=7, event="ended", code="claim-refused", message="refused")
    log.write(5, instance_id, job=7, TerminatedNormally=True, ReturnValue=10)
    log.tell(instance_id, job=5, event="running", node="n", ip="10.0.0.9", vnc=1, virt="qemu")
    log.follower().catch_up()
    found = state(engine, instance_id)
    assert found.state == "running"
    assert (found.cluster, found.proc) == (5, 0)


def test_a_claim_needs_a_nodes_token(settings: Settings, instance_id: str) -> None:
    client = create_app(settings).test_client()
    for header in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}"):
        answer = client.post(
            f"/v1/instances/{instance_id}/claim",
            json={"run": 1, "node": "n", "job": "1.0", "nonce": "a"},
            headers={"Authorization": header},
        )
        assert answer.status_code == 401
        assert b"user_data" not in answer.data


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"run": true, "nonce": 1}', b"\xff"])
def test_a_claim_that_is_not_understood_is_refused(
    settings: Settings, instance_id: str, body: bytes
) -> None:
    client = create_app(settings).test_client()
    answer = client.post(
        f"/v1/instances/{instance_id}/claim",
        data=body,
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    assert answer.status_code == 400
    assert answer.json is not None
    assert answer.json["error"] == "bad-request"


def runs(log: Log, instance_id: str, run: int = 1) -> None:
    job = run  # each run is a job of its own
    log.write(1, instance_id, job, CondorCloudRun=run)
    log.tell(instance_id, job, run=run, event="running", node="n1", ip="10.0.0.9", vnc=5901)
    log.follower().catch_up()


def ends(log: Log, instance_id: str, code: str, run: int = 1, **more: Any) -> None:
    log.tell(instance_id, run, run=run, event="ended", code=code, message="Told.", **more)
    log.follower().catch_up()


def start_again(engine: Engine, instance_id: str) -> None:
    with database.writing(engine) as db:
        found = rows.get(db, instance_id)
        assert found is not None
        power.start(db, found.account_id, [instance_id], NOW, NOW, limits={})


def ask_to_stop(engine: Engine, instance_id: str) -> None:
    with database.writing(engine) as db:
        found = rows.get(db, instance_id)
        assert found is not None
        power.stop(db, found.account_id, [instance_id], NOW, NOW, grace=60.0, force=False)


@pytest.mark.parametrize("shutdown_behavior", ["stop"])
def test_a_guest_that_powers_off_is_stopped_where_its_owner_left_it_so(
    engine: Engine, log: Log, instance_id: str
) -> None:
    runs(log, instance_id)
    ends(log, instance_id, "guest-shutdown")
    found = state(engine, instance_id)
    assert (found.state, found.home, found.vnc_port) == ("stopped", "n1", None)
    assert found.reason_code == "Client.InstanceInitiatedShutdown"
    assert found.private_ip == "10.0.0.9"


@pytest.mark.parametrize("how", ["stopped", "guest-shutdown", "node-error", "terminated"])
def test_an_instance_that_is_to_stop_is_stopped_however_its_run_ends(
    engine: Engine, log: Log, instance_id: str, how: str
) -> None:
    runs(log, instance_id)
    ask_to_stop(engine, instance_id)
    ends(log, instance_id, how)
    found = state(engine, instance_id)
    assert (found.state, found.home) == ("stopped", "n1")
    assert found.reason_code == "Client.UserInitiatedShutdown"


def test_a_stop_whose_node_is_lost_ends_stopped(engine: Engine, log: Log, instance_id: str) -> None:
    runs(log, instance_id)
    ask_to_stop(engine, instance_id)
    log.write(24, instance_id)
    log.follower().catch_up()
    assert state(engine, instance_id).state == "stopping"
    with database.reading(engine) as db:
        assert [one.id for one in rows.select_to_terminate(db)] == [instance_id]
    log.write(9, instance_id)
    log.follower().catch_up()
    assert state(engine, instance_id).state == "stopped"


def test_a_start_that_fails_is_stopped_again_and_says_why(
    engine: Engine, log: Log, instance_id: str
) -> None:
    runs(log, instance_id)
    ask_to_stop(engine, instance_id)
    ends(log, instance_id, "stopped")
    start_again(engine, instance_id)
    log.write(1, instance_id, 2, CondorCloudRun=2)
    ends(log, instance_id, "disk-missing", run=2)
    found = state(engine, instance_id)
    assert (found.state, found.run, found.home) == ("stopped", 2, "n1")
    assert found.reason_message == "Server.InternalError: Told."


def test_what_an_earlier_run_tells_does_not_concern_the_next(
    engine: Engine, log: Log, instance_id: str
) -> None:
    runs(log, instance_id)
    ask_to_stop(engine, instance_id)
    ends(log, instance_id, "stopped")
    start_again(engine, instance_id)
    runs(log, instance_id, run=2)
    ends(log, instance_id, "stopped")
    log.write(5, instance_id, TerminatedNormally=True, ReturnValue=4)
    log.follower().catch_up()
    assert state(engine, instance_id).state == "running"


def test_an_instance_whose_disk_was_removed_is_terminated(
    engine: Engine, log: Log, instance_id: str
) -> None:
    runs(log, instance_id)
    ask_to_stop(engine, instance_id)
    ends(log, instance_id, "stopped", disk="removed")
    assert state(engine, instance_id).state == "terminated"
