# SPDX-License-Identifier: Apache-2.0
"""The serial console: nothing lost that can be kept, nothing kept without bound."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from execnode_gateway import eventually

from execnode import console
from execnode.link import LinkError, NoSuchError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[console.Console]:
    listening = console.Console(tmp_path / "sock", tmp_path / "log")
    yield listening
    listening.close()


def qemu(place: Path, *chunks: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(place / "sock"))
        for chunk in chunks:
            peer.sendall(chunk)


def seen(listening: console.Console) -> int:
    offset, data = listening.peek()
    return offset + len(data)


def test_everything_is_kept_from_the_first_byte(listening: console.Console, tmp_path: Path) -> None:
    qemu(tmp_path, b"hello ", b"world")
    eventually(lambda: listening.peek() == (0, b"hello world"))
    eventually(lambda: (tmp_path / "log").read_bytes() == b"hello world")


def test_the_end_of_qemu_is_noticed(listening: console.Console, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(tmp_path / "sock"))
        eventually(lambda: not listening.hung_up.is_set())
    assert listening.hung_up.wait(5)


def test_memory_and_file_stay_bounded_and_offsets_true(
    listening: console.Console, tmp_path: Path
) -> None:
    block = bytes(range(256)) * 64
    qemu(tmp_path, *[block] * 40)
    total = 40 * len(block)
    eventually(lambda: seen(listening) == total)
    offset, data = listening.peek()
    assert (offset, len(data)) == (total - console.KEPT, console.KEPT)
    eventually(lambda: (tmp_path / "log").read_bytes().endswith(block))
    assert (tmp_path / "log").stat().st_size <= 2 * console.KEPT


def test_a_gateway_that_is_away_gets_the_output_when_it_is_back(
    listening: console.Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "PUSH_SECONDS", 0.05)
    monkeypatch.setattr(console, "RETRY_SECONDS", 0.01)
    tries: list[tuple[int, bytes]] = []

    def push(offset: int, data: bytes) -> None:
        tries.append((offset, data))
        if len(tries) < 3:
            raise LinkError("away")

    pusher = console.Pusher(listening, push)
    qemu(tmp_path, b"boot")
    eventually(lambda: len(tries) == 3)
    assert tries[-1] == (0, b"boot")
    qemu(tmp_path, b"ed")
    eventually(lambda: len(tries) == 4)
    assert tries[-1] == (4, b"ed")
    pusher.close(5)


def test_closing_passes_on_what_is_left(listening: console.Console, tmp_path: Path) -> None:
    pushed: list[bytes] = []
    pusher = console.Pusher(listening, lambda _offset, data: pushed.append(data))
    qemu(tmp_path, b"last words")
    eventually(lambda: seen(listening) == 10)
    pusher.close(5)
    assert b"".join(pushed) == b"last words"


def test_a_gateway_that_wants_no_more_is_not_asked_again(
    listening: console.Console, tmp_path: Path
) -> None:
    tries: list[int] = []

    def push(offset: int, _data: bytes) -> None:
        tries.append(offset)
        raise NoSuchError("gone")

    pusher = console.Pusher(listening, push)
    qemu(tmp_path, b"x")
    eventually(lambda: tries)
    pusher.close(5)
    assert tries == [0]
