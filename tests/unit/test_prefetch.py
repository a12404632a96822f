# SPDX-License-Identifier: Apache-2.0
"""From `condor-cloud image prefetch` to the node that does it, and back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from gateway.cli import main
from gateway.cloud import accounts, images
from gateway.cloud import prefetches as rules
from gateway.config import Settings
from gateway.nodelink import credentials
from gateway.nodelink.app import create_app
from gateway.store import database, nodes, prefetches
from gateway.store.images import Content

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

NOW = datetime(2026, 5, 4, 10, 20, 30, tzinfo=UTC)
SIZE = 4096
LIMIT = 60.0


class World:
    """A gateway's database with an image and nodes, its node link, and its administrator."""

    def __init__(self, place: Path) -> None:
        self.settings = Settings(state_dir=place)
        database.migrate(self.settings.database)
        self.engine = database.engine(self.settings.database)
        self.app = create_app(self.settings)
        self.http = self.app.test_client()
        with database.writing(self.engine) as db:
            owner = accounts.ensure_account(db, "default", NOW)
            for name in ("disk", "pending"):
                new = images.NewImage(name, f"http://localhost/{name}")
                made = images.register(db, owner.id, new, tagged={}, now=NOW, sources=None)
                if name == "disk":
                    self.image = made.id
                    images.imported(db, made.id, Content("0" * 64, SIZE, 8192, "raw"))
                else:
                    self.pending = made.id
            for name in ("one", "two", "gone"):
                hashed = credentials.token_hash(name)
                nodes.insert(db, nodes.Node(name, hashed, NOW, NOW if name == "gone" else None))

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(main, ["image", "prefetch", *words], env=self.variables)

    @property
    def variables(self) -> dict[str, str]:
        """What points the administrator's command at this gateway."""
        state = str(self.settings.state_dir)
        return {"CONDOR_CLOUD_STATE_DIR": state, "CONDOR_CLOUD_CONFIG": os.devnull}

    def ask(self, node: str, path: str, **body: object) -> tuple[int, Any]:
        answer = self.http.post(path, json=body, headers={"Authorization": f"Bearer {node}"})
        return answer.status_code, answer.json

    def wanted(self, node: str, *under_way: int) -> list[Any]:
        body = {"after": 0, "wait": 0, "prefetching": list(under_way)}
        status, answer = self.ask(node, "/v1/commands", **body)
        assert status == 200
        found: list[Any] = answer["prefetch"]
        return found

    def tell(self, node: str, number: int, state: str, done: int, message: str = "") -> int:
        body = {"state": state, "bytes": done, "message": message}
        return self.ask(node, f"/v1/prefetches/{number}", **body)[0]

    def state(self, number: int) -> str:
        with database.reading(self.engine) as db:
            [found] = prefetches.select(db, [number])
        return found.state


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.app.extensions["doorbell"].close()
    made.engine.dispose()


class Administrator(threading.Thread):
    """Runs the command beside the test."""

    def __init__(self, world: World, *words: str) -> None:
        super().__init__()
        self._world = world
        self._words = words
        self.done: Result | None = None
        self.start()

    def run(self) -> None:
        self.done = self._world.run(*self._words)

    def result(self) -> Result:
        self.join(LIMIT)
        assert self.done is not None
        return self.done


def first(world: World, node: str) -> Any:
    """Return what a node is told first, as soon as it is."""
    deadline = time.monotonic() + LIMIT
    while not (found := world.wanted(node)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found[0]


def test_every_admitted_node_is_asked_and_what_it_tells_is_shown(world: World) -> None:
    administrator = Administrator(world, world.image, "--all", "--json")
    told = {name: first(world, name) for name in ("one", "two")}
    assert told["one"]["image"]["path"] == f"/v1/images/{'0' * 64}"
    assert world.tell("one", told["one"]["id"], "fetching", 1000) == 200
    assert world.tell("one", told["one"]["id"], "cached", SIZE) == 200
    assert world.tell("two", told["two"]["id"], "failed", 0, "The disk is full.") == 200
    done = administrator.result()
    assert json.loads(done.stdout) == [
        {"node": name, "image": world.image, "state": state, "bytes": size, "message": message}
        for name, state, size, message in (
            ("one", "cached", SIZE, None),
            ("two", "failed", 0, "The disk is full."),
        )
    ]
    assert done.exit_code == 1
    assert "condor-cloud: 1 of 2 nodes have not cached it." in done.stderr
    assert world.wanted("one") == []


def test_the_named_node_alone_is_asked_and_people_see_a_table(world: World) -> None:
    administrator = Administrator(world, world.image, "--node", "two")
    number = first(world, "two")["id"]
    assert world.wanted("one") == []
    assert world.wanted("two", number) == []
    assert world.state(number) == "taken"
    world.tell("two", number, "cached", SIZE)
    done = administrator.result()
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[1].split() == ["two", "cached", "4.0", "KiB"]
    assert "two: cached" in done.stderr


def test_a_node_that_waits_is_answered_when_an_image_is_wanted(world: World) -> None:
    answers: list[Any] = []
    body = {"after": 0, "wait": 30, "prefetching": []}
    waiting = threading.Thread(
        target=lambda: answers.append(world.ask("one", "/v1/commands", **body))
    )
    waiting.start()
    administrator = Administrator(world, world.image, "--node", "one")
    waiting.join(20)
    [(status, answer)] = answers
    assert status == 200
    world.tell("one", answer["prefetch"][0]["id"], "cached", SIZE)
    assert administrator.result().exit_code == 0


def test_what_a_node_lost_is_repeated_until_it_has_ended(world: World) -> None:
    administrator = Administrator(world, world.image, "--node", "one")
    number = first(world, "one")["id"]
    assert world.wanted("one", number) == []
    assert [one["id"] for one in world.wanted("one")] == [number]
    again = Administrator(world, world.image, "--node", "one")
    assert world.tell("one", number, "fetching", 10) == 200
    assert [one["id"] for one in world.wanted("one")] == [number], "it is wanted once"
    world.tell("one", number, "cached", SIZE)
    assert administrator.result().exit_code == 0
    for one in world.wanted("one"):  # the second came late, and is another
        world.tell("one", one["id"], "cached", SIZE)
    while again.is_alive():
        for one in world.wanted("one"):
            world.tell("one", one["id"], "cached", SIZE)
    assert again.result().exit_code == 0


def test_a_node_that_says_nothing_is_given_up(world: World) -> None:
    done = world.run(world.image, "--node", "one", "--patience", "0", "--json")
    assert done.exit_code == 1
    [told] = json.loads(done.stdout)
    assert told["state"] == "failed"
    assert told["message"] == "The node has said nothing for 0 seconds."
    assert world.wanted("one") == []


def test_whoever_asks_once_more_has_all_the_patience_that_is_asked_for(world: World) -> None:
    later = NOW + timedelta(hours=1)
    with database.writing(world.engine) as db:
        [number] = rules.request(db, world.image, ["one"], NOW)
        assert rules.silent(db, [number], 60, later) == [number]
        assert rules.request(db, world.image, ["one"], later) == [number]
        assert rules.silent(db, [number], 60, later + timedelta(seconds=60)) == []


def test_a_node_that_cannot_is_not_told(world: World) -> None:
    world.run(world.image, "--node", "one", "--patience", "0")
    assert world.ask("one", "/v1/commands", after=0, wait=0)[1] == {"last": 0, "instances": []}


@pytest.mark.parametrize("body", [{"state": "done"}, {"bytes": -1}, {"message": None}])
def test_what_no_node_may_tell_is_refused(world: World, body: dict[str, object]) -> None:
    good = {"state": "cached", "bytes": 1, "message": ""}
    assert world.ask("one", "/v1/prefetches/1", **good | body)[0] == 400
    assert world.ask("one", "/v1/prefetches/1", **good)[0] == 404
    wrong = {"after": 0, "wait": 0, "prefetching": ["1"]}
    assert world.ask("one", "/v1/commands", **wrong)[0] == 400


def test_a_node_tells_of_its_own_images_alone_and_of_an_end_once(world: World) -> None:
    administrator = Administrator(world, world.image, "--node", "one")
    number = first(world, "one")["id"]
    assert world.tell("two", number, "cached", SIZE) == 404
    assert world.tell("one", number, "cached", SIZE) == 200
    assert world.tell("one", number, "failed", 0) == 404
    assert administrator.result().exit_code == 0


@pytest.mark.parametrize(
    ("image", "words", "status", "sentence"),
    [
        ("disk", (), 2, "--node NAME, or --all"),
        ("disk", ("--node", "one", "--all"), 2, "--node NAME, or --all"),
        ("disk", ("--node", "three"), 1, "There is no node three."),
        ("disk", ("--node", "one", "--node", "gone"), 1, "There is no node gone."),
        ("ami-00000000000000000", ("--all",), 1, "There is no image ami-00000000000000000."),
        ("pending", ("--all",), 1, "is pending."),
    ],
)
def test_what_cannot_be_cached_is_refused_and_nothing_is_asked(
    world: World, image: str, words: tuple[str, ...], status: int, sentence: str
) -> None:
    known = {"disk": world.image, "pending": world.pending}
    done = world.run(known.get(image, image), *words)
    assert done.exit_code == status
    assert sentence in done.stderr
    assert world.wanted("one") == []


def left_alone(world: World, node: str, at: datetime) -> int:
    """Want an image of a node, by a command that was interrupted."""
    with database.writing(world.engine) as db:
        [number] = rules.request(db, world.image, [node], at)
    return number


def test_a_node_that_was_away_for_a_day_is_given_up_and_the_end_is_told(world: World) -> None:
    number = left_alone(world, "one", NOW)
    left_alone(world, "two", NOW + rules.KEPT)
    assert world.state(number) == "wanted", "not yet"
    later = NOW + rules.KEPT + timedelta(minutes=1)
    left_alone(world, "two", later)
    with database.reading(world.engine) as db:
        [given_up] = prefetches.select(db, [number])
    assert (given_up.state, given_up.told_at) == ("failed", later)
    assert given_up.message == "The node has said nothing for 86400 seconds."
    assert world.tell("one", number, "cached", SIZE) == 404


def test_what_waits_for_its_turn_on_a_node_that_is_there_is_not_forgotten(world: World) -> None:
    number = left_alone(world, "one", datetime.now(UTC) - 3 * rules.KEPT)
    assert [one["id"] for one in world.wanted("one")] == [number]
    assert world.wanted("one", number) == []
    with database.writing(world.engine) as db:
        prefetches.update(db, number, datetime.now(UTC) - 2 * rules.KEPT)  # taken so long ago
    left_alone(world, "two", datetime.now(UTC))
    assert world.state(number) == "taken"
    assert world.tell("one", number, "cached", SIZE) == 200


def test_an_end_is_remembered_for_a_day(world: World) -> None:
    number = left_alone(world, "one", NOW)
    with database.writing(world.engine) as db:
        rules.tell(db, number, "one", rules.Told("cached", SIZE, None), NOW)
    left_alone(world, "two", NOW + rules.KEPT)
    assert world.state(number) == "cached"
    left_alone(world, "two", NOW + rules.KEPT + timedelta(minutes=1))
    with database.reading(world.engine) as db:
        assert prefetches.select(db, [number]) == []


def test_an_end_that_is_forgotten_while_another_is_awaited_is_shown(world: World) -> None:
    command = [sys.executable, "-m", "gateway.cli", "image", "prefetch", world.image]
    with subprocess.Popen(
        [*command, "--all", "--json"],
        env=os.environ | world.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as administrator:
        assert administrator.stdout is not None
        assert administrator.stderr is not None
        told = {name: first(world, name)["id"] for name in ("one", "two")}
        world.tell("one", told["one"], "failed", 0, "The disk is full.")
        assert "one: failed\n" in iter(administrator.stderr.readline, "")
        with database.writing(world.engine) as db:
            prefetches.delete_ended_before(db, datetime.now(UTC) + rules.KEPT)
        world.tell("two", told["two"], "cached", SIZE)
        shown = json.loads(administrator.stdout.read())
    assert [(one["node"], one["state"]) for one in shown] == [("one", "failed"), ("two", "cached")]
