# SPDX-License-Identifier: Apache-2.0
"""Servers of S3 that cut, change their minds, say nothing, drip or are not there."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from typing import TYPE_CHECKING, NamedTuple

import pytest
from imagestore_world import DIGEST, DISK, MIB
from s3_servers import LOCATION, answering, world_at

from gateway.cloud import images as rules
from gateway.imagestore import pace, progress, s3, sources, taker
from gateway.store import database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


LONG = b"Content-Length: 1000000\r\n\r\n"


class Asked(NamedTuple):
    """What was asked of :func:`breaking`."""

    begin: int
    if_match: str | None


class Version(NamedTuple):
    """An object as it is for one answer, or from then on."""

    tag: str
    data: bytes


@contextlib.contextmanager
def breaking(
    versions: list[Version], most: int, asked: list[Asked], *, heeds: bool = True
) -> Iterator[str]:
    """Serve S3's GetObject of one object, no more than so many bytes in one connection.

    Each answer is of the next version; the last one stays. A server that does not heed conditions
    sends what is asked for of any version.
    """

    def answer(connection: socket.socket) -> None:
        with connection:
            head = connection.recv(65536).decode("latin-1")
            found = re.search(r"(?i)range: bytes=(\d+)-", head)
            wanted = re.search(r"(?i)if-match: (\S+)", head)
            asked.append(Asked(int(found[1]) if found else 0, wanted and wanted[1]))
            tag, data = versions[min(len(asked), len(versions)) - 1]
            if heeds and wanted and wanted[1] != tag:
                connection.sendall(b"HTTP/1.1 412 No\r\nContent-Length: 0\r\n\r\n")
                return
            begin = asked[-1].begin
            span = f"Content-Range: bytes {begin}-{len(data) - 1}/{len(data)}\r\n"
            told = f"HTTP/1.1 {'206 Partial Content' if found else '200 OK'}\r\n"
            told += f"Content-Length: {len(data) - begin}\r\n{span if found else ''}"
            told += f"ETag: {tag}\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n"
            with contextlib.suppress(OSError):
                connection.sendall(told.encode() + data[begin : begin + most])

    with answering(answer) as url:
        yield url


def test_a_server_that_cuts_every_answer_is_asked_for_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taker, "_PAUSE", 0.0)
    asked: list[Asked] = []
    with breaking([Version('"one"', DISK)], MIB, asked) as url:
        world = world_at(tmp_path / "world", url)
        image = world.register(LOCATION)
        world.import_all()
    assert (world.image(image).state, world.image(image).sha256) == ("available", DIGEST)
    rest = [Asked(begin * MIB, '"one"') for begin in range(1, 1 + len(DISK) // MIB)]
    assert asked == [Asked(0, None), *rest]


@pytest.mark.parametrize("heeds", [True, False], ids=["heeds", "ignores"])
def test_an_object_that_is_replaced_in_the_middle_is_never_half_and_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heeds: bool
) -> None:
    monkeypatch.setattr(taker, "_PAUSE", 0.0)
    asked: list[Asked] = []
    both = [Version('"one"', DISK[:512].ljust(len(DISK), b"\0")), Version('"two"', DISK)]
    with breaking(both, 3 * len(DISK) // 4, asked, heeds=heeds) as url:
        world = world_at(tmp_path / "world", url)
        image = world.register(LOCATION)
        world.import_all()
    assert (world.image(image).state, world.image(image).sha256) == ("available", DIGEST)
    assert asked[1] == Asked(2 * MIB, '"one"')


def test_a_connection_that_the_server_may_have_closed_is_not_used_again(tmp_path: Path) -> None:
    came: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            if came:
                head = f'HTTP/1.1 200 OK\r\nContent-Length: {len(DISK)}\r\nETag: "two"\r\n'
                head += "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n"
                connection.sendall(head.encode() + DISK)
            else:
                connection.sendall(b"HTTP/1.1 412 No\r\nContent-Length: 0\r\n\r\n")
                connection.settimeout(30)
                came.append(connection.recv(65536))

    with answering(answer) as url:
        options = world_at(tmp_path / "world", url).settings.image_source_options
        here = sources.Part(MIB, '"one"')
        with sources.opened(LOCATION, sources.ANYTHING, here, options) as anew:
            assert b"".join(anew.chunks(float("inf"))) == DISK
    assert came == [b""]


def test_nothing_is_gone_on_with_by_a_weak_tag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taker, "_PAUSE", 0.0)
    asked: list[Asked] = []
    both = [Version('W/"same"', DISK[:512].ljust(len(DISK), b"\0")), Version('W/"same"', DISK)]
    with breaking(both, 3 * len(DISK) // 4, asked, heeds=False) as url:
        world = world_at(tmp_path / "world", url)
        image = world.register(LOCATION)
        world.import_all()
        assert (world.image(image).state, world.image(image).sha256) == ("failed", None)
        assert asked == 3 * [Asked(0, None)]
        # Nor is what an earlier release has noted.
        here = sources.Part(MIB, 'W/"same"')
        options = world.settings.image_source_options
        with sources.opened(LOCATION, sources.ANYTHING, here, options) as anew:
            assert anew.begin == 0
    assert asked[-1] == Asked(0, None)


@contextlib.contextmanager
def silent(on_request: Callable[[], None]) -> Iterator[str]:
    """Accept requests, and answer none."""
    held: list[socket.socket] = []

    def answer(connection: socket.socket) -> None:
        held.append(connection)
        connection.recv(65536)
        on_request()

    with answering(answer) as url:
        yield url
    for connection in held:
        connection.close()


def give_up_after(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    client = {"read_timeout": f"{round(1000 * seconds)}ms"}
    manner = s3.READING._replace(client=s3.READING.client | client)
    monkeypatch.setattr(s3, "READING", manner)
    monkeypatch.setattr(taker, "_PAUSE", 0.0)


def test_a_server_that_says_nothing_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_up_after(monkeypatch, 0.1)
    asked: list[int] = []
    with silent(lambda: asked.append(1)) as url:
        world = world_at(tmp_path / "world", url)
        image = world.register(LOCATION)
        world.import_all()
    told = "The image's bucket cannot be read. It was tried 3 times."
    assert (world.image(image).state_reason, len(asked)) == (told, 3)


def test_nobody_waits_for_a_silent_server_once_the_image_is_not_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_up_after(monkeypatch, 0.1)
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    asked: list[int] = []

    def deregister() -> None:
        asked.append(1)
        with database.writing(world.engine) as db:
            rules.deregister(db, world.account, image)

    with silent(deregister) as url:
        world = world_at(tmp_path / "world", url)
        image = world.register(LOCATION)
        world.import_all()
    assert len(asked) == 1


def test_a_server_that_drips_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_up_after(monkeypatch, 30)
    monkeypatch.setattr(pace, "GRACE", 0.2)
    done = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            head = b'HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\nETag: "one"\r\n'
            connection.sendall(head + b"Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n")
            while not done.wait(0.02):
                connection.sendall(b"x")

    with answering(drip) as url:
        world = world_at(tmp_path / "world", url)
        image = world.register(LOCATION)
        world.import_all()
        done.set()
    assert "too slow" in str(world.image(image).state_reason)


@pytest.mark.parametrize("status", ["403 Forbidden", "500 Broken", "200 OK"])
def test_what_is_no_object_does_not_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    monkeypatch.setattr(s3, "ANSWER", 0.2)
    monkeypatch.setattr(taker, "_PAUSE", 0.0)
    done = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(f"HTTP/1.1 {status}\r\n".encode())
            # Of what is well no header ends, of what is not the body does not.
            connection.sendall(b"X: " if status.startswith("200") else LONG)
            while not done.wait(0.02):
                connection.sendall(b"x")

    with answering(drip) as url:
        world = world_at(tmp_path / "world", url)
        image = world.register(LOCATION)
        world.import_all()
        done.set()
    told = "The image's bucket cannot be read. It was tried 3 times."
    assert world.image(image).state_reason == told


def test_a_server_that_is_not_there_is_tried_three_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taker, "_PAUSE", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    world = world_at(tmp_path / "world", url)
    image = world.register(LOCATION)
    world.import_all()
    told = "The image's bucket cannot be read. It was tried 3 times."
    assert world.image(image).state_reason == told
