# SPDX-License-Identifier: Apache-2.0
"""Reports through the starter's Chirp port."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from execnode_gateway import Starter

from execnode import exits, report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    starter.shutdown()
    starter.server_close()


def test_reports_arrive_in_order_and_as_they_were_sent(starter: Starter) -> None:
    reporter = report.Reporter("i-12345678", 2, starter.config)
    reporter.send("claimed", node="a b\\c")
    reporter.send("ended", code="terminated", message='tabs\tand "quotes"')
    assert reporter.close(5)
    assert starter.events == ["claimed", "ended"]
    assert starter.reports[0]["node"] == "a b\\c"
    assert starter.reports[1]["message"] == 'tabs\tand "quotes"'
    assert all(r["v"] == 1 and r["run"] == 2 for r in starter.reports)


def test_a_report_that_is_not_taken_is_tried_again(starter: Starter) -> None:
    starter.refusals = 2
    reporter = report.Reporter("i-12345678", 1, starter.config)
    reporter.send("claimed")
    assert reporter.close(5)
    assert starter.events == ["claimed"]


def test_without_a_starter_closing_does_not_wait_for_ever(tmp_path: Path) -> None:
    reporter = report.Reporter("i-12345678", 1, tmp_path / "absent")
    reporter.send("claimed")
    assert not reporter.close(0.05)


@pytest.mark.parametrize("letter", ["x", '"', "\n", "\\", " ", "ü", "語", "😀"])
def test_a_long_message_is_cut_to_the_bytes_that_a_line_holds(letter: str) -> None:
    for front in ("", "x", "xü"):
        message = front + letter * 2000
        text = report.line(
            "i-0123456789abcdef0", 1, "ended", 1.0, {"code": "c", "message": message}
        )
        assert len(text.encode()) <= report.LINE_LIMIT
        assert len(f"ulog {report._word(text)}\n".encode()) <= 1024
        cut = json.loads(text.removeprefix(report.PREFIX))["message"]
        assert message.startswith(cut)
        assert len(cut) >= 40


def test_text_that_no_reader_could_decode_is_not_reported() -> None:
    message = exits.EndedError(exits.NODE_ERROR, "a file \udcff\ud83d").message
    assert message.encode().decode() == message
    assert "a file ??" in message
