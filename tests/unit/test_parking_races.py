# SPDX-License-Identifier: Apache-2.0
"""Disks in the store when words come late, stores fail, and settings change."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from parking_world import WHOLE, World
from test_parking import world

from gateway.cloud import health, volumes
from gateway.imagestore import arrivals
from gateway.imagestore.importer import Importer
from gateway.imagestore.store import DirectoryStore, StoreError
from gateway.nodelink import parkings as requests
from gateway.store import database, instances, parkings

if TYPE_CHECKING:
    import pytest

__all__ = ["world"]


def test_a_late_word_of_a_run_that_is_over_takes_no_disk_from_the_store(world: World) -> None:
    world.park()
    world.start()
    world.claim(world.second)
    # It ends without having asked what becomes of the disk, as one that is killed does.
    world.fail("node-error")
    assert world.taken(world.second) == 409
    world.clean()
    assert world.instance.parked
    assert world.stored


def test_a_disk_that_counts_is_never_removed_whatever_is_written_down(world: World) -> None:
    removal = world.park()
    world.start()
    world.claim(world.second)
    assert world.taken(world.second) == 200
    with database.writing(world.endpoint.database) as db:
        parkings.insert(db, parkings.Parking(10**6, world.id, 2, "second", parkings.LEFT))
        node = world.instance.claimed_by
        assert node is not None
        parkings.update(db, 10**6, node=node)
    assert world.report(world.second, 10**6, removes="now")[0] == 404
    assert world.report(world.first, removal, removes="now")[0] == 200
    with database.writing(world.endpoint.database) as db:
        parkings.delete(db, 10**6)


def test_a_store_that_fails_is_offered_the_disk_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = world.ask()
    world.send(number)
    world.report(world.first, number, **WHOLE)

    def fail(*_: object) -> None:
        raise StoreError("The image store does not answer as it should.")

    with monkeypatch.context() as changed:
        changed.setattr(DirectoryStore, "upload", fail)
        world.take_in()
    assert world.importer.parker.next() == [], "it was asked just now"
    with database.reading(world.endpoint.database) as db:
        found = parkings.get(db, number)
    assert found is not None
    assert found.state == parkings.HERE
    world.importer = world.new_importer()
    world.take_in()
    assert world.instance.parked


def test_what_the_store_has_already_need_not_have_arrived(world: World) -> None:
    number = world.ask()
    world.send(number)
    world.report(world.first, number, **WHOLE)
    world.take_in()
    # The gateway lost power before its database had said so, and what came is gone.
    with database.writing(world.endpoint.database) as db:
        parkings.update(db, number, state=parkings.HERE)
        instances.update_attributes(db, world.id, {"parked": False, "home": "host"})
    arrivals.remove(world.endpoint.settings, number)
    world.take_in()
    assert world.instance.parked
    assert world.stored


def test_without_the_setting_again_nothing_more_is_sent(world: World) -> None:
    number = world.ask()
    assert world.send(number) == 200
    Importer(world.endpoint.settings, world.endpoint.database).parker.tend()
    assert world.errands(world.first) == []
    assert world.send(number) == 404
    assert (world.instance.home, world.instance.parked) == ("host", False)


def test_variables_of_no_firmware_are_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = world.ask()
    world.send(number)
    monkeypatch.setattr(requests, "MOST_NVRAM", WHOLE["nvram_bytes"] - 1)
    assert world.report(world.first, number, **WHOLE)[0] == 400


def test_a_parked_disk_is_well_and_attached_wherever_its_node_is(world: World) -> None:
    world.park()
    now = datetime.now(UTC)
    assert health.of_disk(world.instance, None, now) == health.OK
    world.start()
    assert world.instance.state == "pending"
    assert volumes.attachment(world.instance) == "attached"
