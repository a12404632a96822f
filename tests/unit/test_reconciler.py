# SPDX-License-Identifier: Apache-2.0
"""The reconciler's decisions, on a scheduler that can refuse, lose and be killed at any line."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.cloud import accounts, flavors, images, instances, observed, power, states
from gateway.cloud.disks import Device
from gateway.config import Settings
from gateway.reconcile.follower import Follower
from gateway.reconcile.loop import MOST_REFUSALS, Reconciler, gateway_id
from gateway.scheduler.fake import FakeScheduler
from gateway.scheduler.protocol import LaunchRequest, NodeSize, SchedulerError
from gateway.store import database
from gateway.store import instances as rows
from gateway.store.images import Content

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

BIG = NodeSize("node", 8, 32768, 4096)


def long_ago() -> datetime:
    """Return a moment past every limit but the patience with a full pool."""
    return datetime.now(UTC) - timedelta(minutes=5)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(
        state_dir=tmp_path, event_log=str(tmp_path / "EventLog"), reconcile_interval=0.0
    )
    database.migrate(made.database)
    return made


@pytest.fixture
def engine(settings: Settings) -> Engine:
    return database.engine(settings.database)


@pytest.fixture
def scheduler() -> FakeScheduler:
    return FakeScheduler([BIG])


def reconciler(settings: Settings, engine: Engine, scheduler: FakeScheduler) -> Reconciler:
    """Return a reconciler as a restarted process has it: it knows only the database."""
    follower = Follower(engine, settings.event_log_file, lambda: None, threading.Event())
    return Reconciler(settings, engine, scheduler, follower)


def launch(
    engine: Engine,
    count: int = 1,
    flavor: str = "small",
    disk_bytes: int | None = None,
    boot_mode: str | None = None,
    *,
    zone: str | None = None,
) -> list[str]:
    with database.writing(engine) as db:
        account = accounts.ensure_account(db, "test", long_ago())
        name = f"image {len(list(images.find(db, account.id)))}"
        new = images.NewImage(name, "http://localhost/image", boot_mode=boot_mode)
        image = images.register(db, account.id, new, tagged={}, now=long_ago(), sources=None)
        images.imported(db, image.id, Content("ab" * 32, 1000, 2000, "qcow2"))
        asked = instances.Launch(
            image_id=image.id,
            flavor=flavor,
            minimum=count,
            maximum=count,
            zone=zone or "condor-a",
            zone_required=zone is not None,
            key_name=None,
            user_data=None,
            tags={},
            devices=() if disk_bytes is None else [Device("/dev/vda", disk_bytes // 2**30)],
        )
        made = instances.launch(
            db, account.id, asked, now=long_ago(), flavors=flavors.load(), limits={}
        )
    return [instance.id for instance in made]


def state(engine: Engine, instance_id: str) -> rows.Instance:
    with database.reading(engine) as db:
        found = rows.get(db, instance_id)
    assert found is not None
    return found


def terminate(engine: Engine, instance_id: str) -> None:
    with database.writing(engine) as db:
        instance = rows.get(db, instance_id)
        assert instance is not None
        instances.terminate(db, instance.account_id, [instance_id], datetime.now(UTC), long_ago())


def test_a_launch_becomes_one_cluster_with_a_proc_for_each_instance(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    ids = launch(engine, 3)
    reconciler(settings, engine, scheduler).step()
    assert [request.instance_ids for request in scheduler.submissions] == [tuple(ids)]
    assert [(state(engine, name).cluster, state(engine, name).proc) for name in ids] == [
        (1, 0),
        (1, 1),
        (1, 2),
    ]


def test_a_lost_answer_is_looked_for_and_nothing_is_submitted_twice(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    [instance_id] = launch(engine)
    scheduler.losing = 1
    with pytest.raises(SchedulerError):
        reconciler(settings, engine, scheduler).step()
    reconciler(settings, engine, scheduler).step()
    assert len(scheduler.submissions) == 1
    assert state(engine, instance_id).cluster == 1


def test_a_reconciler_killed_before_its_submission_submits_once(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    [instance_id] = launch(engine)
    with database.writing(engine) as db:
        rows.update_submission(db, [instance_id], "submitting")
    reconciler(settings, engine, scheduler).step()
    reconciler(settings, engine, scheduler).step()
    assert len(scheduler.submissions) == 1
    assert state(engine, instance_id).submit_state == "submitted"


def test_a_refused_launch_does_not_hold_up_a_termination(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    [running] = launch(engine)
    reconciler(settings, engine, scheduler).step()
    launch(engine)
    terminate(engine, running)
    scheduler.refusing = True
    with pytest.raises(SchedulerError):
        reconciler(settings, engine, scheduler).step()
    assert scheduler.removals == [(1, 0)]


def test_a_launch_that_is_always_refused_ends_with_a_reason(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    [instance_id] = launch(engine)
    scheduler.refusing = True
    one = reconciler(settings, engine, scheduler)
    for _ in range(MOST_REFUSALS):
        with pytest.raises(SchedulerError):
            one.step()
    one.step()
    found = state(engine, instance_id)
    assert found.state == "terminated"
    assert "does not take" in (found.reason_message or "")


def test_another_gateways_jobs_are_left_alone(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    other = LaunchRequest(
        "another", "r-1", "1", "ab" * 32, 1, 512, 1, "x86_64", ("i-00000000000000001",)
    )
    scheduler.submit(other)
    reconciler(settings, engine, scheduler).step()
    assert scheduler.removals == []
    assert len(scheduler.jobs()) == 1


def test_a_job_of_ours_that_no_instance_has_is_removed(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    stray = LaunchRequest(
        gateway_id(engine), "r-1", "1", "ab" * 32, 1, 512, 1, "x86_64", ("i-00000000000000001",)
    )
    scheduler.submit(stray)
    reconciler(settings, engine, scheduler).step()
    assert scheduler.removals == [(1, 0)]


def test_the_second_job_of_an_instance_is_removed_and_the_first_goes_on(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    [instance_id] = launch(engine)
    reconciler(settings, engine, scheduler).step()
    scheduler.submit(scheduler.submissions[0])
    reconciler(settings, engine, scheduler).step()
    assert scheduler.removals == [(2, 0)]
    assert state(engine, instance_id).state == "pending"


def test_an_instance_whose_job_is_gone_ends_with_a_reason(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    [instance_id] = launch(engine)
    reconciler(settings, engine, scheduler).step()
    scheduler.remove([(1, 0)], "behind our back")
    reconciler(settings, engine, scheduler).step()
    found = state(engine, instance_id)
    assert found.state == "terminated"
    assert "no longer in the queue" in (found.reason_message or "")


def test_an_instance_that_no_node_can_hold_ends_with_the_largest_nodes_size(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    scheduler.node_sizes = [NodeSize("n1", 1, 4096, 4096), NodeSize("n2", 2, 1024, 4096)]
    [instance_id] = launch(engine, flavor="large")
    reconciler(settings, engine, scheduler).step()
    found = state(engine, instance_id)
    assert found.reason_code == "Server.InsufficientInstanceCapacity"
    assert "1 CPUs and 4096 MiB" in (found.reason_message or "")
    assert scheduler.removals == [(1, 0)]


def test_an_instance_whose_disk_no_node_can_hold_ends_with_the_room_that_there_is(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    small, medium = 8 * 1024, 16 * 1024
    scheduler.node_sizes = [NodeSize("n1", 8, 32768, small), NodeSize("n2", 8, 32768, medium)]
    [instance_id] = launch(engine, disk_bytes=16 * 2**30)
    [fits] = launch(engine, disk_bytes=15 * 2**30)
    reconciler(settings, engine, scheduler).step()
    found = state(engine, instance_id)
    assert found.reason_code == "Server.InsufficientInstanceCapacity"
    assert "one of 2 gives to instances is 16384 MiB" in (found.reason_message or "")
    assert state(engine, fits).state == "pending"
    assert {one.disk_bytes for one in scheduler.submissions} == {16 * 2**30, 15 * 2**30}


def test_an_instance_that_no_node_can_boot_by_uefi_ends_and_says_so(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    scheduler.node_sizes = [BIG, NodeSize("n2", 8, 32768, 4096)]
    [instance_id] = launch(engine, boot_mode="uefi")
    reconciler(settings, engine, scheduler).step()
    found = state(engine, instance_id)
    assert found.reason_code == "Server.InsufficientInstanceCapacity"
    assert "none of 2 nodes has the firmware for it" in (found.reason_message or "")


def test_a_node_with_the_firmware_is_asked_for_and_is_enough_if_it_has_the_room(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    scheduler.node_sizes = [BIG, NodeSize("n2", 1, 4096, 4096, 1, 4096, 4096, uefi=True)]
    small, prefers = (launch(engine, boot_mode=one)[0] for one in ("uefi", "uefi-preferred"))
    [plain] = launch(engine)
    [large] = launch(engine, flavor="large", boot_mode="uefi")
    reconciler(settings, engine, scheduler).step()
    asked = {one.instance_ids[0]: one.uefi for one in scheduler.submissions}
    assert asked == {small: True, prefers: True, plain: False, large: True}
    assert "1 of 2 nodes have room" in (state(engine, small).reason_message or "")
    assert "1 CPUs and 4096 MiB" in (state(engine, large).reason_message or ""), "not the other's"


def test_a_pool_without_any_node_keeps_a_launch_waiting(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    scheduler.node_sizes = []
    [instance_id] = launch(engine)
    reconciler(settings, engine, scheduler).step()
    assert state(engine, instance_id).state == "pending"


def test_a_job_that_no_node_runs_is_not_kept_for_its_lease(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    [instance_id] = launch(engine)
    one = reconciler(settings, engine, scheduler)
    one.step()
    scheduler.waiting_for_a_node = {(1, 0)}
    terminate(engine, instance_id)
    one.step()
    assert len(scheduler.jobs()) == 1, "a node may run it still: HTCondor keeps it"
    with database.writing(engine) as db:
        assert observed.node_denies(db, instance_id, 1, datetime.now(UTC))
    reconciler(settings, engine, scheduler).step()
    assert scheduler.jobs() == []
    reconciler(settings, engine, scheduler).step()
    assert state(engine, instance_id).state == "terminated"


def test_what_waits_for_a_node_is_hurried(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    launch(engine)
    one = reconciler(settings, engine, scheduler)
    one.step()
    assert scheduler.hurries == 1


def bring(engine: Engine, instance_id: str, *to: str, node: str = "host") -> None:
    """Bring an instance through states, as the event log would."""
    with database.writing(engine) as db:
        rows.update_whereabouts(db, instance_id, rows.Whereabouts(node, "10.0.0.9", None, None))
        for name in to:
            found = rows.get(db, instance_id)
            assert found is not None
            states.change(db, found, name, long_ago())
        rows.update_over(db, instance_id, node)


def start(engine: Engine, instance_id: str, now: datetime | None = None) -> None:
    with database.writing(engine) as db:
        found = rows.get(db, instance_id)
        assert found is not None
        power.start(db, found.account_id, [instance_id], now or long_ago(), long_ago(), limits={})


@pytest.fixture
def stopped(settings: Settings, engine: Engine, scheduler: FakeScheduler) -> list[str]:
    """Two instances of one launch that ran on different nodes and were stopped."""
    ids = launch(engine, 2)
    reconciler(settings, engine, scheduler).step()
    for name, node in zip(ids, ("one", "two"), strict=True):
        bring(engine, name, "running", "stopping", "stopped", node=node)
    return ids


def test_a_start_is_a_job_of_the_next_run_for_the_node_with_the_disk(
    settings: Settings, engine: Engine, scheduler: FakeScheduler, stopped: list[str]
) -> None:
    for name in stopped:
        start(engine, name)
    scheduler.node_sizes = [
        NodeSize("m", 8, 32768, 4096, 8, 32768, 4096, host) for host in ("one", "two")
    ]
    reconciler(settings, engine, scheduler).step()
    made = {one.home: (one.run, one.instance_ids) for one in scheduler.submissions[1:]}
    assert made == {"one": (2, (stopped[0],)), "two": (2, (stopped[1],))}


def test_the_job_that_a_stopped_instance_had_is_not_taken_for_its_next(
    settings: Settings, engine: Engine, scheduler: FakeScheduler, stopped: list[str]
) -> None:
    start(engine, stopped[0])
    with database.writing(engine) as db:
        rows.update_submission(db, [stopped[0]], "submitting")
    reconciler(settings, engine, scheduler).step()
    reconciler(settings, engine, scheduler).step()
    assert [one.run for one in scheduler.submissions] == [1, 2]
    assert (1, 0) in scheduler.removals


def test_a_start_whose_node_is_away_waits_and_then_is_stopped_with_that_reason(
    settings: Settings, engine: Engine, scheduler: FakeScheduler, stopped: list[str]
) -> None:
    start(engine, stopped[0])
    one = reconciler(settings, engine, scheduler)
    one.step()
    waiting = state(engine, stopped[0])
    assert (waiting.state, waiting.reason_code) == ("pending", "pending")
    assert "node one, which has the instance's disk, is not in the pool" in (
        waiting.reason_message or ""
    )
    reconciler(replace(settings, capacity_patience=1.0), engine, scheduler).step()
    found = state(engine, stopped[0])
    assert (found.state, found.home) == ("stopped", "one")
    assert found.reason_code == "Server.InsufficientInstanceCapacity"
    assert scheduler.removals[-1] == (2, 0)


def test_a_launch_that_waits_too_long_ends_and_says_what_was_short(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    scheduler.node_sizes = [
        NodeSize("n1", 8, 32768, 4096, 0, 100, 9),
        NodeSize("n2", 1, 128, 4096, 1, 128),
    ]
    [instance_id] = launch(engine)
    one = reconciler(settings, engine, scheduler)
    one.step()
    short = "1 of 2 nodes are large enough, and the most that is free on one is 0 CPUs and 100 MiB,"
    assert short in (state(engine, instance_id).reason_message or "")
    one = reconciler(replace(settings, capacity_patience=1.0), engine, scheduler)
    one.step()
    one.step()
    found = state(engine, instance_id)
    assert (found.state, found.reason_code) == (
        "terminated",
        "Server.InsufficientInstanceCapacity",
    )
    assert short in (found.reason_message or "")
