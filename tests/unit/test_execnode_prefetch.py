# SPDX-License-Identifier: Apache-2.0
"""The node's cache is warmed: by processes that may die, through the code that launches use."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from execnode_gateway import Gateway, eventually, install_programs, specification

from execnode import cache, config, counts, prefetch
from execnode.errands import Errands
from execnode.link import NodeLink
from execnode.listen import Listener, Work
from execnode.prefetch import Prefetches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IMAGE = bytes(range(256)) * 4096
PATIENCE = 60.0


class Node:
    """A node's listener, turned by the test, and its gateway."""

    def __init__(self, place: Path) -> None:
        self.gateway = Gateway(place)
        self.gateway.image = IMAGE
        self.gateway.spec = specification(IMAGE)
        self.sha256: str = self.gateway.spec["image"]["sha256"]
        (place / "token").write_text(self.gateway.token)
        for name in ("cache", "instances"):
            (place / name).mkdir()
        file = place / "node.toml"
        file.write_text(
            f'gateway = "{self.gateway.url}"\ntoken_file = "{place}/token"\n'
            f'ca_file = "{self.gateway.certificate}"\nstate_dir = "{place}"\n'
        )
        self.settings = config.load(file)
        self.link = NodeLink(self.settings)
        self.prefetches = Prefetches(file)
        work = Work(self.prefetches, Errands(file))
        self.listener = Listener(self.settings, self.link, work)

    def want(self, number: int = 7) -> None:
        self.gateway.prefetch = [{"id": number, "image": self.gateway.spec["image"]}]

    def until(self, condition: Callable[[], object]) -> None:
        def turned() -> object:
            self.listener.turn(0)
            return condition()

        eventually(turned, PATIENCE)

    @property
    def ended(self) -> list[tuple[str, int]]:
        told = self.gateway.prefetched
        return [(one["state"], one["bytes"]) for one in told if one["state"] != "fetching"]

    @property
    def cached(self) -> list[str]:
        return cache.cached(self.settings.cache_dir)

    def close(self) -> None:
        self.prefetches.close()
        self.link.close()
        self.gateway.close()


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setenv("PATH", install_programs(tmp_path / "bin"))
    monkeypatch.setenv("PYTHONPATH", str(Path(prefetch.__file__).parents[1]))
    with contextlib.closing(Node(tmp_path)) as made:
        yield made


def test_an_image_that_is_wanted_is_fetched_once_and_told_so(node: Node) -> None:
    node.want()
    node.until(lambda: node.ended)
    assert node.ended == [("cached", len(IMAGE))]
    assert (node.cached, node.gateway.downloads) == ([node.sha256], 1)
    node.until(lambda: node.prefetches.known == [])
    # The launch that it was for is the first hit.
    counted = counts.read(node.settings.cache_dir)
    assert (counted[counts.MISSES], counted[counts.HITS]) == (1, 0)
    assert counted[counts.BYTES] == len(IMAGE)


def test_an_image_that_is_cached_is_told_at_once_and_is_no_hit(node: Node) -> None:
    for number in (7, 8):
        node.want(number)
        node.until(lambda: not node.gateway.prefetch)
    assert node.ended == [("cached", len(IMAGE))] * 2
    assert node.gateway.downloads == 1
    assert counts.read(node.settings.cache_dir)[counts.HITS] == 0


def test_an_image_that_cannot_be_had_is_told_with_the_reason(node: Node) -> None:
    node.gateway.image = IMAGE[:-1] + b"?"
    node.want()
    node.until(lambda: node.ended)
    assert [state for state, _ in node.ended] == ["failed"]
    assert "downloaded 3 times" in node.gateway.prefetched[-1]["message"]
    assert node.cached == []


def test_a_document_that_is_not_understood_is_told_as_failed(node: Node) -> None:
    node.gateway.prefetch = [{"id": 7, "image": {"id": "ami-1"}}]
    node.until(lambda: node.ended)
    assert "image.sha256" in node.gateway.prefetched[-1]["message"]


def test_what_is_killed_is_begun_again(node: Node) -> None:
    killed = threading.Event()
    began = threading.Event()

    def hold() -> None:
        began.set()
        killed.wait(PATIENCE)

    node.gateway.on_download = hold
    node.want()
    node.until(began.is_set)
    [(_, process)] = node.prefetches._running.values()
    os.kill(process.pid, signal.SIGKILL)
    killed.set()
    node.until(lambda: node.ended)
    assert node.ended == [("cached", len(IMAGE))]
    assert node.cached == [node.sha256]


def test_what_dies_again_and_again_is_given_up_with_its_status(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch.sys, "executable", "/bin/false")
    node.want()
    node.until(lambda: node.ended)
    assert node.ended == [("failed", 0)]
    assert "ended 3 times with status 1" in node.gateway.prefetched[-1]["message"]


def test_an_end_that_the_gateway_did_not_hear_is_told_again(node: Node) -> None:
    node.gateway.lost_answers = 5
    node.want()
    node.until(lambda: node.ended)
    assert node.ended == [("cached", len(IMAGE))]
    assert node.gateway.downloads == 1


def test_the_listeners_end_ends_what_it_began(node: Node) -> None:
    held = threading.Event()
    began = threading.Event()

    def hold() -> None:
        began.set()
        held.wait(PATIENCE)

    node.gateway.on_download = hold
    node.want()
    node.until(began.is_set)
    [(_, process)] = node.prefetches._running.values()
    node.prefetches.close()
    held.set()
    assert process.poll() is not None
    assert node.cached == []
    cache.sweep(node.settings.cache_dir)
    assert list(node.settings.cache_dir.glob("*.part")) == []


def test_a_gateway_that_knows_of_no_prefetching_is_understood(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.gateway, "waiting", lambda _: {"last": 0, "instances": []})
    node.listener.turn(0)
    assert node.prefetches.known == []
