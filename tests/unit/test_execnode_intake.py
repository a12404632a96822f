# SPDX-License-Identifier: Apache-2.0
"""What comes is hashed, written and flushed in threads that end with it."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
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


def test_a_flush_that_fails_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(intake, "FLUSH_BYTES", 1)
    monkeypatch.setattr(os, "fdatasync", fail)
    with (
        (tmp_path / "image").open("wb") as file,
        pytest.raises(OSError, match="Input/output error"),
    ):
        take(file, BLOCKS)


def test_whoever_gives_up_leaves_no_thread_at_the_file(tmp_path: Path) -> None:
    def cut() -> Iterator[bytes]:
        yield from BLOCKS
        raise KeyboardInterrupt

    before = set(threading.enumerate())
    with (tmp_path / "image").open("wb") as file:
        with pytest.raises(KeyboardInterrupt):
            take(file, cut())
        assert set(threading.enumerate()) <= before
