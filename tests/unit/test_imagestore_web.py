# SPDX-License-Identifier: Apache-2.0
"""Images from http addresses, and from servers that go wrong or lead elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
import threading
from typing import TYPE_CHECKING, ClassVar

import pytest
from imagestore_world import DIGEST, DISK, MIB, Handler, World, served_by

from gateway.imagestore import pace, sources, taker, web
from gateway.imagestore.importer import Importer

if TYPE_CHECKING:
    from collections.abc import Iterator
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


@pytest.mark.parametrize("path", ["/disk", "/moved", "/chunked", "/busy-twice", "/cut-once"])
def test_an_address_becomes_an_available_image(world: World, server: str, path: str) -> None:
    image_id = world.register(server + path)
    world.import_all()
    image = world.image(image_id)
    assert (image.state, image.state_reason) == ("available", None)
    assert image.sha256 == DIGEST


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/missing", "server answers 404"),
        ("/unsized", "does not say where the image ends"),
        ("/busy", r"server answers 503 .* tried 3 times"),
        ("/cut", r"ended after 1048576 of \d+ bytes.* tried 3 times"),
        ("/to-a-file", "answers 302"),
        ("/to-the-metadata", r"^The image cannot be fetched from there\.$"),
    ],
)
def test_an_address_that_cannot_be_read_fails_with_the_reason(
    world: World, server: str, path: str, sentence: str
) -> None:
    image_id = world.register(server + path)
    world.import_all()
    image = world.image(image_id)
    assert image.state == "failed"
    assert image.state_reason is not None
    assert re.search(sentence, image.state_reason), image.state_reason
    assert world.files() == set()


def test_a_server_that_is_not_there_is_named_as_the_reason(world: World, server: str) -> None:
    image_id = world.register("http://127.0.0.1:1/disk")
    world.import_all()
    assert "cannot be reached" in (world.image(image_id).state_reason or "")


@pytest.mark.parametrize(
    "address",
    ["http://{server}/disk", "http://localhost:{port}/disk", "http://[::ffff:127.0.0.1]:{port}/"],
)
def test_a_gateway_that_others_reach_fetches_nothing_from_loopback(
    world: World, server: str, address: str
) -> None:
    world.importer = Importer(dataclasses.replace(world.settings, host="192.0.2.1"), world.engine)
    server = server.removeprefix("http://")
    image_id = world.register(address.format(server=server, port=server.partition(":")[2]))
    world.import_all()
    assert world.image(image_id).state_reason == "The image cannot be fetched from there."
    assert Handler.asked == []


def test_a_server_that_drips_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "GRACE", 0.2)
    done = threading.Event()

    class Dripping(Handler):
        def do_GET(self) -> None:  # noqa: N802 - http.server's name
            self.send_response(200)
            self.send_header("Content-Length", str(4 * MIB))
            self.end_headers()
            with contextlib.suppress(OSError):
                while not done.wait(0.02):
                    self.wfile.write(b"x")

    with served_by(Dripping) as port:
        image_id = world.register(f"http://127.0.0.1:{port}/disk")
        world.import_all()
        done.set()
    assert "too slow" in (world.image(image_id).state_reason or "")


def test_a_server_whose_headers_do_not_end_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "ANSWER", 0.2)
    done = threading.Event()

    class Dripping(Handler):
        def do_GET(self) -> None:  # noqa: N802 - http.server's name
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            with contextlib.suppress(OSError):
                while not done.wait(0.02):
                    self.wfile.write(b"x")

    with served_by(Dripping) as port:
        image_id = world.register(f"http://127.0.0.1:{port}/disk")
        world.import_all()
        done.set()
    assert "takes too long" in (world.image(image_id).state_reason or "")


def test_an_import_has_an_end_however_often_it_is_tried(
    world: World, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "longest", lambda _size: -1.0)
    image_id = world.register(server + "/disk")
    world.import_all()
    assert world.image(image_id).state_reason == "The image took too long to arrive."


VERSION = '"one"'


class Cutting(Handler):
    """Cuts every answer after a MiB, and goes on where it is asked to if it is asked well."""

    ranges: ClassVar[list[str | None]] = []
    versions: ClassVar[list[str]] = []

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        asked = self.headers.get("Range")
        self.ranges.append(asked)
        version = self.versions.pop(0) if len(self.versions) > 1 else self.versions[0]
        same = asked is not None and self.headers.get("If-Range") == version
        begin = int(str(asked).removeprefix("bytes=").removesuffix("-")) if same else 0
        self.send_response(206 if same else 200)
        if self.path == "/lies" and same:
            begin += 1
        if same:
            told = f"bytes {begin}-{len(DISK) - 1}/{len(DISK)}"
            self.send_header("Content-Range", told)
        if version:
            self.send_header("ETag", version)
        self.send_header("Content-Length", str(len(DISK) - begin))
        self.end_headers()
        self.wfile.write(DISK[begin : begin + MIB])
        self.close_connection = True


@pytest.fixture
def cutting() -> Iterator[str]:
    Cutting.ranges.clear()
    with served_by(Cutting) as port:
        yield f"http://127.0.0.1:{port}"


def test_a_cut_copy_goes_on_where_it_was_cut(world: World, cutting: str) -> None:
    Cutting.versions[:] = [VERSION]
    image_id = world.register(cutting + "/disk")
    world.import_all()
    assert world.image(image_id).sha256 == DIGEST
    begun = [f"bytes={number * MIB}-" for number in range(1, 4)]
    assert Cutting.ranges == [None, *begun], "each byte came once"


def test_another_version_of_what_was_cut_is_copied_from_its_beginning(
    world: World, cutting: str
) -> None:
    Cutting.versions[:] = ['"old"', VERSION]
    image_id = world.register(cutting + "/disk")
    world.import_all()
    assert world.image(image_id).sha256 == DIGEST
    assert Cutting.ranges[:3] == [None, f"bytes={MIB}-", f"bytes={MIB}-"]


@pytest.mark.parametrize("version", ["", 'W/"weak"'])
def test_what_cannot_be_told_apart_is_not_gone_on_with(
    world: World, cutting: str, version: str
) -> None:
    Cutting.versions[:] = [version]
    image_id = world.register(cutting + "/disk")
    world.import_all()
    assert "the copy was cut" in str(world.image(image_id).state_reason)
    assert Cutting.ranges == [None] * taker.ATTEMPTS
    assert world.files() == set()


def test_a_server_that_sends_another_part_than_was_asked_for_is_given_up(
    world: World, cutting: str
) -> None:
    Cutting.versions[:] = [VERSION]
    image_id = world.register(cutting + "/lies")
    world.import_all()
    assert "another part" in str(world.image(image_id).state_reason)
    assert world.files() == set()
