# SPDX-License-Identifier: Apache-2.0
"""What the reconciler makes of availability zones, on a scheduler without a pool."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from test_reconciler import engine, launch, reconciler, scheduler, settings, state

from gateway.cloud import zones
from gateway.reconcile import waiting
from gateway.scheduler.protocol import Drain, NodeSize, Zoning
from gateway.store import database, machines
from gateway.store import instances as rows

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from gateway.config import Settings
    from gateway.scheduler.fake import FakeScheduler

__all__ = ["engine", "scheduler", "settings"]

LARGE = NodeSize("m", 8, 32768, 4096, 8, 32768, 4096, "host")


def nodes(*told: str | None) -> list[NodeSize]:
    return [replace(LARGE, name=f"m{number}", zone=zone) for number, zone in enumerate(told)]


def known(engine: Engine) -> dict[str, int | None]:
    with database.reading(engine) as db:
        return {zone.name: zone.nodes for zone in zones.known(db, "condor-a")}


def test_the_zones_of_the_nodes_are_written_down_and_remembered(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    scheduler.node_sizes = nodes(None, "", "condor-b", "Not a zone")
    reconciler(settings, engine, scheduler).step()
    assert known(engine) == {"condor-a": 2, "condor-b": 1}
    scheduler.node_sizes = nodes(None)
    reconciler(settings, engine, scheduler).step()
    assert known(engine) == {"condor-a": 1, "condor-b": 0}


def test_a_launch_into_a_zone_requires_it_and_another_one_prefers_its_own(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    launch(engine, zone="condor-b")
    launch(engine)
    reconciler(settings, engine, scheduler).step()
    assert {request.zone for request in scheduler.submissions} == {
        Zoning("condor-b", required=True, default=False),
        Zoning("condor-a", required=False, default=True),
    }


@pytest.mark.parametrize(
    ("there", "told"),
    [
        ([], "No node in the zone condor-b takes instances now"),
        (nodes(None), "No node in the zone condor-b takes instances now"),
        (
            nodes(None, "condor-b"),
            "Waiting for HTCondor to match it; 1 of 2 nodes have room in the zone condor-b",
        ),
        (
            [*nodes(None), replace(LARGE, name="b", zone="condor-b", free_cpus=0)],
            "No node in the zone condor-b has room now for small",
        ),
    ],
)
def test_an_instance_that_waits_in_a_zone_says_so_and_ends_for_want_of_capacity(
    settings: Settings,
    engine: Engine,
    scheduler: FakeScheduler,
    there: list[NodeSize],
    told: str,
) -> None:
    [instance_id] = launch(engine, zone="condor-b")
    scheduler.node_sizes = there
    reconciler(settings, engine, scheduler).step()
    pending = state(engine, instance_id)
    assert pending.state == "pending"
    assert (pending.reason_message or "").startswith(f"pending: {told}")
    impatient = reconciler(replace(settings, capacity_patience=1.0), engine, scheduler)
    impatient.step()
    impatient.step()
    found = state(engine, instance_id)
    assert (found.state, found.reason_code) == (
        "terminated",
        "Server.InsufficientInstanceCapacity",
    )
    assert told in (found.reason_message or "")


def test_what_no_node_of_the_zone_can_ever_hold_ends_at_once(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    scheduler.node_sizes = [*nodes(None), replace(LARGE, name="b", zone="condor-b", cpus=0)]
    [instance_id] = launch(engine, zone="condor-b")
    one = reconciler(settings, engine, scheduler)
    one.step()
    one.step()
    found = state(engine, instance_id)
    assert found.state == "terminated"
    assert "No node in the zone condor-b is large enough" in (found.reason_message or "")


def test_a_node_that_is_drained_takes_nothing_and_says_until_when_guests_stay(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    soon = float(int(time.time()) + 600)
    drained = replace(LARGE, name="d", drain=Drain(1e9, soon, "r" * 300))
    scheduler.node_sizes = [drained, replace(LARGE, name="s", cpus=1, memory_mib=64)]
    [instance_id] = launch(engine)
    reconciler(settings, engine, scheduler).step()
    told = state(engine, instance_id).reason_message or ""
    assert told == "pending: Every node that could hold it is being drained"
    with database.reading(engine) as db:
        [machine, _] = machines.select(db)
    assert (machine.up, machine.drain_reason) == (False, "r" * 255)
    assert machine.drained_by == datetime.fromtimestamp(soon, UTC)
    scheduler.node_sizes = [replace(drained, drain=Drain(1e9, 1e9, ""))]
    reconciler(settings, engine, scheduler).step()
    with database.reading(engine) as db:
        [machine, _] = machines.select(db)
    assert machine.drained_since == datetime.fromtimestamp(1e9, UTC)
    assert machine.drained_by is None
    assert known(engine) == {"condor-a": 0}


def test_a_start_waits_for_its_node_while_that_is_drained(
    settings: Settings, engine: Engine, scheduler: FakeScheduler
) -> None:
    [instance_id] = launch(engine)
    one = reconciler(settings, engine, scheduler)
    one.step()
    with database.writing(engine) as db:
        rows.update_over(db, instance_id, "host")
        rows.update_submission(db, [instance_id], "submitted")
    scheduler.node_sizes = [replace(LARGE, drain=Drain(1e9, 1e9, ""))]
    reconciler(settings, engine, scheduler).step()
    told = state(engine, instance_id).reason_message or ""
    assert told == "pending: The node host, which has the instance's disk, is being drained"


def test_no_room_is_made_on_a_node_that_is_drained_or_in_another_zone(engine: Engine) -> None:
    [instance_id] = launch(engine, zone="condor-b")
    there = [
        replace(LARGE, name="good", zone="condor-b"),
        replace(LARGE, name="drained", zone="condor-b", drain=Drain(1e9, 1e9, "")),
        replace(LARGE, name="elsewhere", zone="condor-a"),
    ]
    found = waiting.large_enough(state(engine, instance_id), there)
    assert [node.name for node in found] == ["good"]
