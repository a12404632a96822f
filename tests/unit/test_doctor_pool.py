# SPDX-License-Identifier: Apache-2.0
"""The doctor at the pool's bed: daemons, nodes, configuration and event log."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cloud import accounts, images, observed
from gateway.cloud import instances as rules
from gateway.cloud.flavors import Flavor
from gateway.config import Settings
from gateway.doctor import pool
from gateway.scheduler.condor import CondorScheduler
from gateway.scheduler.protocol import Job, NodeReport, SchedulerError
from gateway.store import database
from gateway.store.images import Content

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.doctor.verdict import Check

NODE = NodeReport(
    name="node7",
    accepts=True,
    partitionable=True,
    problem=None,
    virt_type="kvm",
    version="0.1.0",
    cpus=8,
    memory_mib=16384,
    ahead=0.0,
)
GOOD = {
    "SCHEDD_MIN_INTERVAL": "0",
    "NEGOTIATOR_CYCLE_DELAY": "0",
    "NEGOTIATOR_MIN_INTERVAL": "0",
    "EVENT_LOG_FORMAT_OPTIONS": "JSON, UTC, SUB_SECOND",
    "EVENT_LOG_JOB_AD_INFORMATION_ATTRS": "CondorCloudInstanceId,CondorCloudRun",
}


class SaidPool:
    """A pool that says what the test has it say."""

    def __init__(
        self,
        *machines: NodeReport,
        settings: dict[str, str] | None = None,
        broken: tuple[str, ...] = (),
    ) -> None:
        self.said = list(machines)
        self.settings = GOOD if settings is None else settings
        self.broken = broken

    def machines(self) -> list[NodeReport]:
        self._may("machines")
        return self.said

    def jobs(self) -> list[Job]:
        self._may("jobs")
        return []

    def configuration(self, daemon: str, names: list[str]) -> dict[str, str]:
        self._may("configuration")
        assert daemon in {"Schedd", "Negotiator"}
        return {name: self.settings[name] for name in names if name in self.settings}

    def _may(self, call: str) -> None:
        if call in self.broken:
            raise SchedulerError(f"{call} failed")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "a state")


@pytest.fixture
def migrated(settings: Settings) -> Settings:
    database.migrate(settings.database)
    return settings


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def named(checks: Any, name: str) -> Check:
    found = [check for check in checks if check.name == name]
    assert len(found) == 1, name
    check: Check = found[0]
    assert check.found
    assert (check.state == "ok") == (check.advice == "")
    return check


def examine(settings: Settings, said: SaidPool) -> list[Check]:
    return list(pool.check(dataclasses.replace(settings, pool="cm.example.org"), said))


def test_a_good_pool_has_nothing_to_complain_of(settings: Settings) -> None:
    checks = [one for one in examine(settings, SaidPool(NODE)) if one.name != "libvirt"]
    assert [one.state for one in checks] == ["ok"] * len(checks)
    assert "8 CPUs and 16384 MiB" in named(checks, "nodes").found


def test_without_a_collector_nothing_else_is_asked(settings: Settings) -> None:
    [check] = examine(settings, SaidPool(broken=("machines",)))
    assert (check.name, check.state) == ("collector", "failed")
    assert "machines failed" in check.found
    assert "token" in check.advice


def test_a_collector_that_is_not_there_fails_within_the_calls_limit(settings: Settings) -> None:
    remote = dataclasses.replace(settings, pool=f"127.0.0.1:{_free()}", call_limit=30.0)
    scheduler = CondorScheduler(remote)
    try:
        [check] = pool.check(remote, scheduler)
    finally:
        scheduler.close()
    assert check.state == "failed"
    assert remote.pool in check.found


def test_a_missing_schedd_is_named(settings: Settings) -> None:
    lost = dataclasses.replace(settings, schedd_name="access7")
    check = named(examine(lost, SaidPool(NODE, broken=("jobs",))), "schedd")
    assert check.state == "failed"
    assert "access7" in check.found


@pytest.mark.parametrize(
    ("machines", "state", "told"),
    [
        ([], "failed", "none of 0 machines"),
        ([dataclasses.replace(NODE, accepts=None)],
         "failed", "none of 1 machines"),
        ([dataclasses.replace(NODE, accepts=False, problem="libvirtd is not running.")],
         "failed", "node7 (libvirtd is not running.)"),
        ([NODE, dataclasses.replace(NODE, name="node8", accepts=False)],
         "warning", "node8 (it gives no reason)"),
        ([dataclasses.replace(NODE, partitionable=False)], "failed", "no partitionable slot"),
    ],
)  # fmt: skip
def test_nodes_that_cannot_run_instances_are_told_with_their_own_reason(
    settings: Settings, machines: list[NodeReport], state: str, told: str
) -> None:
    check = named(examine(settings, SaidPool(*machines)), "nodes")
    assert check.state == state
    assert told in check.found


def test_a_node_with_another_clock_is_named(settings: Settings) -> None:
    late = dataclasses.replace(NODE, name="node8", ahead=-95.0)
    check = named(examine(settings, SaidPool(NODE, late)), "node clocks")
    assert check.state == "warning"
    assert "node8 (-95 s)" in check.found
    assert "node7" not in check.found


def test_nodes_that_emulate_are_named(settings: Settings) -> None:
    slow = dataclasses.replace(NODE, name="node8", virt_type="qemu")
    check = named(examine(settings, SaidPool(NODE, slow)), "KVM")
    assert check.state == "warning"
    assert check.found == "kvm: node7; qemu: node8"


def test_a_throttle_is_named_with_its_value(settings: Settings) -> None:
    slow = GOOD | {"NEGOTIATOR_CYCLE_DELAY": "20"}
    check = named(examine(settings, SaidPool(NODE, settings=slow)), "throttles")
    assert check.state == "warning"
    assert "NEGOTIATOR_CYCLE_DELAY = 20" in check.found
    assert "SCHEDD_MIN_INTERVAL" not in check.found


def test_settings_that_cannot_be_read_are_only_a_warning(settings: Settings) -> None:
    checks = examine(settings, SaidPool(NODE, broken=("configuration",)))
    assert named(checks, "throttles").state == "warning"
    assert not [one for one in checks if one.state == "failed"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EVENT_LOG_FORMAT_OPTIONS", "XML"),
        ("EVENT_LOG_JOB_AD_INFORMATION_ATTRS", "CondorCloudInstanceId"),
    ],
)
def test_an_event_log_without_what_the_gateway_reads_fails(
    settings: Settings, name: str, value: str
) -> None:
    said = SaidPool(NODE, settings=GOOD | {name: value})
    check = named(examine(settings, said), "event log settings")
    assert check.state == "failed"
    assert name in check.found


def _log(settings: Settings, *documents: dict[str, object], text: str = "") -> Path:
    path = settings.event_log_file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "".join(json.dumps(one, indent=4) + "\n" for one in documents))
    return path


def _look_at_log(settings: Settings) -> Check:
    engine = database.engine(settings.database)
    try:
        return named(pool.event_log(settings, engine, running=True), "event log")
    finally:
        engine.dispose()


def test_a_missing_event_log_is_named_once_there_was_a_job(migrated: Settings) -> None:
    migrated.event_log_file.parent.mkdir(parents=True)
    assert _look_at_log(migrated).state == "ok"
    _launched(migrated)
    check = _look_at_log(migrated)
    assert check.state == "failed"
    assert str(migrated.event_log_file) in check.found


def test_an_event_log_that_names_instances_is_good(migrated: Settings) -> None:
    _log(migrated, {"EventTypeNumber": 0}, {"EventTypeNumber": 28})
    assert _look_at_log(migrated).state == "ok"


@pytest.mark.parametrize("text", ["000 (012.000.000) Job submitted\n...\n", ""])
def test_an_event_log_in_another_form_fails(migrated: Settings, text: str) -> None:
    documents: list[dict[str, object]] = [] if text else [{"EventTypeNumber": 0}]
    _log(migrated, *documents, text=text)
    assert _look_at_log(migrated).state == "failed"


def test_an_event_log_that_nobody_reads_is_a_warning(migrated: Settings) -> None:
    _log(migrated, *[{"EventTypeNumber": 28, "Info": "x" * 1000}] * (pool.TAIL // 1000 + 1))
    check = _look_at_log(migrated)
    assert check.state == "warning"
    assert "reconciler.log" in check.advice


def test_an_event_log_that_is_older_than_the_last_job_fails(migrated: Settings) -> None:
    path = _log(migrated, {"EventTypeNumber": 28})
    hour_ago = datetime.now(UTC).timestamp() - 3600
    os.utime(path, (hour_ago, hour_ago))
    assert _look_at_log(migrated).state == "ok"
    instance_id = _launched(migrated)
    check = _look_at_log(migrated)
    assert check.state == "failed"
    assert instance_id in check.found
    assert "12.0" in check.found


def _launched(settings: Settings) -> str:
    now = datetime.now(UTC)
    image = _image(settings, now)
    with database.writing(database.engine(settings.database)) as db:
        account = accounts.ensure_account(db, "default", now).id
        asked = rules.Launch(image, "small", 1, 1, "zone", None, None, {})
        small = {"small": Flavor("small", 1, 512)}
        [made] = rules.launch(db, account, asked, now, flavors=small, limits={})
        observed.job_seen(db, made.id, 1, 12, 0)
    return made.id


def _image(settings: Settings, now: datetime) -> str:
    with database.writing(database.engine(settings.database)) as db:
        account = accounts.ensure_account(db, "default", now).id
        new = images.NewImage("disk", "http://localhost/disk")
        made = images.register(db, account, new, tagged={}, now=now, sources=None)
        images.imported(db, made.id, Content("ab" * 32, 4, 4, "raw"))
    return made.id
