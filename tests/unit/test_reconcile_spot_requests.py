# SPDX-License-Identifier: Apache-2.0
"""Requests for spot instances that wait for room, and what they get."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from spot_world import (
    FULL,
    ONE_TIME,
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
from sqlalchemy import event
from test_reconciler import launch, long_ago, reconciler, state, terminate

from gateway.cloud import (
    flavors,
    images,
    instances,
    observed,
    power,
    spot,
    spot_fulfilment,
    spot_launch,
    states,
)
from gateway.store import database, spot_requests
from gateway.store import instances as rows

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from gateway.config import Settings
    from gateway.scheduler.fake import FakeScheduler

__all__ = ["engine", "scheduler", "settings"]


ROOM = replace(FULL, free_cpus=4, free_memory_mib=4096)


def state_in(db: Connection, instance_id: str) -> rows.Instance:
    found = rows.get(db, instance_id)
    assert found is not None
    return found


def interrupted_and_stopped(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> tuple[str, str]:
    """Return a spot instance that made room, and the instance that has it."""
    victim = running_spot(settings, engine, scheduler, STOP)
    [other] = launch(engine)
    reconciler(settings, engine, scheduler).step()
    let_the_notice_pass(engine, victim)
    reconciler(settings, engine, scheduler).step()
    with database.writing(engine) as db:
        found = rows.get(db, victim)
        assert found is not None
        states.change(db, found, "stopped", datetime.now(UTC))
        rows.update_over(db, victim, "one")
    return victim, other


def test_what_was_stopped_for_others_starts_again_where_its_disk_is_once_there_is_room(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    victim, other = interrupted_and_stopped(settings, engine, scheduler)
    scheduler.node_sizes = [FULL, replace(ROOM, name="m2", host="two")]
    reconciler(settings, engine, scheduler).step()
    assert state(engine, victim).state == "stopped", "its disk is not on the node with room"
    scheduler.node_sizes = [replace(FULL, free_cpus=1, free_memory_mib=600)]
    reconciler(settings, engine, scheduler).step()
    assert state(engine, victim).state == "stopped", "the room is the other's, who still waits"
    run(engine, other)
    scheduler.node_sizes = [ROOM]
    reconciler(settings, engine, scheduler).step()
    found = state(engine, victim)
    assert (found.state, found.run) == ("pending", 2)
    assert scheduler.submissions[-1].home == "one"
    assert scheduler.submissions[-1].priority < 0
    request = request_of(engine, victim)
    assert (request.state, request.status_code) == ("active", "fulfilled")


def test_one_that_its_owner_stopped_and_started_during_the_notice_goes_on(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    victim = running_spot(settings, engine, scheduler, STOP)
    launch(engine)
    reconciler(settings, engine, scheduler).step()
    assert noticed(engine, victim) == [victim]
    with database.writing(engine) as db:
        for name in ("stopping", "stopped"):
            states.change(db, state_in(db, victim), name, datetime.now(UTC))
        rows.update_over(db, victim, "one")
    reconciler(settings, engine, scheduler).step()
    assert noticed(engine, victim) == []
    with database.writing(engine) as db:
        found = state_in(db, victim)
        power.start(db, found.account_id, [victim], long_ago(), long_ago(), limits={})
    reconciler(settings, engine, scheduler).step()
    assert state(engine, victim).state == "pending"


def test_a_cancelled_request_does_not_start_its_instance_again(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    victim, _ = interrupted_and_stopped(settings, engine, scheduler)
    reconciler(settings, engine, scheduler).step()
    request = request_of(engine, victim)
    with database.writing(engine) as db:
        spot.cancel(db, request.account_id, [request.id], datetime.now(UTC))
    scheduler.node_sizes = [ROOM]
    reconciler(settings, engine, scheduler).step()
    assert state(engine, victim).state == "stopped"


def test_a_persistent_request_launches_another_for_one_that_was_terminated(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    first = running_spot(settings, engine, scheduler, STOP)
    request = request_of(engine, first)
    terminate(engine, first)
    reconciler(settings, engine, scheduler).step()
    reconciler(settings, engine, scheduler).step()
    found = request_of(engine, first)
    assert (found.state, found.status_code) == ("open", "capacity-not-available")
    assert found.instance_id == first
    scheduler.node_sizes = [ROOM]
    reconciler(settings, engine, scheduler).step()
    with database.reading(engine) as db:
        found = spot_requests.get(db, request.id) or request
        assert found.instance_id not in {None, first}
        second = rows.get(db, found.instance_id or "")
        assert second is not None
        assert rows.get_user_data(db, second.id) == b"\xff"
    assert (second.state, second.spot_request_id) == ("pending", request.id)
    reconciler(settings, engine, scheduler).step()
    assert len(scheduler.submissions) == 2


def test_a_request_that_waits_too_long_expires(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    terms = STOP._replace(valid_until=datetime.now(UTC) - timedelta(seconds=1))
    first = running_spot(settings, engine, scheduler, terms)
    terminate(engine, first)
    scheduler.node_sizes = [ROOM]
    for _ in range(3):
        reconciler(settings, engine, scheduler).step()
    found = request_of(engine, first)
    assert (found.state, found.status_code) == ("cancelled", "schedule-expired")


def ask(engine: Engine, like: str, count: int = 1, **terms: object) -> list[str]:
    """Ask for what another instance is."""
    now = datetime.now(UTC)
    asked = spot_launch.read(request_of(engine, like).launch)
    with database.writing(engine) as db:
        found = rows.get(db, like)
        assert found is not None
        made = spot_fulfilment.request(
            db,
            found.account_id,
            asked._replace(minimum=count, maximum=count),
            ONE_TIME._replace(**terms),
            tagged={},
            now=now,
            flavors=flavors.load(),
            limits={},
        )
    return [request.id for request in made]


def statuses(engine: Engine, *ids: str) -> list[tuple[str, str]]:
    with database.reading(engine) as db:
        found = [spot_requests.get(db, name) for name in ids]
    return [(one.state, one.status_code) for one in found if one is not None]


def test_requests_are_fulfilled_as_far_as_there_is_room_and_the_others_wait(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    like = running_spot(settings, engine, scheduler)
    made = ask(engine, like, 3)
    reconciler(settings, engine, scheduler).step()
    assert statuses(engine, *made) == [("open", "capacity-not-available")] * 3
    [other] = launch(engine)
    scheduler.node_sizes = [replace(FULL, free_cpus=3, free_memory_mib=2000)]
    reconciler(settings, engine, scheduler).step()
    told = statuses(engine, *made)
    assert sorted(told) == [
        ("active", "fulfilled"),
        ("active", "fulfilled"),
        ("open", "capacity-not-available"),
    ]
    assert state(engine, other).state == "pending", "it has the third part of the room"
    assert len(scheduler.submissions) == 4


def test_requests_for_one_launch_are_tried_once_in_a_look_that_finds_no_room(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    made = ask(engine, running_spot(settings, engine, scheduler), 50)
    tried = []

    @event.listens_for(engine, "before_cursor_execute")
    def see(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO instances"):
            tried.append(statement)

    reconciler(settings, engine, scheduler).step()
    assert len(tried) == 1
    assert statuses(engine, *made) == [("open", "capacity-not-available")] * 50


def test_a_request_that_found_no_node_after_all_waits_again(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    like = running_spot(settings, engine, scheduler)
    [name] = ask(engine, like)
    scheduler.node_sizes = [ROOM]
    reconciler(settings, engine, scheduler).step()
    assert statuses(engine, name) == [("active", "fulfilled")]
    scheduler.node_sizes = [FULL]
    with database.writing(engine) as db:
        request = spot_requests.get(db, name)
        assert request is not None
        short = states.Reason("Server.InsufficientInstanceCapacity", "short")
        observed.run_ended(db, request.instance_id or "", 1, short, datetime.now(UTC))
    reconciler(settings, engine, scheduler).step()
    assert statuses(engine, name) == [("open", "capacity-not-available")]


def test_a_request_of_later_is_left_alone_until_then(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    like = running_spot(settings, engine, scheduler)
    [name] = ask(engine, like, valid_from=datetime.now(UTC) + timedelta(days=1))
    scheduler.node_sizes = [ROOM]
    reconciler(settings, engine, scheduler).step()
    assert statuses(engine, name) == [("open", "not-scheduled-yet")]


def test_a_request_whose_image_is_gone_fails(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    like = running_spot(settings, engine, scheduler)
    [name] = ask(engine, like)
    with database.writing(engine) as db:
        found = rows.get(db, like)
        assert found is not None
        images.deregister(db, found.account_id, found.image_id)
    scheduler.node_sizes = [ROOM]
    reconciler(settings, engine, scheduler).step()
    assert statuses(engine, name) == [("failed", "bad-parameters")]


def test_a_request_is_forgotten_after_its_instance_and_not_before(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    ended = launch_spot(engine)
    terminate(engine, ended)
    reconciler(settings, engine, scheduler).step()
    request = request_of(engine, ended)
    later = datetime.now(UTC) + timedelta(days=3)
    with database.writing(engine) as db:
        spot.forget(db, later)
        assert spot_requests.get(db, request.id) is not None
        instances.forget(db, later, timedelta(hours=1))
        spot.forget(db, later)
        assert spot_requests.get(db, request.id) is None
    assert long_ago() < later
