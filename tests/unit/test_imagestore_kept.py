# SPDX-License-Identifier: Apache-2.0
"""`condor-cloud image add` that is cut: the same again goes on where it was."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, ClassVar

import pytest
from imagestore_world import DIGEST, DISK, MIB, Seen, Serving, World, served_by, serving

from gateway.cloud import images as rules
from gateway.imagestore import importer, kept, taker
from gateway.imagestore.importer import add_file
from gateway.imagestore.taker import ImportFailedError, Nobody

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    shutil.which("qemu-img") is None, reason="the program qemu-img is missing"
)

# The command, which dies as by `kill -9` when it has written its second piece.
KILLED = """
import os, signal
from gateway.cli import main
from gateway.imagestore.uploads import DirectoryUpload
write, pieces = DirectoryUpload.write, []

def dies(self, data):
    write(self, data)
    pieces.append(data)
    if len(pieces) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

DirectoryUpload.write = dies
main()
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def cut(world: World, location: str) -> None:
    """Let a command be killed in the middle of its copy."""
    ended = run(world, location, "-c", KILLED)
    assert ended.returncode == -signal.SIGKILL
    assert len(partials(world)) == 1


def run(world: World, location: str, *program: str) -> subprocess.CompletedProcess[str]:
    variables = {
        "CONDOR_CLOUD_STATE_DIR": str(world.settings.state_dir),
        "CONDOR_CLOUD_CACHE_DIR": str(world.settings.cache_dir),
        "CONDOR_CLOUD_CONFIG": os.devnull,
    }
    words = (*(program or ("-m", "gateway.cli")), "image", "add", location, "--account", "test")
    return subprocess.run(
        [sys.executable, *words],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def partials(world: World) -> list[Path]:
    return list(world.settings.image_dir.glob(".*.partial"))


def add(world: World, location: str, name: str = "disk") -> list[int]:
    """Add an image; return how many bytes were here, as it was told."""
    seen = Seen()
    new = rules.NewImage(name, location)
    _, content = add_file(world.settings, world.account, new, seen)
    assert content.sha256 == DIGEST
    assert world.files() == {DIGEST}
    return [done for done, _ in seen.copies]


def test_a_file_whose_copy_was_killed_is_gone_on_with_by_the_same_command(world: World) -> None:
    file = str(world.file())
    cut(world, file)
    done = run(world, file)
    assert done.returncode == 0, done.stderr
    assert f"sha256 {DIGEST}" in done.stdout
    assert done.stderr.startswith("disk: 2.0 MiB of 3.0 MiB\n")
    assert world.files() == {DIGEST}


@pytest.fixture
def url() -> Iterator[str]:
    with serving() as url:
        yield url


def test_an_address_whose_copy_was_killed_is_asked_for_the_rest(world: World, url: str) -> None:
    cut(world, url)
    [partial] = partials(world)
    here = partial.stat().st_size
    assert here > 0
    done = run(world, url)
    assert done.returncode == 0, done.stderr
    assert f"sha256 {DIGEST}" in done.stdout
    assert Serving.ranges == [None, f"bytes={here - 1}-"]
    assert world.files() == {DIGEST}


def test_another_version_of_an_address_is_copied_from_its_beginning(world: World, url: str) -> None:
    cut(world, url)
    Serving.tag = '"two"'
    assert add(world, url)[0] == 0


def leave(world: World, location: str) -> int:
    """Leave a copy that was cut, without a process; return its length."""
    with world.importer._store.resumable(location) as upload:
        with taker.sources.opened(location, taker.sources.ANYTHING) as source:
            upload.note(str(source.version))
        upload.write(DISK[:MIB])
    return MIB


def test_a_file_that_was_changed_is_copied_from_its_beginning(world: World) -> None:
    file = world.file()
    leave(world, str(file))
    os.utime(file, (0, 0))
    assert add(world, str(file))[0] == 0


def test_what_another_boot_wrote_is_not_trusted(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(world.file())
    leave(world, file)
    (tmp_path / "boot").write_text("another\n")
    monkeypatch.setattr(kept, "_BOOT", tmp_path / "boot")
    assert add(world, file)[0] == 0


def test_a_copy_that_is_here_already_is_only_looked_at(world: World) -> None:
    file = str(world.file())
    with world.importer._store.resumable(file) as upload:
        with taker.sources.opened(file, taker.sources.ANYTHING) as source:
            upload.note(str(source.version))
        upload.write(DISK)
    assert add(world, file)[0] == len(DISK) - 1


def test_two_that_add_the_same_do_not_disturb_each_other(world: World) -> None:
    file = str(world.file())
    with world.importer._store.resumable(file) as first:
        first.note("its version")
        first.write(DISK[:MIB])
        assert add_beside(world, file) == 0
        first.write(DISK[MIB:])
        assert first.digest() == DIGEST
        first.drop()
    assert world.files() == {DIGEST}


def add_beside(world: World, file: str) -> int:
    seen = Seen()
    add_file(world.settings, world.account, rules.NewImage("beside", file), seen)
    return seen.copies[0][0]


def test_an_image_that_is_refused_is_not_kept(world: World) -> None:
    file = str(world.file(b"<html>" * MIB))
    with pytest.raises(ImportFailedError):
        add_file(world.settings, world.account, rules.NewImage("disk", file), Nobody())
    assert world.files() == set()


def test_a_server_that_goes_away_leaves_what_came_for_another_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taker, "_PAUSE", 0.01)

    class Cutting(Serving):
        ranges: ClassVar[list[str | None]] = []

        def do_GET(self) -> None:  # noqa: N802 - http.server's name
            self.send_response(200 if "Range" not in self.headers else 503)
            self.send_header("ETag", '"one"')
            self.send_header("Content-Length", str(len(DISK)))
            self.end_headers()
            self.wfile.write(DISK[:MIB])
            self.close_connection = True

    with served_by(Cutting) as port:
        url = f"http://127.0.0.1:{port}/disk"
        with pytest.raises(ImportFailedError, match="tried 3 times"):
            add_file(world.settings, world.account, rules.NewImage("disk", url), Nobody())
    [partial] = partials(world)
    assert partial.stat().st_size == MIB


def test_a_sweep_keeps_what_may_be_gone_on_with_for_a_day(world: World) -> None:
    leave(world, str(world.file()))
    world.importer._store.sweep()
    [partial] = partials(world)
    old = time.time() - kept.KEPT_SECONDS - 1
    os.utime(partial, (old, old))
    world.importer._store.sweep()
    assert world.files() == set()


def test_what_nobody_has_gone_on_with_for_a_day_goes_while_the_importer_runs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "SWEEP_SECONDS", 0.0)
    leave(world, str(world.file()))
    [partial] = partials(world)
    looks: list[bool] = []

    def wait() -> None:
        looks.append(partial.exists())
        if len(looks) == 2:
            raise KeyboardInterrupt
        old = time.time() - kept.KEPT_SECONDS - 1
        os.utime(partial, (old, old))

    with pytest.raises(KeyboardInterrupt):
        world.importer.run(wait)
    assert looks == [True, False]
    assert world.files() == set()


def test_two_that_add_the_same_and_are_cut_leave_one_that_is_gone_on_with(world: World) -> None:
    file = str(world.file())
    with world.importer._store.resumable(file) as first:
        first.note("its version")
        first.write(DISK[:MIB])
        with world.importer._store.resumable(file) as second:
            second.note("its version")
            second.write(DISK[:MIB])
    assert len(partials(world)) == 1


def test_a_file_that_was_overwritten_and_has_its_time_back_is_copied_anew(world: World) -> None:
    file = world.file(bytes(len(DISK)))
    leave(world, str(file))
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    with file.open("r+b") as written:
        written.write(DISK)
    os.utime(file, ns=times)
    assert add(world, str(file))[0] == 0


def test_a_copy_that_was_killed_before_its_first_byte_begins_anew(world: World, url: str) -> None:
    with world.importer._store.resumable(url) as upload:
        upload.note(Serving.tag)
    assert add(world, url)[0] == 0
    assert Serving.ranges == [None]
