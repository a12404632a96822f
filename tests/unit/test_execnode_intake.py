# SPDX-License-Identifier: Apache-2.0
"""What comes is hashed, written and flushed in threads that end with it."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest

from execnode import intake
from execnode.intake import Intake

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BLOCKS = [os.urandom(4096) for _ in range(10 * intake.AHEAD)]


def take(file: BinaryIO, blocks: Iterable[bytes]) -> str:
    with Intake(file) as taken:
        for block in blocks:
            taken.add(block)
        return taken.finish()


def test_every_byte_is_in_the_file_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "FLUSH_BYTES", 2 * len(BLOCKS[0]))  # many flushes meanwhile
    with (tmp_path / "image").open("wb") as file:
        digest = take(file, BLOCKS)
        whole = (tmp_path / "image").read_bytes()
    assert whole == b"".join(BLOCKS)
    assert digest == hashlib.sha256(whole).hexdigest()


def test_nothing_at_all_has_the_checksum_of_nothing(tmp_path: Path) -> None:
    with (tmp_path / "image").open("wb") as file:
        assert take(file, []) == hashlib.sha256().hexdigest()


def test_a_disk_that_is_full_is_told_of_before_all_has_come() -> None:
    left = iter(BLOCKS)
    # Unbuffered: the kernel answers every write.
    with (
        Path("/dev/full").open("wb", buffering=0) as file,
        pytest.raises(OSError, match="No space left"),
    ):
        take(file, left)
    assert next(left, None) is not None


@pytest.mark.parametrize("which", ["first", "last"])
def test_a_flush_that_fails_is_told_of_though_others_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    monkeypatch.setattr(intake, "FLUSH_BYTES", 1)
    tried: list[int] = []

    def flush(handle: int) -> None:
        tried.append(handle)
        if which == "first" and len(tried) == 1:
            raise OSError(errno.EIO, "Input/output error")

    def flush_all(_: int) -> None:
        if which == "last":
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", flush)
    monkeypatch.setattr(os, "fsync", flush_all)
    with (
        (tmp_path / "image").open("wb") as file,
        pytest.raises(OSError, match="Input/output error"),
    ):
        take(file, BLOCKS)


def test_the_last_flush_of_those_meanwhile_counts_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(intake, "FLUSH_BYTES", 1)
    monkeypatch.setattr(os, "fdatasync", fail)
    with (
        (tmp_path / "image").open("wb") as file,
        pytest.raises(OSError, match="Input/output error"),
    ):
        take(file, BLOCKS[:1])  # nothing comes after it that would tell


def test_what_went_wrong_is_told_when_nothing_more_comes() -> None:
    def wait() -> None:
        with Path("/dev/full").open("wb", buffering=0) as file, Intake(file) as taken:
            taken.add(BLOCKS[0])
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                taken.check()
                time.sleep(0.01)

    with pytest.raises(OSError, match="No space left"):
        wait()


@pytest.mark.parametrize("last", [False, True], ids=["meanwhile", "at the end"])
def test_a_signal_does_not_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: bool
) -> None:
    goes_on, waits, over = threading.Event(), threading.Event(), threading.Event()
    raised = threading.Event()

    def flush(_: int) -> None:
        waits.set()
        goes_on.wait(10)
        over.set()

    def end(*_: object) -> None:
        if not raised.is_set():
            raised.set()
            raise KeyboardInterrupt

    def send() -> None:
        assert waits.wait(30)
        # Once is not enough, as execnode/termination.py says: it may come just before the wait.
        while not raised.wait(0.05):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    monkeypatch.setattr(intake, "FLUSH_BYTES", 2**40 if last else 1)
    monkeypatch.setattr(os, "fsync" if last else "fdatasync", flush)
    before = signal.signal(signal.SIGUSR1, end)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        with (tmp_path / "image").open("wb") as file, pytest.raises(KeyboardInterrupt):
            take(file, BLOCKS)
        assert not over.is_set()
    finally:
        goes_on.set()
        raised.set()
        sender.join()
        signal.signal(signal.SIGUSR1, before)


def test_whoever_gives_up_leaves_no_thread_at_the_file(tmp_path: Path) -> None:
    def cut() -> Iterator[bytes]:
        yield from BLOCKS
        raise KeyboardInterrupt

    before = set(threading.enumerate())
    with (tmp_path / "image").open("wb") as file:
        with pytest.raises(KeyboardInterrupt):
            take(file, cut())
        # But for one that only closes a descriptor of its own.
        left = {one.name for one in set(threading.enumerate()) - before}
        assert len(left) <= 1
