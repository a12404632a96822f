# SPDX-License-Identifier: Apache-2.0
"""Image stores behind a URL, against an S3 server and a web server in processes of their own."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import http.server
import os
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import s3_servers
from flask import Flask
from imagestore_world import DIGEST, DISK, MIB, World, begin_import, find_import

from gateway.cloud import image_imports
from gateway.cloud import images as rules
from gateway.config import Settings
from gateway.embedded import root
from gateway.imagestore import flattening, pace, progress, s3, stores
from gateway.imagestore.importer import Importer, add_file
from gateway.imagestore.objects import ObjectStore
from gateway.imagestore.qemu_img import QemuImg
from gateway.imagestore.store import DirectoryStore, MissingError, StoreError
from gateway.imagestore.taker import ImportFailedError, Nobody
from gateway.nodelink import delivery
from gateway.store import database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.imagestore.store import ImageStore

BUCKET = "images"
# Of several parts, so that they are put together by the server.
LARGE = os.urandom(MIB) * 40


@pytest.fixture(scope="module", params=s3_servers.SERVERS)
def s3_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with s3_servers.serving(request.param, tmp_path_factory.mktemp("objects"), BUCKET) as url:
        yield url


@pytest.fixture
def settings(s3_url: str, tmp_path: Path) -> Settings:
    """Return settings with a store in the server, under a prefix of its own."""
    options = s3_servers.options(s3_url, tmp_path / "store.toml")
    return Settings(
        state_dir=tmp_path / "state",
        image_store=f"s3://{BUCKET}/{uuid4()}",
        image_store_options=str(options),
    )


@pytest.fixture
def store(settings: Settings) -> ImageStore:
    return stores.of(settings)


def put(store: ImageStore, data: bytes) -> str:
    with store.upload(len(data)) as upload:
        upload.write(data)
        upload.flush()
        assert upload.path.read_bytes() == data
        return upload.commit()


@pytest.mark.parametrize("data", [b"", b"x", DISK, LARGE], ids=["none", "one", "disk", "large"])
def test_a_file_is_found_under_the_checksum_of_its_bytes(store: ImageStore, data: bytes) -> None:
    digest = put(store, data)
    assert digest == hashlib.sha256(data).hexdigest()
    assert store.digests() == {digest}
    assert store.size(digest) == len(data)
    with store.open(digest) as file:
        assert file.read() == data
    for begin in {0, len(data) // 2, len(data)}:
        assert b"".join(store.chunks(digest, begin)) == data[begin:]
    assert put(store, data) == digest
    store.delete(digest)
    store.delete(digest)
    assert store.digests() == set()
    with pytest.raises(MissingError):
        store.size(digest)
    with pytest.raises(MissingError):
        store.open(digest)


def test_an_open_file_is_one_that_a_program_can_read(store: ImageStore, settings: Settings) -> None:
    with store.open(put(store, DISK)) as file:
        found = subprocess.run(["cat"], stdin=file, capture_output=True, check=True).stdout
    assert found == DISK
    assert not list(settings.state_dir.rglob("*.partial"))


def test_who_does_not_want_a_file_any_more_does_not_wait_for_all_of_it(
    store: ImageStore, settings: Settings
) -> None:
    digest, asked = put(store, LARGE), []

    def fetching() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.open(digest, fetching)
    assert len(asked) == 2
    assert not list(settings.state_dir.rglob("*.partial"))


def test_nothing_of_a_file_is_there_that_is_not_wanted_on_its_way(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_LOOK", 60.0)  # only the pieces are told of
    given: list[int] = []

    def stored(size: int) -> None:
        given.append(size)
        if len(given) == 30:
            raise KeyboardInterrupt

    with store.upload(len(LARGE)) as upload:
        upload.write(LARGE)
        with pytest.raises(KeyboardInterrupt):
            upload.commit(stored)
        assert given == [MIB * (place + 1) for place in range(30)]
        assert store.digests() == set()
        assert upload.commit() in store.digests()


def test_a_store_that_drips_is_given_up(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = put(store, LARGE)
    monkeypatch.setattr(pace, "GRACE", -1.0)
    monkeypatch.setattr(pace, "SLOWEST", 2**60)
    with pytest.raises(StoreError, match="too slow"):
        store.open(digest)


def test_a_store_that_has_not_all_that_it_was_given_is_told_of(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = iter([0, len(DISK) - 1])
    monkeypatch.setattr(ObjectStore, "size", lambda *_: next(sizes))
    with pytest.raises(StoreError, match="of the 3146240 bytes that it was given"):
        put(store, DISK)


def test_a_file_on_its_way_keeps_nobody_else_waiting(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "world").mkdir()
    world = World(tmp_path / "world")
    world.settings = dataclasses.replace(
        world.settings,
        image_store=settings.image_store,
        image_store_options=settings.image_store_options,
    )
    world.importer = Importer(world.settings, world.engine)
    task = begin_import(world, str(world.file()))
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    seen: list[str | None] = []
    told = progress.TaskWatcher.stored

    def stored(watcher: progress.TaskWatcher, percent: float) -> None:
        told(watcher, percent)
        seen.append(find_import(world, task.id).status_message)
        world.importer.remove_unneeded()
        with database.writing(world.engine) as db:
            image_imports.cancel(db, world.account, task.id)

    monkeypatch.setattr(progress.TaskWatcher, "stored", stored)
    [image] = world.importer.next()
    world.importer.take(image)
    assert seen == ["storing"]
    assert stores.of(world.settings).digests() == set()
    assert world.image(task.image_id).state != "available"


def test_a_stopped_disk_in_it_becomes_an_image(
    store: ImageStore, settings: Settings, tmp_path: Path
) -> None:
    base, overlay = tmp_path / "base", tmp_path / "overlay"
    base.write_bytes(DISK)
    stands_on = ("-F", "raw", "-b", base)
    subprocess.run(["qemu-img", "create", "-f", "qcow2", *stands_on, overlay], check=True)
    below, above = put(store, DISK), put(store, overlay.read_bytes())
    size = overlay.stat().st_size
    disk = flattening.StoredDisk(above, size, len(DISK), below, "raw")
    qemu_img = QemuImg(root.path(settings.cache_dir))
    told: list[float] = []
    with flattening.whole(
        disk, store=store, qemu_img=qemu_img, limit=2**30, tell=told.append
    ) as made:
        command = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", made.path, tmp_path / "read"]
        subprocess.run(command, check=True)
        assert made.commit() in store.digests()
    assert (tmp_path / "read").read_bytes() == DISK
    assert told[-1] == 100.0
    assert not list(settings.state_dir.rglob("*.partial"))


def test_other_bytes_than_a_files_name_says_are_not_given_out(
    store: ImageStore, settings: Settings, s3_url: str
) -> None:
    digest = put(store, DISK)
    prefix = settings.image_store.rpartition("/")[2]
    changed = DISK[::-1]
    s3_servers.client(s3_url).put_object(Bucket=BUCKET, Key=f"{prefix}/{digest}", Body=changed)
    with pytest.raises(StoreError, match="gives other bytes"):
        store.open(digest)


def test_nothing_is_in_the_store_before_the_checksum_is_known(
    store: ImageStore, settings: Settings
) -> None:
    with store.upload() as upload:
        upload.write(DISK)
        upload.flush()
        assert store.digests() == set()
    assert store.digests() == set()
    assert list(settings.image_dir.glob("*.partial")) == []


@pytest.mark.parametrize("s3_url", ["rclone"], indirect=True)
@pytest.mark.parametrize("wrong", ['secret_access_key = "wrong"', 'access_key_id = "nobody"'])
def test_keys_that_open_nothing_are_told_in_a_sentence(
    settings: Settings, s3_url: str, wrong: str
) -> None:
    right = {"access_key_id": "key", "secret_access_key": "secret", "endpoint": s3_url}
    name, _, value = wrong.partition(" = ")
    given = {name: f'"{text}"' for name, text in right.items()} | {name: value}
    lines = "".join(f"{name} = {value}\n" for name, value in given.items())
    Path(settings.image_store_options).write_text(lines)
    with pytest.raises(StoreError) as caught:
        put(stores.of(settings), DISK)
    assert str(caught.value) == "The image store does not let the gateway in."


def test_a_store_that_is_away_is_told_of_in_a_sentence(tmp_path: Path) -> None:
    options = tmp_path / "store.toml"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    options.write_text(f'endpoint = "http://127.0.0.1:{port}"\nskip_signature = true\n')
    broken = stores.of(
        Settings(
            state_dir=tmp_path,
            image_store=f"s3://{BUCKET}",
            image_store_options=str(options),
        )
    )
    with pytest.raises(StoreError, match="does not answer as it should") as caught:
        broken.size(DIGEST)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "options", "sentence"),
    [
        ("ftp://host/x", "", "neither a directory nor a URL"),
        ("relative/path", "", "neither a directory nor a URL"),
        ("s3:///x", "", "neither a directory nor a URL"),
        ("s3://bucket", "colour = 1", "no option named colour"),
        ("s3://bucket", "= 1", "cannot be used"),
    ],
)
def test_settings_that_name_no_store_are_refused(
    tmp_path: Path, url: str, options: str, sentence: str
) -> None:
    file = tmp_path / "store.toml"
    file.write_text(options)
    with pytest.raises(StoreError, match=sentence):
        stores.of(Settings(state_dir=tmp_path, image_store=url, image_store_options=str(file)))


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_directory_elsewhere_is_a_store_too(tmp_path: Path, form: str) -> None:
    url = form.format(tmp_path / "elsewhere")
    found = stores.of(Settings(state_dir=tmp_path, image_store=url))
    assert isinstance(found, DirectoryStore)
    put(found, DISK)
    assert (tmp_path / "elsewhere" / DIGEST).read_bytes() == DISK


@pytest.mark.parametrize("begin", [None, 0, 1, MIB + 1, len(DISK) - 1])
def test_a_node_gets_an_image_from_the_byte_on_that_it_asks_for(
    store: ImageStore, begin: int | None
) -> None:
    put(store, DISK)
    headers = {} if begin is None else {"Range": f"bytes={begin}-"}
    with Flask("test").test_request_context(headers=headers):
        answer = delivery.send(store, DIGEST)
        assert answer.get_data() == DISK[begin or 0 :]
        assert answer.content_length == len(DISK) - (begin or 0)
        assert answer.status_code == (206 if begin else 200)
        if begin:
            told = f"bytes {begin}-{len(DISK) - 1}/{len(DISK)}"
            assert answer.headers["Content-Range"] == told


def test_images_are_taken_into_the_store_and_removed_from_it(
    settings: Settings, tmp_path: Path
) -> None:
    world = World(tmp_path / "world") if (tmp_path / "world").mkdir() is None else None
    assert world is not None
    away = dataclasses.replace(
        world.settings,
        image_store=settings.image_store,
        image_store_options=settings.image_store_options,
    )
    world.importer = Importer(away, world.engine)
    image_id = world.register(str(world.file()))
    world.import_all()
    image = world.image(image_id)
    assert (image.state, image.sha256) == ("available", DIGEST)
    assert stores.of(away).digests() == {DIGEST}
    assert world.files() == set()
    with database.writing(world.engine) as db:
        rules.deregister(db, world.account, image_id)
    world.importer.remove_unneeded()
    assert stores.of(away).digests() == set()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    served = tmp_path / "served"
    served.mkdir()
    (served / DIGEST).write_bytes(DISK)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    handler = functools.partial(Quiet, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_web_server_is_a_store_that_is_only_read(web: str, tmp_path: Path) -> None:
    place = tmp_path / "world"
    place.mkdir()
    world = World(place)
    settings = dataclasses.replace(world.settings, image_store=web)
    store = stores.of(settings)
    assert store.size(DIGEST) == len(DISK)
    with store.open(DIGEST) as file:
        assert file.read() == DISK
    # It knows nothing of ranges.
    assert b"".join(store.chunks(DIGEST, MIB + 1)) == DISK[MIB + 1 :]
    assert store.digests() == set(), "nothing in it is ours to delete"
    made, _ = add_file(
        settings, world.account, rules.NewImage("there", str(world.file())), Nobody()
    )
    assert made.state == "available"
    other = world.file(DISK + b"more", "other")
    with pytest.raises(ImportFailedError, match="is only read"):
        add_file(settings, world.account, rules.NewImage("other", str(other)), Nobody())
