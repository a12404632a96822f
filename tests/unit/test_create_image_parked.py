# SPDX-License-Identifier: Apache-2.0
"""CreateImage of a stopped instance whose disk is in the store: the importer makes one of two."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import struct
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from capture_world import described, import_all
from parking_world import World

from gateway.cloud import captures as rules
from gateway.cloud import observed
from gateway.imagestore import importer as importer_module
from gateway.imagestore import progress
from gateway.imagestore.importer import Importer
from gateway.imagestore.qemu_img import QemuImg
from gateway.imagestore.store import DirectoryStore, DirectoryUpload, StoreFullError
from gateway.store import captures, database, images, instances
from gateway.store.images import Content

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey

MIB = 2**20
RAW = bytes(510) + b"\x55\xaa" + os.urandom(4 * MIB - 512)
WRITTEN = b"\xaa" * 65536
GUEST = RAW[:MIB] + WRITTEN + RAW[MIB + len(WRITTEN) :] + bytes(4 * MIB)
"""What the guest sees: the image but for what it has written, on a larger disk."""


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(params=["raw", "qcow2"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def base(tmp_path: Path, kind: str) -> Path:
    raw = tmp_path / "base.raw"
    raw.write_bytes(RAW)
    run("qemu-img", "convert", "-f", "raw", "-O", kind, raw, tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def overlay(tmp_path: Path, base: Path, kind: str) -> bytearray:
    """What a guest has left, which names a file that it does not stand on here."""
    disk = tmp_path / "overlay"
    run("qemu-img", "create", "-f", "qcow2", "-F", kind, "-b", base, disk, str(len(GUEST)))
    run("qemu-io", "-f", "qcow2", "-c", f"write -P 0xaa {MIB} {len(WRITTEN)}", disk)
    run("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", disk)
    return bytearray(disk.read_bytes())


@pytest.fixture
def source(endpoint: Endpoint, key: AccessKey, base: Path, kind: str) -> str:
    """An image whose bytes the store has."""
    image_id = endpoint.new_image(key.account_id)
    data = base.read_bytes()
    with DirectoryStore(endpoint.settings.image_dir).upload() as upload:
        upload.write(data)
        digest = upload.commit()
    with database.writing(endpoint.database) as db:
        images.update_available(db, image_id, Content(digest, len(data), len(RAW), kind))
    return image_id


@contextlib.contextmanager
def parked(endpoint: Endpoint, ec2: Any, source: str, overlay: bytearray) -> Iterator[World]:
    """Give an instance whose disk the store has; nothing of it is left there in the end."""
    made = World(endpoint, ec2, source, bytes(overlay))
    with database.writing(endpoint.database) as db:
        instances.update_attributes(db, made.id, {"disk_bytes": len(GUEST)})
    with contextlib.closing(made.first), contextlib.closing(made.second):
        made.park()
        yield made
        end(made)
        import_all(endpoint)
        made.clean()
        assert not made.stored


@pytest.fixture
def world(endpoint: Endpoint, ec2: Any, source: str, overlay: bytearray) -> Iterator[World]:
    with parked(endpoint, ec2, source, overlay) as made:
        yield made


def end(world: World) -> None:
    """End the instance, whatever it is at and if it is there at all."""
    with database.reading(world.endpoint.database) as db:
        if instances.get(db, world.id) is None:
            return
    world.ec2.terminate_instances(InstanceIds=[world.id])
    with database.writing(world.endpoint.database) as db:
        instances.update_submission(db, [world.id], "none")
        observed.run_ended(db, world.id, world.instance.run, observed.REMOVED, datetime.now(UTC))


def create(world: World) -> str:
    made = world.ec2.create_image(InstanceId=world.id, Name=str(uuid4()))["ImageId"]
    return str(made)


def content_of(world: World, image_id: str, tmp_path: Path) -> bytes:
    """Return the disk that a guest of an image has."""
    with database.reading(world.endpoint.database) as db:
        image = images.get(db, image_id)
    assert image is not None
    file = world.endpoint.settings.image_dir / str(image.sha256)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == image.sha256
    told = subprocess.run(["qemu-img", "info", file], check=True, capture_output=True, text=True)
    assert "backing" not in told.stdout
    run("qemu-img", "convert", "-f", str(image.format), "-O", "raw", file, tmp_path / "read")
    return (tmp_path / "read").read_bytes()


def test_the_image_has_what_the_guest_has_written_and_what_it_has_not(
    world: World, tmp_path: Path
) -> None:
    made = create(world)
    assert described(world.ec2, made)["State"] == "pending"
    assert all(kind == "remove" for kind, _ in world.errands(world.first))
    import_all(world.endpoint)
    found = described(world.ec2, made)
    assert (found["State"], found["SourceInstanceId"]) == ("available", world.id)
    assert found["StateReason"]["Message"] == rules.NOTES["stopped"]
    assert content_of(world, made, tmp_path) == GUEST
    assert world.instance.parked
    assert world.stored
    with database.reading(world.endpoint.database) as db:
        assert captures.get_by_image(db, made) is None


@pytest.mark.parametrize("then", ["started", "terminated"])
def test_the_image_is_of_the_disk_as_it_was_whatever_becomes_of_the_instance(
    world: World, source: str, tmp_path: Path, then: str
) -> None:
    made = create(world)
    world.ec2.deregister_image(ImageId=source)
    if then == "started":
        world.start()
        world.claim(world.second)
        assert world.taken(world.second) == 200
    end(world)
    with database.writing(world.endpoint.database) as db:
        # As when its hour is over: nobody names the image that it was launched from any more.
        instances.delete(db, [world.id])
    world.clean()
    assert world.stored
    import_all(world.endpoint)
    assert content_of(world, made, tmp_path) == GUEST


def test_a_disk_that_many_images_are_made_of_is_one_disk(world: World, tmp_path: Path) -> None:
    made = [create(world) for _ in range(3)]
    import_all(world.endpoint)
    assert {content_of(world, one, tmp_path) for one in made} == {GUEST}
    with database.reading(world.endpoint.database) as db:
        found = [images.get(db, one) for one in made]
    assert len({one.sha256 for one in found if one is not None}) == 1


def test_a_deregistered_image_keeps_nothing_in_the_store(world: World) -> None:
    made = create(world)
    world.ec2.deregister_image(ImageId=made)
    end(world)
    world.clean()
    assert not world.stored


def external(disk: bytearray) -> None:
    struct.pack_into(">Q", disk, 72, 1 << 2)


def corrupt(disk: bytearray) -> None:
    struct.pack_into(">Q", disk, 72, 1 << 1)


def petabyte(disk: bytearray) -> None:
    struct.pack_into(">Q", disk, 24, 2**50)


def smaller(disk: bytearray) -> None:
    struct.pack_into(">Q", disk, 24, MIB)


def foreign(disk: bytearray) -> None:
    disk[:4] = b"KDMV"


def cut(disk: bytearray) -> None:
    del disk[-2 * 65536 :]


def l1_outside(disk: bytearray) -> None:
    (table,) = struct.unpack_from(">Q", disk, 40)
    struct.pack_into(">Q", disk, table, 2**50 | 1 << 63)


def l2_outside(disk: bytearray) -> None:
    (l1_table,) = struct.unpack_from(">Q", disk, 40)
    (entry,) = struct.unpack_from(">Q", disk, l1_table)
    l2_table = entry & 0x00FFFFFFFFFFFE00
    struct.pack_into(">Q", disk, l2_table + 8 * (MIB // 65536), 2**50 | 1 << 63)


def snapshots(disk: bytearray) -> None:
    struct.pack_into(">IQ", disk, 60, 3, 65536)


def long_name(disk: bytearray) -> None:
    struct.pack_into(">I", disk, 16, 2000)


REFUSED = {
    external: "The image has an external data file; only whole images can be used.",
    corrupt: "The image is marked as corrupt; qemu-img check -r all may repair it.",
    petabyte: "are allowed.",
    smaller: f"The disk has {MIB} bytes, and the instance's had {len(GUEST)}.",
    foreign: "The disk is not in the format qcow2.",
    cut: "The image is damaged or truncated",
    l1_outside: "The image is damaged or truncated",
    l2_outside: "The image is damaged or truncated",
    snapshots: "The image is damaged or truncated: ERROR snapshot table entry 0 is incomplete.",
    long_name: "truncated: Could not open the image: Backing file name too long.",
}


@pytest.mark.parametrize("kind", ["raw"], indirect=True)
@pytest.mark.parametrize("spoil", REFUSED)
def test_a_disk_that_a_node_has_spoilt_is_no_image_and_says_why(
    endpoint: Endpoint, ec2: Any, source: str, overlay: bytearray, spoil: Any
) -> None:
    spoil(overlay)
    with parked(endpoint, ec2, source, overlay) as world:
        made = create(world)
        import_all(endpoint)
        assert REFUSED[spoil] in reason(ec2, made)
        assert "json:" not in reason(ec2, made)
        assert "/proc" not in reason(ec2, made)
        # What cannot be an image is the instance's disk all the same.
        assert (world.instance.state, world.instance.parked) == ("stopped", True)


def reason(ec2: Any, image_id: str) -> str:
    found = described(ec2, image_id)
    assert found["State"] == "failed"
    return str(found["StateReason"]["Message"])


@pytest.mark.parametrize("kind", ["qcow2"], indirect=True)
def test_an_image_below_the_disk_that_names_a_file_does_not_get_it_read(
    endpoint: Endpoint, ec2: Any, source: str, overlay: bytearray, tmp_path: Path
) -> None:
    base = tmp_path / "below"
    # As no import lets one in: it would show another file's bytes where it has none.
    run("qemu-img", "create", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", base, str(len(RAW)))
    with DirectoryStore(endpoint.settings.image_dir).upload() as upload:
        upload.write(base.read_bytes())
        content = Content(upload.commit(), base.stat().st_size, len(RAW), "qcow2")
    with database.writing(endpoint.database) as db:
        images.update_available(db, source, content)
    with parked(endpoint, ec2, source, overlay) as world:
        made = create(world)
        import_all(endpoint)
        assert described(ec2, made)["State"] == "available"
        assert not any(content_of(world, made, tmp_path)[:MIB])


def test_there_is_room_for_the_image_before_it_is_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def refuse(_: DirectoryUpload, expected: int) -> None:
        asked.append(expected)
        raise StoreFullError("The image store has no room.")

    made = create(world)
    monkeypatch.setattr(DirectoryUpload, "reserve", refuse)
    monkeypatch.delattr(QemuImg, "convert")
    import_all(world.endpoint)
    assert reason(world.ec2, made) == "The image store has no room."
    # What is written of it, and not what zeros a disk has beside that.
    assert len(asked) == 1
    assert len(RAW) < asked[0] < len(GUEST)


@pytest.mark.parametrize(
    ("of", "operation"), [(Path, "open"), (os, "statvfs"), (os, "fsync"), (Path, "rename")]
)
def test_a_store_that_fails_for_a_while_costs_no_image(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: Any, operation: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    made = create(world)
    importer = Importer(world.endpoint.settings, world.endpoint.database)
    with monkeypatch.context() as failing:
        failing.setattr(of, operation, fail)
        take(importer, world, made)
        assert described(world.ec2, made)["State"] == "pending"
        assert made not in [one.id for one in importer.next()]
        failing.setattr(importer_module, "PATIENCE", -1.0)
        take(importer, world, made)
        assert reason(world.ec2, made) == "The image store cannot be used: Stale file handle."
    again = create(world)
    with monkeypatch.context() as failing:
        failing.setattr(of, operation, fail)
        take(importer, world, again)
    take(importer, world, again)
    assert content_of(world, again, tmp_path) == GUEST


@pytest.mark.parametrize("which", range(1, 7))
def test_a_store_that_fails_once_costs_no_image_wherever_that_is(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    opened: list[Path] = []
    real = Path.open

    def fail_once(path: Path, *given: Any, **named: Any) -> Any:
        if world.endpoint.settings.image_dir in path.parents:
            opened.append(path)
            if len(opened) == which:
                raise OSError(errno.ESTALE, "Stale file handle")
        return real(path, *given, **named)

    made = create(world)
    importer = Importer(world.endpoint.settings, world.endpoint.database)
    with monkeypatch.context() as failing:
        failing.setattr(Path, "open", fail_once)
        take(importer, world, made)
    assert len(opened) == which
    assert described(world.ec2, made)["State"] == "pending"
    take(importer, world, made)
    assert content_of(world, made, tmp_path) == GUEST


def take(importer: Importer, world: World, image_id: str) -> None:
    with database.reading(world.endpoint.database) as db:
        image = images.get(db, image_id)
    assert image is not None
    importer._under_way[image_id] = image.account_id
    importer.take(image)


@pytest.mark.parametrize(
    ("before", "never"),
    [("check_stack", "measure"), ("measure", "convert"), ("convert", "virtual_size")],
)
def test_an_image_that_is_deregistered_meanwhile_is_not_made(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    before: str,
    never: str,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    made = create(world)
    step = getattr(QemuImg, before)

    def deregister(*given: Any) -> Any:
        world.ec2.deregister_image(ImageId=made)
        return step(*given)

    monkeypatch.setattr(QemuImg, before, deregister)
    monkeypatch.delattr(QemuImg, never)
    monkeypatch.delattr(DirectoryUpload, "commit")
    import_all(world.endpoint)
    with database.reading(world.endpoint.database) as db:
        found = images.get(db, made)
        assert found is None or found.sha256 is None
    assert [text for text in caplog.messages if made in text] == [f"{made} is not wanted any more"]
