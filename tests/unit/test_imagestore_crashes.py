# SPDX-License-Identifier: Apache-2.0
"""An importer that is killed at any step of an import, and a store that is full.

The killed process is the importer itself, with one function that ends it as `kill -9` does, before
the step or after it. Nothing is torn under a final name, and the next importer ends the work.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import inotify_simple
import pytest
from foreign_disks import MALICIOUS, OUTSIDE, convert
from imagestore_world import DIGEST, DISK, MIB, World, begin_import, find_import, now
from test_imagestore_images import REFUSED

from gateway.imagestore.importer import Importer
from gateway.imagestore.store import DIGEST as FINAL_NAME
from gateway.imagestore.store import DirectoryStore
from gateway.store import captures, database, images
from gateway.store.captures import Capture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.store.images import Image

pytestmark = pytest.mark.skipif(
    shutil.which("qemu-img") is None, reason="the program qemu-img is missing"
)

KILLED = """
import functools, importlib, os, signal, sys
from gateway.imagestore import importer
module, path, when = sys.argv[1:]
owner = importlib.import_module(module)
*classes, name = path.split(".")
for each in classes:
    owner = getattr(owner, each)
step = getattr(owner, name)

@functools.wraps(step)
def dies(*given, **named):
    if when == "after":
        step(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, name, dies)
importer.main()
"""

# Where the process is killed, and whether the image is there by then.
STEPS = {
    "before the copy": ("gateway.imagestore.taker", "Taker._fetch", "before", False),
    "in the copy": ("gateway.imagestore.store", "DirectoryUpload.write", "after", False),
    "after the copy": ("gateway.imagestore.taker", "Taker._fetch", "after", False),
    "in the conversion": ("gateway.imagestore.qemu_img", "_follow", "before", False),
    "after the conversion": ("gateway.imagestore.qemu_img", "QemuImg.convert", "after", False),
    "in the look": ("gateway.imagestore.taker", "inspect", "before", False),
    "after the look": ("gateway.imagestore.taker", "inspect", "after", False),
    "at the checksum": ("gateway.imagestore.store", "DirectoryUpload.digest", "after", False),
    "before it has its name": ("gateway.imagestore.store", "DirectoryUpload.flush", "after", False),
    "when it has its name": ("gateway.imagestore.store", "DirectoryUpload.commit", "after", False),
    "in the transaction": ("gateway.cloud.image_imports", "complete", "after", False),
    "after the transaction": ("gateway.imagestore.importer", "Importer._imported", "after", True),
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a disk that has to be converted."""
    return convert(DISK, tmp_path_factory.mktemp("disk") / "disk", "vmdk")


def check_store(world: World) -> None:
    """Fail where a file has a final name and other bytes than that says."""
    for path in world.settings.image_dir.iterdir():
        if FINAL_NAME.fullmatch(path.name):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


@pytest.mark.parametrize("step", STEPS)
def test_an_importer_killed_at_any_step_leaves_work_for_the_next_and_nothing_torn(
    world: World, disk: bytes, step: str
) -> None:
    begun = begin_import(world, str(world.file(disk)))
    there = kill(world, STEPS[step])
    assert world.image(begun.image_id).state == ("available" if there else "pending")
    go_on(world)
    image = world.image(begun.image_id)
    assert (image.state, find_import(world, begun.id).state) == ("available", "completed")
    assert world.files() == {image.sha256}, "the bytes are there once, and nothing else is"


def kill(world: World, step: tuple[str, str, str, bool]) -> bool:
    """Let an importer begin and be killed; return whether the image shall be there then."""
    module, path, when, there = step
    variables = {
        "CONDOR_CLOUD_STATE_DIR": str(world.settings.state_dir),
        "CONDOR_CLOUD_CACHE_DIR": str(world.settings.cache_dir),
        "CONDOR_CLOUD_IMAGE_SOURCES": world.settings.image_sources,
    }
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, module, path, when],
        env=os.environ | variables,
        timeout=120,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    check_store(world)
    return there


def go_on(world: World) -> None:
    """Let the next importer do what there is."""
    world.importer = Importer(world.settings, world.engine)
    world.importer._store.sweep()
    world.import_all()
    world.importer.end_captures()
    world.importer.remove_unneeded()
    check_store(world)


# The same of an image that is made of a stopped instance's disk and of what that stands on.
STORED_STEPS = {
    name: STEPS[name]
    for name in (
        *("in the conversion", "after the conversion", "in the look", "at the checksum"),
        *("before it has its name", "when it has its name", "after the transaction"),
    )
} | {
    "at the header": ("gateway.imagestore.headers", "read_overlay", "after", False),
    "after the check": ("gateway.imagestore.qemu_img", "QemuImg.check_stack", "after", False),
    "after the measuring": ("gateway.imagestore.qemu_img", "QemuImg.measure", "after", False),
    "in the transaction": ("gateway.cloud.images", "imported", "after", False),
}


@pytest.mark.parametrize("step", STORED_STEPS)
def test_an_importer_killed_while_it_makes_an_image_of_a_stored_disk_leaves_work_for_the_next(
    world: World, tmp_path: Path, step: str
) -> None:
    base = world.register(str(world.file()))
    world.import_all()
    image_id, disk = begin_stored(world, world.image(base), tmp_path)
    there = kill(world, STORED_STEPS[step])
    assert world.image(image_id).state == ("available" if there else "pending")
    assert disk in world.files()
    go_on(world)
    image = world.image(image_id)
    assert image.state == "available"
    assert world.files() == {DIGEST, image.sha256}, "what it was made of is gone"


def begin_stored(world: World, base: Image, place: Path) -> tuple[str, str]:
    """Ask for an image of a disk that the store has; return the image's id, the disk's SHA-256."""
    overlay = place / "overlay"
    stands_on = ("-F", "raw", "-b", world.settings.image_dir / DIGEST)
    subprocess.run(["qemu-img", "create", "-f", "qcow2", *stands_on, overlay], check=True)
    data = overlay.read_bytes()
    with DirectoryStore(world.settings.image_dir).upload() as upload:
        upload.write(data)
        digest = upload.commit()
    image = base._replace(
        id="ami-1", name="made", state="pending", sha256=None, source_image_id=base.id
    )
    stopped = Capture(1, image.id, "i-1", 1, "stopped", len(data), digest, now(), stopped=True)
    with database.writing(world.engine) as db:
        images.insert(db, image)
        captures.insert(db, stopped._replace(disk_bytes=base.virtual_size))
    return image.id, digest


def test_a_full_store_fails_the_import_with_that_reason_and_recovers(world: World) -> None:
    first = world.register(str(world.file()))
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, old[1]))
    try:
        world.import_all()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert world.image(first).state == "failed"
    assert "The image store has no room" in str(world.image(first).state_reason)
    assert world.files() == set()
    second = world.register(str(world.file()))
    world.import_all()
    assert (world.image(second).state, world.image(second).sha256) == ("available", DIGEST)


@pytest.fixture
def outside() -> Iterator[Path]:
    """Make a file whose path can stand in a header wherever the corpus' own does."""
    path = Path("/tmp") / uuid4().hex[: len(OUTSIDE) - len("/tmp/")]  # noqa: S108 - see above
    with path.open("xb") as file:
        file.write(DISK[: 2 * MIB])
    path.chmod(0o644)
    yield path
    path.unlink()


def corpus(place: Path, outside: Path) -> Iterator[bytes]:
    """Yield everything malicious that the tests know, naming ``outside``."""
    for data, _ in MALICIOUS.values():
        yield data.replace(OUTSIDE.encode(), str(outside).encode())
    for write, _ in REFUSED.values():
        write(place / "image")
        with (place / "image").open("rb") as file:
            yield file.read(2 * MIB).replace(OUTSIDE.encode(), str(outside).encode())
    # qemu-img writes into the data file that it names, so that is another one of the same length.
    other = outside.with_name(f"{outside.name[:-1]}x")
    for options in (("-u", "-F", "raw", "-b", str(outside)), ("-o", f"data_file={other}")):
        command = ["qemu-img", "create", "-q", "-f", "qcow2", *options, place / "made", "1M"]
        subprocess.run(command, check=True)
        yield (place / "made").read_bytes().replace(bytes(other), bytes(outside))
    other.unlink()


def test_no_image_of_the_corpus_has_a_file_read_that_it_names(
    world: World, tmp_path: Path, outside: Path
) -> None:
    begun = [
        begin_import(world, str(world.file(data, f"disk{number}")))
        for number, data in enumerate(corpus(tmp_path, outside))
    ]
    with inotify_simple.INotify() as watch:
        watch.add_watch(outside, inotify_simple.flags.OPEN | inotify_simple.flags.ACCESS)
        world.import_all()
        assert watch.read(timeout=0) == []
        outside.read_bytes()
        assert watch.read(timeout=0) != [], "it would have been seen"
    assert {find_import(world, one.id).state for one in begun} == {"deleted"}
    assert world.files() == set()
