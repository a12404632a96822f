# SPDX-License-Identifier: Apache-2.0
"""What a tenant registers goes on where an importer was killed, and only with the same bytes."""

from __future__ import annotations

import errno
import hashlib
import os
from typing import TYPE_CHECKING, ClassVar

import pytest
from imagestore_world import DIGEST, DISK, MIB, Serving, World, served_by, serving

from gateway.cloud import images as rules
from gateway.imagestore import importer, kept
from gateway.imagestore.uploads import failures_are_told
from gateway.store import database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def url() -> Iterator[str]:
    with serving() as url:
        yield url


def begun(world: World, url: str) -> str:
    """Register an image of which an importer that was killed has left the first bytes."""
    image = world.register(url)
    with world.importer._store.resumable(image) as upload:
        upload.note(Serving.tag)
        upload.write(DISK[:MIB])
    assert len(list(world.settings.image_dir.glob(".*.partial"))) == 1
    return image


def test_an_importer_goes_on_where_the_one_before_was_killed(world: World, url: str) -> None:
    image = begun(world, url)
    world.importer._store.sweep()
    world.import_all()
    assert world.image(image).sha256 == DIGEST
    assert Serving.ranges == [f"bytes={MIB - 1}-"]
    assert world.files() == {DIGEST}


def test_nothing_stays_of_what_was_cut_and_is_not_wanted_any_more(
    world: World, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = begun(world, url)
    [taken] = world.importer.next()
    with database.writing(world.engine) as db:
        rules.deregister(db, world.account, image)
    world.importer.take(taken)
    assert world.files() == set()


@pytest.mark.parametrize("lasts", [False, True], ids=["for a moment", "for long"])
def test_what_came_is_not_fetched_again_after_a_stores_trouble(
    world: World, url: str, monkeypatch: pytest.MonkeyPatch, lasts: bool
) -> None:
    image = world.register(url)
    [taken] = world.importer.next()
    with monkeypatch.context() as failing:
        failing.setattr(os, "fsync", stale)
        world.importer.take(taken)
        assert world.image(image).state == "pending"
        if lasts:
            failing.setattr(importer, "PATIENCE", -1.0)
            world.importer._under_way[image] = world.account
            world.importer.take(taken)
            failed = world.image(image)
            told = "The image store cannot be used: Stale file handle."
            assert (failed.state, failed.state_reason) == ("failed", told)
            assert rules.is_our_failure(failed)
            return
    world.importer._under_way[image] = world.account
    world.importer.take(taken)
    assert world.image(image).sha256 == DIGEST
    assert Serving.ranges == [None, f"bytes={len(DISK) - 1}-"]


def stale(*_: object) -> None:
    with failures_are_told():
        raise OSError(errno.ESTALE, "Stale file handle")


class Changed(Serving):
    """Has other bytes by now, or fewer, and looks at no condition."""

    head: ClassVar[dict[str, str]] = {}
    size: ClassVar[int] = len(DISK)

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        asked = self.headers.get("Range")
        self.ranges.append(asked)
        begin = int(asked[len("bytes=") : -1]) if asked else 0
        data = DISK[: self.size]
        self.send_response(206 if 0 < begin < len(data) else 416 if begin else 200)
        for name, value in self.head.items():
            self.send_header(name, value)
        self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - begin if begin < len(data) else 0))
        self.end_headers()
        self.wfile.write(data[begin:])


@pytest.mark.parametrize(
    ("head", "size"),
    [
        ({"ETag": '"two"'}, len(DISK)),
        ({"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}, len(DISK)),
        ({}, len(DISK)),
        ({"ETag": '"one"'}, MIB // 2),
    ],
    ids=["another tag", "a date instead", "nothing", "shorter"],
)
def test_nothing_is_gone_on_with_that_need_not_be_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch, head: dict[str, str], size: int
) -> None:
    Changed.ranges.clear()
    monkeypatch.setattr(Changed, "head", head)
    monkeypatch.setattr(Changed, "size", size)
    with served_by(Changed) as port:
        image = world.register(f"http://127.0.0.1:{port}/disk")
        with world.importer._store.resumable(image) as upload:
            upload.note('"one"')
            upload.write(os.urandom(MIB))
        world.import_all()
    expected = hashlib.sha256(DISK[:size]).hexdigest()
    assert (world.image(image).state, world.image(image).sha256) == ("available", expected)
    assert Changed.ranges == [f"bytes={MIB - 1}-", None]


def test_a_store_that_cannot_begin_a_copy_costs_no_image(
    world: World, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = world.register(url)
    [taken] = world.importer.next()
    with monkeypatch.context() as failing:
        failing.setattr(kept, "resumable", stale)
        world.importer.take(taken)
    assert world.image(image).state == "pending"
    world.importer._under_way[image] = world.account
    world.importer.take(taken)
    assert world.image(image).sha256 == DIGEST
