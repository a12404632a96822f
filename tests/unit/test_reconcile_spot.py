# SPDX-License-Identifier: Apache-2.0
"""Room for what waits, made by interrupting spot instances; reconcilers are killed in between."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from spot_world import (
    FULL,
    STOP,
    engine,
    launch_spot,
    let_the_notice_pass,
    noticed,
    request_of,
    run,
    running_spot,
    scheduler,
    settings,
)
from test_reconciler import launch, reconciler, state, terminate

from gateway.cloud import metadata, spot, states
from gateway.store import commands, database, spot_requests
from gateway.store import instances as rows

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from gateway.config import Settings
    from gateway.scheduler.fake import FakeScheduler

__all__ = ["engine", "scheduler", "settings"]


def told(settings: Settings, engine: Engine, instance_id: str) -> object:
    with database.reading(engine) as db:
        found = rows.get(db, instance_id)
        assert found is not None
        return metadata.document(db, settings, found).get("spot")


def test_spot_instances_are_jobs_that_others_go_before(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    launch(engine)
    launch_spot(engine)
    reconciler(settings, engine, scheduler).submit_wanted()
    first, second = sorted(request.priority for request in scheduler.submissions)
    assert first < second == 0


def test_whoever_is_interrupted_has_its_notice_first_and_ends_with_its_reason(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    victim = running_spot(settings, engine, scheduler)
    [waiting] = launch(engine)
    reconciler(settings, engine, scheduler).step()
    assert state(engine, victim).state == "running"
    assert request_of(engine, victim).status_code == "marked-for-termination"
    at = request_of(engine, victim).interrupt_at
    assert at is not None
    assert timedelta(seconds=110) < at - datetime.now(UTC) <= timedelta(seconds=120)
    assert told(settings, engine, victim) == {
        "action": "terminate",
        "time": f"{at:%Y-%m-%dT%H:%M:%SZ}",
    }
    with database.reading(engine) as db:
        assert [one.verb for one in commands.select(db, victim, 1)] == ["metadata"]
    assert "interrupted to make room" in (state(engine, waiting).reason_message or "")

    let_the_notice_pass(engine, victim)
    job = state(engine, victim).cluster or 0, state(engine, victim).proc or 0
    scheduler.waiting_for_a_node = {job}
    reconciler(settings, engine, scheduler).step()
    found = state(engine, victim)
    assert (found.state, found.wanted) == ("shutting-down", "terminated")
    assert found.reason_code == "Server.SpotInstanceTermination"
    assert (found.transition_reason or "").startswith("Service initiated (")
    assert scheduler.removals == [job]


def test_a_reconciler_killed_after_the_notice_gives_no_second_one_and_keeps_the_time(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    victims = [running_spot(settings, engine, scheduler) for _ in range(2)]
    launch(engine)
    reconciler(settings, engine, scheduler).step()
    [first] = noticed(engine, *victims)
    at = request_of(engine, first).interrupt_at
    for _ in range(3):
        reconciler(settings, engine, scheduler).step()
    assert noticed(engine, *victims) == [first]
    assert request_of(engine, first).interrupt_at == at


def test_the_room_of_one_that_is_interrupted_is_counted_until_the_node_tells_of_it(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    victims = [running_spot(settings, engine, scheduler) for _ in range(2)]
    launch(engine)
    reconciler(settings, engine, scheduler).step()
    [first] = noticed(engine, *victims)
    let_the_notice_pass(engine, first)
    reconciler(settings, engine, scheduler).step()
    assert state(engine, first).state == "terminated"
    for _ in range(2):
        reconciler(settings, engine, scheduler).step()
    assert noticed(engine, *victims) == []
    assert request_of(engine, first).state == "closed"
    assert request_of(engine, first).status_code == "instance-terminated-no-capacity"


def test_an_instance_that_others_make_room_for_is_not_given_up_meanwhile(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    running_spot(settings, engine, scheduler)
    [waiting] = launch(engine)
    impatient = replace(settings, capacity_patience=1.0)
    reconciler(impatient, engine, scheduler).step()
    assert state(engine, waiting).state == "pending"


def test_an_instance_has_time_to_find_the_room_that_was_made_for_it(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    victim = running_spot(settings, engine, scheduler)
    [waiting] = launch(engine)
    one = reconciler(replace(settings, capacity_patience=1.0), engine, scheduler)
    one.step()
    let_the_notice_pass(engine, victim)
    one.step()
    with database.writing(engine) as db:
        states.change(db, state(engine, victim), "terminated", datetime.now(UTC))
    one.step()
    scheduler.node_sizes = [replace(FULL, free_cpus=4, free_memory_mib=4096)]
    one.step()
    assert state(engine, waiting).state == "pending"


def test_nobody_is_interrupted_for_another_spot_instance(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    victim = running_spot(settings, engine, scheduler)
    waiting = launch_spot(engine)
    impatient = replace(settings, capacity_patience=1.0)
    reconciler(impatient, engine, scheduler).step()
    assert noticed(engine, victim) == []
    assert state(engine, waiting).reason_code == "Server.InsufficientInstanceCapacity"
    reconciler(impatient, engine, scheduler).step()
    reconciler(impatient, engine, scheduler).look()
    reconciler(impatient, engine, scheduler).step()
    request = request_of(engine, waiting)
    assert (request.state, request.status_code) == ("closed", "capacity-not-available")


def test_nobody_is_interrupted_where_there_is_room_or_room_is_coming(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    victim = running_spot(settings, engine, scheduler)
    [leaving] = launch(engine)
    reconciler(settings, engine, scheduler).submit_wanted()
    run(engine, leaving)
    terminate(engine, leaving)
    launch(engine)
    reconciler(settings, engine, scheduler).step()
    assert noticed(engine, victim) == [], "the one that ends leaves enough"
    launch(engine)
    scheduler.node_sizes = [replace(FULL, free_cpus=1, free_memory_mib=1000)]
    reconciler(settings, engine, scheduler).step()
    assert noticed(engine, victim) == [], "one has the free room, one the room of the one that ends"
    launch(engine)
    reconciler(settings, engine, scheduler).step()
    assert noticed(engine, victim) == [victim]


def test_nobody_is_interrupted_for_one_whose_job_has_begun(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    victim = running_spot(settings, engine, scheduler)
    [waiting] = launch(engine)
    one = reconciler(settings, engine, scheduler)
    one.submit_wanted()
    found = state(engine, waiting)
    scheduler.begin(found.cluster or 0, found.proc or 0)
    one.mind_waiting()
    assert noticed(engine, victim) == []


def test_the_fewest_are_interrupted_and_of_as_many_the_youngest(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    scheduler.node_sizes = [FULL, replace(FULL, name="m2", host="two")]
    old = running_spot(settings, engine, scheduler, flavor="medium", age=900)
    small = [
        running_spot(settings, engine, scheduler, host="two", age=age) for age in (200, 100, 300)
    ]
    [_] = launch(engine, flavor="medium")
    reconciler(settings, engine, scheduler).step()
    assert noticed(engine, old, *small) == [old], "one is fewer than several"
    launch(engine)
    reconciler(settings, engine, scheduler).step()
    assert noticed(engine, *small) == [small[1]], "the youngest of those that are enough"


def test_nobody_is_interrupted_where_it_would_not_help(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    victim = running_spot(settings, engine, scheduler)
    launch(engine, flavor="medium")
    reconciler(settings, engine, scheduler).step()
    assert noticed(engine, victim) == []


def test_nobody_is_interrupted_on_a_node_without_the_firmware_that_is_needed(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    scheduler.node_sizes = [FULL, replace(FULL, name="m2", host="two", uefi=True)]
    plain = running_spot(settings, engine, scheduler)
    launch(engine, boot_mode="uefi")
    reconciler(settings, engine, scheduler).step()
    assert noticed(engine, plain) == []
    scheduler.node_sizes[0] = replace(FULL, free_cpus=4, free_memory_mib=4096)
    able = running_spot(settings, engine, scheduler, host="two")
    reconciler(settings, engine, scheduler).step()
    assert noticed(engine, plain, able) == [able], "the other node's room is none for it"


def test_an_instance_that_is_to_stop_keeps_its_disk_and_its_request(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    victim = running_spot(settings, engine, scheduler, STOP)
    launch(engine)
    reconciler(settings, engine, scheduler).step()
    assert request_of(engine, victim).status_code == "marked-for-stop"
    notice = told(settings, engine, victim)
    assert isinstance(notice, dict)
    assert notice["action"] == "stop"
    let_the_notice_pass(engine, victim)
    reconciler(settings, engine, scheduler).step()
    found = state(engine, victim)
    assert (found.state, found.wanted) == ("stopping", "stopped")
    assert found.reason_code == "Server.SpotInstanceShutdown"
    with database.reading(engine) as db:
        assert [one.verb for one in commands.select(db, victim, 1)] == ["metadata", "stop"]
    with database.writing(engine) as db:
        found = state(engine, victim)
        states.change(db, found, "stopped", datetime.now(UTC))
    reconciler(settings, engine, scheduler).step()
    request = request_of(engine, victim)
    assert (request.state, request.status_code) == ("disabled", "instance-stopped-no-capacity")


def test_the_requests_of_instances_that_run_are_not_looked_at_again_and_again(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    running, ended = (running_spot(settings, engine, scheduler) for _ in range(2))
    with database.reading(engine) as db:
        assert spot_requests.select_followed(db) == []
    terminate(engine, ended)
    now, account_id = datetime.now(UTC), state(engine, running).account_id
    with database.writing(engine) as db:
        spot.cancel(db, account_id, [request_of(engine, running).id], now)
        assert [one.instance_id for one in spot_requests.select_followed(db)] == [ended]


def test_one_that_its_owner_ends_during_the_notice_is_not_ended_twice(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    victim = running_spot(settings, engine, scheduler)
    launch(engine)
    reconciler(settings, engine, scheduler).step()
    terminate(engine, victim)
    let_the_notice_pass(engine, victim)
    reconciler(settings, engine, scheduler).step()
    assert state(engine, victim).reason_code == "Client.UserInitiatedShutdown"
    assert noticed(engine, victim) == []
    reconciler(settings, engine, scheduler).step()
    request = request_of(engine, victim)
    assert (request.state, request.status_code) == ("closed", "instance-terminated-by-user")
