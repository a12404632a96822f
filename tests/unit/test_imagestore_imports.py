# SPDX-License-Identifier: Apache-2.0
"""Disks of other programs become images, once, and bad ones never."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
from foreign_disks import MALICIOUS, convert, ova, ovf
from imagestore_world import (
    DISK,
    MIB,
    PATIENCE,
    Handler,
    World,
    begin_import,
    find_import,
    now,
    served_by,
)

from gateway.cloud import image_imports
from gateway.cloud import images as image_rules
from gateway.imagestore import progress, qemu_img
from gateway.store import database, import_tasks

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.skipif(
    shutil.which("qemu-img") is None, reason="the program qemu-img is missing"
)
# A vhd's size is a whole number of cylinders.
WHOLE = DISK[:510] + b"\x55\xaa" + bytes(8 * MIB - 512)
FORMATS = {
    "vmdk": ("vmdk", ()),
    "streamed vmdk": ("vmdk", ("-o", "subformat=streamOptimized")),
    "vhd": ("vpc", ("-o", "force_size=on")),
    "fixed vhd": ("vpc", ("-o", "subformat=fixed,force_size=on")),
    "vhdx": ("vhdx", ()),
    "qcow2": ("qcow2", ()),
    "raw": ("raw", ()),
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("name", FORMATS)
def test_a_disk_of_another_program_becomes_an_image_of_the_same_bytes(
    world: World, tmp_path: Path, name: str
) -> None:
    driver, options = FORMATS[name]
    begun = begin_import(
        world, str(world.file(convert(WHOLE, tmp_path / "disk", driver, *options)))
    )
    world.import_all()
    done = find_import(world, begun.id)
    assert (done.state, done.progress, done.status_message) == ("completed", 100, None)
    image = world.image(begun.image_id)
    assert (image.state, image.name) == ("available", begun.id)
    assert image.format == ("raw" if driver == "raw" else "qcow2")
    assert image.virtual_size == len(WHOLE)
    stored = world.settings.image_dir / str(image.sha256)
    raw = tmp_path / "raw"
    raw.write_bytes(WHOLE)
    compared = ["qemu-img", "compare", "-f", "raw", "-F", str(image.format), raw, stored]
    subprocess.run(compared, check=True, capture_output=True)
    assert world.files() == {image.sha256}, "the converted file alone is kept"


def test_a_conversion_needs_little_of_the_address_space_that_it_has(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How many threads qemu-img has depends on what else the machine does, but not what they need.
    monkeypatch.setattr(qemu_img, "MEMORY", 400 * MIB)
    disk = convert(DISK * 2, tmp_path / "disk", "vmdk")
    begun = [begin_import(world, str(world.file(disk, f"disk{number}"))) for number in range(4)]
    world.import_all()
    assert [find_import(world, one.id).status_message for one in begun] == [None] * 4


def test_the_first_disk_of_an_ova_becomes_an_image(world: World, tmp_path: Path) -> None:
    disk = convert(WHOLE, tmp_path / "disk", "vmdk", "-o", "subformat=streamOptimized")
    packed = ova({"a.ovf": ovf(), "a.mf": b"sums", "other.vmdk": b"x", "disk.vmdk": disk})
    begun = begin_import(world, str(world.file(packed)), "ova")
    world.import_all()
    assert find_import(world, begun.id).state == "completed"
    assert world.image(begun.image_id).virtual_size == len(WHOLE)


@pytest.mark.parametrize("name", MALICIOUS)
def test_a_disk_that_names_other_files_or_is_broken_is_refused_with_what_is_the_matter(
    world: World, name: str
) -> None:
    data, sentence = MALICIOUS[name]
    begun = begin_import(world, str(world.file(data)))
    world.import_all()
    failed, image = find_import(world, begun.id), world.image(begun.image_id)
    assert (failed.state, image.state) == ("deleted", "failed")
    assert any(part in str(image.state_reason) for part in sentence.split("|")), image.state_reason
    assert failed.status_message == f"ClientError: {image.state_reason}"
    assert world.files() == set()


def test_a_format_that_the_file_does_not_have_is_refused(world: World) -> None:
    begun = begin_import(world, str(world.file()), "vmdk")
    world.import_all()
    told = find_import(world, begun.id).status_message
    assert told == "ClientError: The image is said to be vmdk and has the format raw."


def test_a_cancelled_task_stops_and_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    copied, go_on = threading.Event(), threading.Event()

    class Slow(Handler):
        def do_GET(self) -> None:  # noqa: N802 - http.server's name
            self.send_response(200)
            self.send_header("Content-Length", str(len(DISK)))
            self.end_headers()
            self.wfile.write(DISK[: 2 * MIB])
            copied.set()
            go_on.wait(PATIENCE)
            self.wfile.write(DISK[2 * MIB :])

    with served_by(Slow) as port:
        begun = begin_import(world, f"http://127.0.0.1:{port}/disk")
        working = threading.Thread(target=world.import_all)
        working.start()
        assert copied.wait(PATIENCE)
        with database.writing(world.engine) as db:
            assert image_imports.cancel(db, world.account, begun.id) == ("active", "deleting")
        world.importer.end_tasks()
        assert find_import(world, begun.id).state == "deleting", "somebody works on it yet"
        # The importer's loop ends cancelled tasks before it begins anything.
        with database.writing(world.engine) as db:
            image_rules.images.update_deregistered(db, begun.image_id)
        go_on.set()
        working.join()
    world.importer.end_tasks()
    ended = find_import(world, begun.id)
    assert (ended.state, ended.status_message) == ("deleted", "The import was cancelled.")
    assert world.files() == set()


# A fixed vhd's mark is at its end: without it, and in an OVA, it is a raw disk.
@pytest.mark.parametrize(
    ("name", "said"),
    [
        *(("vmdk", "vmdk"), ("vmdk", "ova"), ("streamed vmdk", "vmdk"), ("streamed vmdk", "ova")),
        *(("vhd", "vhd"), ("vhd", "ova"), ("fixed vhd", "vhd"), ("vhdx", "vhdx"), ("vhdx", "ova")),
        *(("qcow2", "qcow2"), ("qcow2", "ova")),
    ],
)
def test_a_disk_that_was_cut_is_refused_unless_nothing_of_it_is_missing(
    world: World, tmp_path: Path, name: str, said: str
) -> None:
    driver, options = FORMATS[name]
    disk = WHOLE[: -2 * MIB] + os.urandom(2 * MIB)
    whole = convert(disk, tmp_path / "disk", driver, *options)
    # A qcow2 may end in the middle of its last cluster.
    small = set() if name == "qcow2" else {1, 512, 1024, 40_000}
    ended: set[str] = set()
    for missing in small | {70_000} | {len(whole) * tenths // 10 for tenths in (2, 4, 6, 8)}:
        data = whole[: len(whole) - missing]
        if said == "ova":
            data = ova({"a.ovf": ovf(), "disk.vmdk": data})
        begun = begin_import(world, str(world.file(data)), said)
        world.import_all()
        done = find_import(world, begun.id)
        ended.add(done.state)
        if done.state == "completed":
            stored = world.settings.image_dir / str(world.image(begun.image_id).sha256)
            command = ["qemu-img", "convert", "-O", "raw", stored, tmp_path / "read"]
            subprocess.run(command, check=True)
            assert (tmp_path / "read").read_bytes() == disk, missing
    assert "deleted" in ended


def test_the_last_grain_of_a_vmdk_need_not_be_whole(world: World, tmp_path: Path) -> None:
    disk = WHOLE + os.urandom(4096)
    vmdk = convert(disk, tmp_path / "disk", "vmdk")
    rest = 65536 - 4096  # of the grain, behind the disk's end
    assert vmdk[-rest:] == bytes(rest)
    begun = begin_import(world, str(world.file(vmdk[:-rest])))
    world.import_all()
    stored = world.settings.image_dir / str(world.image(begun.image_id).sha256)
    subprocess.run(["qemu-img", "convert", "-O", "raw", stored, tmp_path / "read"], check=True)
    assert (tmp_path / "read").read_bytes() == disk


@pytest.mark.parametrize(
    "steps",
    [("virtual_size", "measure"), ("measure", "convert"), ("convert", "info"), ("info", "check")],
    ids="-".join,
)
def test_a_task_can_be_cancelled_at_each_step(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    steps: tuple[str, str],
) -> None:
    before, never = steps
    caplog.set_level("INFO")
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    begun = begin_import(world, str(world.file(convert(WHOLE, tmp_path / "disk", "vmdk"))))
    step = getattr(qemu_img.QemuImg, before)

    def cancel(*given: Any) -> Any:
        with database.writing(world.engine) as db:
            image_imports.cancel(db, world.account, begun.id)
        return step(*given)

    monkeypatch.setattr(qemu_img.QemuImg, before, cancel)
    monkeypatch.delattr(qemu_img.QemuImg, never)
    [image] = world.importer.next()
    world.importer.take(image)
    assert caplog.messages == [f"{begun.image_id} is not wanted any more"]
    assert world.files() == set()


def test_a_task_that_nobody_works_on_is_cancelled_at_once(world: World) -> None:
    begun = begin_import(world, str(world.file()))
    with database.writing(world.engine) as db:
        image_imports.cancel(db, world.account, begun.id)
    world.importer.end_tasks()
    world.import_all()
    assert find_import(world, begun.id).state == "deleted"
    assert not world.image(begun.image_id).registered


def test_a_task_whose_image_was_deregistered_ends(world: World) -> None:
    begun = begin_import(world, str(world.file()))
    with database.writing(world.engine) as db:
        image_rules.deregister(db, world.account, begun.image_id)
    world.importer.end_tasks()
    assert "deregistered" in str(find_import(world, begun.id).status_message)


def test_a_task_begins_anew_when_the_importer_died(world: World) -> None:
    begun = begin_import(world, str(world.file()))
    with database.writing(world.engine) as db:
        image_imports.advance(db, begun, "converting", 70.0, 1)
    world.import_all()
    assert find_import(world, begun.id).state == "completed"


def test_old_tasks_are_forgotten_and_their_images_are_not(world: World) -> None:
    begun = begin_import(world, str(world.file()))
    world.import_all()
    old = now() - image_imports.KEPT - image_imports.KEPT
    with database.writing(world.engine) as db:
        import_tasks.update(db, begun.id, "completed", ended_at=old)
    world.importer.end_tasks()
    with database.reading(world.engine) as db:
        assert import_tasks.get(db, begun.id) is None
    assert world.image(begun.image_id).state == "available"


def test_progress_is_told_in_percent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    begun = begin_import(world, str(world.file()))
    watcher = progress.TaskWatcher(world.engine, begun)
    seen = []
    for call in (
        functools.partial(watcher.copied, 0, 200),
        functools.partial(watcher.copied, 100, 200),
        functools.partial(watcher.converted, 0.0),
        functools.partial(watcher.converted, 100.0),
        watcher.inspected,
        functools.partial(watcher.stored, 50.0),
    ):
        call()
        now_at = find_import(world, begun.id)
        seen.append((now_at.status_message, now_at.progress))
    assert seen == [
        ("downloading", 1),
        ("downloading", 25),
        ("converting", 50),
        ("converting", 95),
        ("validating", 95),
        ("storing", 97),
    ]
    assert find_import(world, begun.id).size == 200
