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
from gateway.imagestore import progress, s3, sources, taker
from gateway.store import database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Asked(NamedTuple):
    """What was asked of :func:`breaking`."""

    begin: int
    if_match: str | None


@contextlib.contextmanager
def breaking(
    versions: dict[str, bytes], most: int, asked: list[Asked], *, weak: str = ""
) -> Iterator[str]:
    """Serve S3's GetObject of one object that is another one after the first answer.

    No more than so many bytes of it in one connection. `versions` are by ETag; the last one stays.
    With `weak` every ETag is that one, and nothing is said of a condition.
    """

    def answer(connection: socket.socket) -> None:
        with connection:
            head = connection.recv(65536).decode("latin-1")
            found = re.search(r"(?i)range: bytes=(\d+)-", head)
            wanted = re.search(r"(?i)if-match: (\S+)", head)
            asked.append(Asked(int(found[1]) if found else 0, wanted and wanted[1]))
            tag = list(versions)[min(len(asked), len(versions)) - 1]
            data, begin = versions[tag], asked[-1].begin
            if wanted and wanted[1] != tag and not weak:
                connection.sendall(b"HTTP/1.1 412 No\r\nContent-Length: 0\r\n\r\n")
                return
            span = f"Content-Range: bytes {begin}-{len(data) - 1}/{len(data)}\r\n"
            told = f"HTTP/1.1 {'206 Partial Content' if found else '200 OK'}\r\n"
            told += f"Content-Length: {len(data) - begin}\r\n{span if found else ''}"
            told += f"ETag: {weak or tag}\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n"
            with contextlib.suppress(OSError):
                connection.sendall(told.encode() + data[begin : begin + most])

    with answering(answer) as url:
        yield url


def test_a_server_that_cuts_every_answer_is_asked_for_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taker, "_PAUSE", 0.0)
    asked: list[Asked] = []
    with breaking({'"one"': DISK}, MIB, asked) as url:
        world = world_at(tmp_path / "world", url)
        image = world.register(LOCATION)
        world.import_all()
    assert (world.image(image).state, world.image(image).sha256) == ("available", DIGEST)
    rest = [Asked(begin * MIB, '"one"') for begin in range(1, 1 + len(DISK) // MIB)]
    assert asked == [Asked(0, None), *rest]


@pytest.mark.parametrize("weak", ["", 'W/"same"'], ids=["strong", "weak"])
def test_an_object_that_is_replaced_in_the_middle_is_never_half_and_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weak: str
) -> None:
    monkeypatch.setattr(taker, "_PAUSE", 0.0)
    asked: list[Asked] = []
    before = bytes(len(DISK))
    # The first answer is cut after a third, the others are not.
    with breaking({'"one"': before, '"two"': DISK}, 3 * len(DISK) // 4, asked, weak=weak) as url:
        world = world_at(tmp_path / "world", url)
        image = world.register(LOCATION)
        world.import_all()
    assert world.image(image).sha256 in {None, DIGEST}
    if weak:
        assert {one.begin for one in asked} == {0}
    else:
        assert (world.image(image).state, world.image(image).sha256) == ("available", DIGEST)


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
    manner = s3.READING_ONCE._replace(client=s3.READING_ONCE.client | client)
    monkeypatch.setattr(s3, "READING_ONCE", manner)
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
    monkeypatch.setattr(sources, "_GRACE", 0.2)
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
