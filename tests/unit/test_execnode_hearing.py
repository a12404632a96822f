# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from execnode import hearing

if TYPE_CHECKING:
    from pathlib import Path


def test_a_guest_is_heard_once_with_its_first_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "PAUSE", 0.01)
    told: list[str] = []
    heard = threading.Event()

    def tell() -> None:
        told.append("heard")
        heard.set()

    ear = hearing.Ear("port0", tell, tmp_path)  # the device is not there yet
    assert not heard.wait(0.1)
    counter = tmp_path / "port0" / "statistics" / "rx_packets"
    counter.parent.mkdir(parents=True)
    counter.write_text("0\n")
    assert not heard.wait(0.1)
    counter.write_text("1\n")
    assert heard.wait(10.0)
    counter.write_text("2\n")
    ear.close()
    assert told == ["heard"]


def test_an_ear_is_closed_before_anything_was_heard(tmp_path: Path) -> None:
    ear = hearing.Ear("port0", lambda: pytest.fail("nothing was sent"), tmp_path)
    ear.close()
