# SPDX-License-Identifier: Apache-2.0
"""CreateImage of a stopped instance whose disk is in the store: the importer makes one of two."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from capture_world import described, import_all
from parking_world import World

from gateway.cloud import captures as rules
from gateway.cloud import observed
from gateway.imagestore.store import DirectoryStore
from gateway.store import captures, database, images, instances
from gateway.store.images import Content

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


@pytest.fixture
def world(endpoint: Endpoint, ec2: Any, source: str, overlay: bytearray) -> Iterator[World]:
    made = World(endpoint, ec2, source, bytes(overlay))
    with contextlib.closing(made.first), contextlib.closing(made.second):
        made.park()
        yield made
        end(made)
        import_all(endpoint)
        made.clean()
        assert not made.stored


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


def content(world: World, image_id: str, tmp_path: Path) -> bytes:
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
    assert content(world, made, tmp_path) == GUEST
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
    assert content(world, made, tmp_path) == GUEST


def test_a_disk_that_many_images_are_made_of_is_one_disk(world: World, tmp_path: Path) -> None:
    made = [create(world) for _ in range(3)]
    import_all(world.endpoint)
    assert {content(world, one, tmp_path) for one in made} == {GUEST}


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


def foreign(disk: bytearray) -> None:
    disk[:4] = b"KDMV"


REFUSED = {
    external: "The image has an external data file; only whole images can be used.",
    corrupt: "The image is marked as corrupt; qemu-img check -r all may repair it.",
    petabyte: "are allowed.",
    foreign: "The disk is not in the format qcow2.",
}


@pytest.mark.parametrize("kind", ["raw"], indirect=True)
@pytest.mark.parametrize("spoil", REFUSED)
def test_a_disk_that_a_node_has_spoilt_is_no_image_and_says_why(
    endpoint: Endpoint, ec2: Any, source: str, overlay: bytearray, spoil: Any
) -> None:
    spoil(overlay)
    world = World(endpoint, ec2, source, bytes(overlay))
    with contextlib.closing(world.first), contextlib.closing(world.second):
        world.park()
        made = create(world)
        import_all(endpoint)
        found = described(ec2, made)
        assert found["State"] == "failed"
        assert str(found["StateReason"]["Message"]).endswith(REFUSED[spoil])
        # What cannot be an image is the instance's disk all the same.
        assert (world.instance.state, world.instance.parked) == ("stopped", True)
        end(world)
        world.clean()
