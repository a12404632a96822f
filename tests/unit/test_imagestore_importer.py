# SPDX-License-Identifier: Apache-2.0
"""The importer: pending images become available or failed, whatever dies on the way."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from imagestore_world import DIGEST, DISK, MIB, PATIENCE, Handler, Seen, World, now, served_by

from gateway import wake
from gateway.cloud import accounts, quotas
from gateway.cloud import images as rules
from gateway.cloud.errors import Taken
from gateway.imagestore import importer, progress, taker
from gateway.imagestore.importer import Importer, add_file
from gateway.imagestore.taker import ImportFailedError, Nobody
from gateway.store import database, images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


pytestmark = pytest.mark.skipif(
    shutil.which("qemu-img") is None, reason="the program qemu-img is missing"
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def server() -> Iterator[str]:
    Handler.asked.clear()
    with served_by(Handler) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taker, "_PAUSE", 0.01)


def test_a_file_becomes_an_available_image(world: World) -> None:
    image_id = world.register(str(world.file()))
    world.import_all()
    image = world.image(image_id)
    assert (image.state, image.state_reason) == ("available", None)
    assert (image.sha256, image.size, image.format) == (DIGEST, len(DISK), "raw")
    assert image.virtual_size == len(DISK)
    assert world.files() == {DIGEST}


def test_an_account_does_not_keep_others_from_importing(world: World) -> None:
    with database.writing(world.engine) as db:
        other = accounts.ensure_account(db, "other", now()).id
    mine = [world.register(str(world.file())) for _ in range(2 * importer.AT_ONCE)]
    # Alone an account gets all places but one.
    assert [image.id for image in world.importer.next()] == mine[: importer.AT_ONCE - 1]
    theirs = [world.register(str(world.file()), account=other) for _ in range(2)]
    assert [image.id for image in world.importer.next()] == theirs[:1]
    assert world.importer.next() == []


def test_accounts_that_wait_take_turns(world: World) -> None:
    with database.writing(world.engine) as db:
        other = accounts.ensure_account(db, "other", now()).id
    mine = [world.register(str(world.file())) for _ in range(importer.AT_ONCE)]
    theirs = [world.register(str(world.file()), account=other) for _ in range(2)]
    begun = [image.id for image in world.importer.next()]
    assert begun == [mine[0], theirs[0], mine[1], theirs[1]]


def test_an_image_that_is_refused_fails_and_leaves_nothing(world: World) -> None:
    image_id = world.register(str(world.file(b"<html>" * 1000)))
    world.import_all()
    image = world.image(image_id)
    assert image.state == "failed"
    assert "neither qcow2 nor a raw disk" in (image.state_reason or "")
    assert world.files() == set()


def test_a_file_that_is_gone_by_then_fails(world: World) -> None:
    file = world.file()
    image_id = world.register(str(file))
    file.unlink()
    world.import_all()
    assert "No such file" in (world.image(image_id).state_reason or "")


def test_a_link_that_leads_elsewhere_by_then_is_not_followed(world: World, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(DISK)
    file = world.file()
    image_id = world.register(str(file))
    file.unlink()
    file.symlink_to(secret)
    world.import_all()
    image = world.image(image_id)
    assert image.state == "failed"
    assert "where image files may lie" in (image.state_reason or "")
    assert world.files() == set()


def test_what_is_no_file_any_more_is_not_read(world: World) -> None:
    file = world.file()
    image_id = world.register(str(file))
    file.unlink()
    os.mkfifo(file)
    world.import_all()
    assert "is not a file" in (world.image(image_id).state_reason or "")


@pytest.mark.parametrize("path", ["/disk", "/chunked"])
def test_more_bytes_than_are_allowed_are_not_taken(world: World, server: str, path: str) -> None:
    small = dataclasses.replace(world.settings, image_size_limit=MIB)
    world.importer = Importer(small, world.engine)
    image_id = world.register(server + path)
    world.import_all()
    assert "allowed" in (world.image(image_id).state_reason or "")
    assert world.files() == set()


def test_an_image_beyond_the_accounts_quota_of_bytes_fails_and_leaves_nothing(
    world: World,
) -> None:
    with database.writing(world.engine) as db:
        quotas.put(db, world.account, "image-bytes", 2 * len(DISK) - 1)
    taken, refused = (world.register(str(world.file())) for _ in range(2))
    world.import_all()
    assert world.image(taken).state == "available"
    assert world.image(refused).state == "failed"
    assert "would exceed the limit" in (world.image(refused).state_reason or "")
    world.importer.remove_unneeded()
    assert world.files() == {DIGEST}


def test_bytes_go_when_no_image_needs_them_any_more(world: World) -> None:
    first, second = (world.register(str(world.file())) for _ in range(2))
    world.import_all()
    world.importer.remove_unneeded()
    assert world.files() == {DIGEST}
    for image_id, left in ((first, {DIGEST}), (second, set())):
        with database.writing(world.engine) as db:
            rules.deregister(db, world.account, image_id)
        world.importer.remove_unneeded()
        assert world.files() == left


def test_a_file_that_is_written_to_while_it_is_copied_is_not_taken_in_torn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taker, "_PAUSE", 0.0)
    file = world.file()
    times: list[int] = []
    copied = progress.ImageWatcher.copied

    def write_to_it(watcher: progress.ImageWatcher, done: int, total: int | None) -> None:
        copied(watcher, done, total)
        if done == MIB and (len(times) < writes or writes < 0):
            times.append(done)
            os.utime(file, (0, len(times)))

    monkeypatch.setattr(progress.ImageWatcher, "copied", write_to_it)
    writes = 1
    once = world.register(str(file))
    world.import_all()
    assert world.image(once).sha256 == DIGEST
    writes = -1
    always = world.register(str(file))
    world.import_all()
    told = "The image's file was changed while it was copied. It was tried 3 times."
    assert world.image(always).state_reason == told


def test_an_administrator_adds_a_file_at_once_and_sees_progress(
    world: World, tmp_path: Path
) -> None:
    file = tmp_path / "anywhere"
    file.write_bytes(DISK)
    seen = Seen()
    new = rules.NewImage("added", str(file))
    image, content = add_file(world.settings, world.account, new, seen)
    assert (image.state, content.sha256) == ("available", DIGEST)
    assert world.image(image.id) == image
    assert seen.copies[0] == (0, len(DISK))
    assert seen.copies[-1] == (len(DISK), len(DISK))
    assert seen.percents == []
    with pytest.raises(Taken):
        add_file(world.settings, world.account, new, Nobody())


def test_adding_a_bad_file_registers_nothing(world: World) -> None:
    new = rules.NewImage("bad", str(world.file(b"")))
    with pytest.raises(ImportFailedError, match="is empty"):
        add_file(world.settings, world.account, new, Nobody())
    with database.reading(world.engine) as db:
        assert images.select_visible(db, world.account) == []


@pytest.fixture
def process(world: World) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        variables = {
            "CONDOR_CLOUD_STATE_DIR": str(world.settings.state_dir),
            "CONDOR_CLOUD_CACHE_DIR": str(world.settings.cache_dir),
            "CONDOR_CLOUD_IMAGE_SOURCES": world.settings.image_sources,
        }
        command = [sys.executable, "-m", "gateway.imagestore.importer"]
        started.append(subprocess.Popen(command, env=os.environ | variables))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_process_wakes_and_takes_an_image_in(
    world: World, process: Callable[[], subprocess.Popen[bytes]]
) -> None:
    process()
    _until((world.settings.run_dir / "importer.sock").exists)
    image_id = world.register(str(world.file()))
    wake.notify(world.settings, "importer")
    _until(lambda: world.image(image_id).state != "pending")
    assert world.image(image_id).sha256 == DIGEST


def test_a_killed_importer_leaves_the_image_pending_and_the_next_one_takes_it_in(
    world: World, process: Callable[[], subprocess.Popen[bytes]]
) -> None:
    # A pipe's other end decides when the copy goes on: the kill is in the middle of it.
    held = threading.Event()

    class Slow(Handler):
        def do_GET(self) -> None:  # noqa: N802 - http.server's name
            self.send_response(200)
            self.send_header("Content-Length", str(len(DISK)))
            self.end_headers()
            self.wfile.write(DISK[: 2 * MIB])
            held.wait(PATIENCE)

    with served_by(Slow) as port:
        image_id = world.register(f"http://127.0.0.1:{port}/disk")
        first = process()
        partials = functools.partial(world.settings.image_dir.glob, ".*.partial")
        _until(lambda: any(path.stat().st_size > 0 for path in partials()))
        first.kill()
        first.wait()
        assert world.image(image_id).state == "pending"
        assert any(partials())
        with database.writing(world.engine) as db:
            rules.deregister(db, world.account, image_id)
        other = world.register(str(world.file()))
        process()
        _until(lambda: world.image(other).state == "available")
        assert world.files() == {DIGEST}
        held.set()
