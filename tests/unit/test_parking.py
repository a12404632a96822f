# SPDX-License-Identifier: Apache-2.0
"""Disks of stopped instances in the store: at each moment there is one whole one that counts."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from parking_world import DIGEST, SENT, WHOLE, World

from gateway import config
from gateway.cloud import observed
from gateway.config import SettingsError
from gateway.imagestore import arrivals, parker
from gateway.imagestore.importer import Importer
from gateway.store import captures, database, instances, parkings
from gateway.store.instances import Whereabouts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Endpoint


@pytest.fixture
def world(endpoint: Endpoint, ec2: Any, image: str) -> Iterator[World]:
    made = World(endpoint, ec2, image)
    with contextlib.closing(made.first), contextlib.closing(made.second):
        yield made
    ec2.terminate_instances(InstanceIds=[made.id])
    with database.writing(endpoint.database) as db:
        instances.update_submission(db, [made.id], "none")
        observed.run_ended(db, made.id, made.instance.run, observed.REMOVED, datetime.now(UTC))
    made.clean()
    assert not made.stored


def test_a_stopped_disk_is_asked_for_sent_and_only_then_removed_on_its_node(world: World) -> None:
    number = world.ask()
    world.importer.parker.tend()
    assert world.errands(world.first) == [("park", number)]
    assert world.errands(world.second) == []
    assert world.report(world.first, number) == (200, {"bytes": 0})
    assert world.send(number, SENT[:1000]) == 200
    assert world.report(world.first, number, **WHOLE) == (200, {"bytes": 1000})
    world.send(number)
    world.report(world.first, number, **WHOLE)
    # All of it is here and not in the store: the node keeps what counts.
    assert world.errands(world.first) == []
    assert (world.instance.home, world.instance.parked) == ("host", False)
    world.take_in()
    assert (world.instance.home, world.instance.parked) == (None, True)
    world.clean()
    assert world.stored
    assert number not in arrivals.numbers(world.endpoint.settings)
    [(kind, removal)] = world.errands(world.first)
    assert kind == "remove"
    assert world.report(world.second, removal, removes="now")[0] == 404
    assert world.report(world.first, removal, removes="now")[0] == 200
    assert world.errands(world.first) == [("remove", removal)]
    assert world.report(world.first, removal, removes="done")[0] == 200
    assert world.errands(world.first) == []
    world.importer.parker.tend()
    assert world.errands(world.first) == []


def test_without_the_setting_a_disk_stays_on_its_node(world: World) -> None:
    Importer(world.endpoint.settings, world.endpoint.database).parker.tend()
    assert world.errands(world.first) == []


@pytest.mark.parametrize("state", ["asked", "sent"])
def test_a_start_before_the_store_has_the_disk_is_of_the_node_that_has_it(
    world: World, state: str
) -> None:
    number = world.ask()
    if state == "sent":
        world.send(number)
        world.report(world.first, number, **WHOLE)
        [coming] = [one for one in world.importer.parker.next() if one.number == number]
    world.start()
    assert world.errands(world.first) == []
    assert world.send(number) == 404
    assert world.report(world.first, number)[0] == 404
    if state == "sent":  # the importer was just at it
        world.importer.parker.take(coming)
    assert (world.instance.home, world.instance.parked) == ("host", False)
    assert world.claim(world.first, "host")["disk"] == "kept"
    world.clean()
    assert not world.stored
    assert number not in arrivals.numbers(world.endpoint.settings)


def test_a_start_after_that_is_of_any_node_which_fetches_the_disk(world: World) -> None:
    removal = world.park()
    world.start()
    assert world.instance.home is None
    told = world.claim(world.second)
    assert (told["disk"], told["parked"]) == (
        "parked",
        WHOLE | {"path": f"/v1/instances/{world.id}/disk"},
    )
    assert world.fetch(world.first)[0] == 404
    assert world.fetch(world.second) == (200, SENT)
    world.clean()
    assert world.stored
    assert world.taken(world.second) == 200
    assert (world.instance.home, world.instance.parked) == ("host2", False)
    assert world.taken(world.second) == 200
    world.clean()
    assert not world.stored
    assert world.fetch(world.second)[0] == 404
    # What the first node has is of no use, whenever it comes to remove it.
    assert world.errands(world.first) == [("remove", removal)]


def test_a_node_that_gets_the_instance_back_removes_nothing(world: World) -> None:
    removal = world.park()
    world.start()
    world.claim(world.first, "host")
    assert world.errands(world.first) == []
    assert world.report(world.first, removal, removes="now")[0] == 404
    assert world.fetch(world.first) == (200, SENT)


@pytest.mark.parametrize("how", ["disk-full", "node-error", "hypervisor-error"])
def test_a_run_that_fails_before_it_has_the_disk_loses_nothing(world: World, how: str) -> None:
    world.park()
    world.start()
    world.claim(world.second)
    assert world.settle(world.second, how) == {"disk": "remove"}
    assert world.settle(world.second, how) == {"disk": "remove"}
    # A word of its that was under way meanwhile.
    assert world.taken(world.second) == 409
    world.fail(how, disk_removed=True)
    found = world.instance
    assert (found.state, found.home, found.parked) == ("stopped", None, True)
    assert [kind for kind, _ in world.errands(world.second)] == ["remove"]
    world.clean()
    assert world.stored
    world.start()
    assert world.claim(world.second, run=3)["disk"] == "parked"
    assert world.errands(world.second) == []
    assert world.fetch(world.second) == (200, SENT)


def test_a_run_that_fails_when_it_has_the_disk_keeps_it(world: World) -> None:
    world.park()
    world.start()
    world.claim(world.second)
    world.taken(world.second)
    assert world.settle(world.second, "hypervisor-error") == {"disk": "keep"}
    world.fail("hypervisor-error")
    found = world.instance
    assert (found.state, found.home, found.parked) == ("stopped", "host2", False)
    # And the next stop is another one.
    world.importer.parker.tend()
    assert [kind for kind, _ in world.errands(world.second)] == ["park"]


def test_a_node_that_is_lost_before_it_has_the_disk_loses_nothing(world: World) -> None:
    world.park()
    world.start()
    now = datetime.now(UTC)
    with database.writing(world.endpoint.database) as db:
        instances.update_job(db, world.id, 2, 0)
        observed.job_lost(db, world.id, 2, observed.LOST_NODE, now)
        observed.run_ended(db, world.id, 2, observed.LOST_NODE, now)
    found = world.instance
    assert (found.state, found.home, found.parked) == ("stopped", None, True)
    assert world.stored


def test_an_instance_that_ends_takes_its_disk_from_the_store(world: World) -> None:
    world.park()
    world.ec2.terminate_instances(InstanceIds=[world.id])
    world.clean()
    assert not world.stored
    assert world.errands(world.first) == []
    # The sweep of the node asks instead.
    useless = world.first.ask("/v1/disks", {"instances": [world.id]})[1]
    assert useless == {"useless": [world.id]}


def test_a_parked_disk_is_no_useless_one_to_the_sweep(world: World) -> None:
    world.park()
    assert world.first.ask("/v1/disks", {"instances": [world.id]})[1] == {"useless": []}


@pytest.mark.parametrize("trouble", ["checksum", "node", "gone", "full"])
def test_a_disk_that_cannot_come_stays_on_its_node_until_the_next_stop(
    world: World, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = world.ask()
    if trouble == "node":
        world.report(world.first, number, error="No such luck.")
    elif trouble == "full":
        full = arrivals.StoreFullError("It is full.")
        with monkeypatch.context() as changed:
            changed.setattr(arrivals, "put", lambda *_: (_ for _ in ()).throw(full))
            assert world.send(number) == 404
    else:
        world.send(number)
        wrong = {"sha256": "0" * 64} if trouble == "checksum" else {}
        world.report(world.first, number, **(WHOLE | wrong))
        if trouble == "gone":
            arrivals.remove(world.endpoint.settings, number)
        world.take_in()
    with database.reading(world.endpoint.database) as db:
        found = parkings.get(db, number)
    assert found is not None
    assert found.state == parkings.FAILED
    assert found.reason
    assert (world.instance.home, world.instance.parked) == ("host", False)
    world.importer.parker.tend()
    assert world.errands(world.first) == []
    world.start()
    world.claim(world.first, "host")
    with database.writing(world.endpoint.database) as db:
        where = Whereabouts("host", "10.77.0.9", None, None)
        observed.guest_runs(db, world.id, 2, where, datetime.now(UTC))
    world.first.end(2)
    assert world.ask() > number


def test_an_importer_that_is_killed_is_followed_by_one_that_does_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = world.ask()
    world.send(number)
    world.report(world.first, number, **WHOLE)

    class KilledError(BaseException):
        """What ends the process here."""

    def kill(*_: object) -> None:
        raise KilledError

    # Before the store has it, and after that but before the database says so.
    for where, what in ((parker.arrivals, "path"), (parker.parking, "parked")):
        with monkeypatch.context() as changed:
            changed.setattr(where, what, kill)
            with pytest.raises(KilledError):
                world.take_in()
        world.importer = world.new_importer()
        world.clean()
        assert (world.instance.home, world.instance.parked) == ("host", False)
    world.take_in()
    assert world.instance.parked
    assert world.stored


def test_an_image_of_a_stopped_instance_comes_before_its_parking(world: World) -> None:
    number = world.ask()
    made = world.ec2.create_image(InstanceId=world.id, Name=str(uuid4()))["ImageId"]
    assert world.send(number) == 404
    world.importer.parker.tend()
    [(kind, copying)] = world.errands(world.first)
    assert kind == "capture"
    assert world.first.report(copying, error="No such luck.")[0] == 200
    world.importer.parker.tend()
    assert [kind for kind, _ in world.errands(world.first)] == ["park"]
    world.ec2.deregister_image(ImageId=made)
    with database.reading(world.endpoint.database) as db:
        assert captures.get(db, copying) is None


@pytest.mark.parametrize(
    "said",
    [
        {"size": len(SENT), "nvram_bytes": len(SENT), "sha256": DIGEST},
        {"size": len(SENT), "nvram_bytes": 0, "sha256": "x"},
        {"size": len(SENT), "sha256": DIGEST},
        {"removes": 1},
    ],
)
def test_what_is_not_described_is_refused(world: World, said: dict[str, object]) -> None:
    number = world.ask()
    world.send(number)
    assert world.report(world.first, number, **said)[0] == 400


def test_only_the_node_that_has_the_disk_may_send_it(world: World) -> None:
    number = world.ask()
    assert world.report(world.second, number, error="no")[0] == 404
    assert world.report(world.first, number)[0] == 200


def test_a_place_that_there_is_not_is_no_setting(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('stopped_disks = "moon"\n')
    with pytest.raises(SettingsError, match="stopped_disks: it is node or store"):
        config.load(file, {})
