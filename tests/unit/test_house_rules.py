# SPDX-License-Identifier: Apache-2.0
"""What CONTRIBUTING.md asks of every file and no other tool watches."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
FILES = [
    file
    for part in ("gateway", "execnode", "tests", "tools")
    for file in TOP.glob(f"{part}/**/*.py")
]
MAX_LINES = 400
REASON = re.compile(r"Longer than 400 lines: \w")
LONGEST_SLEEP = 0.5


def name(file: Path) -> str:
    return str(file.relative_to(TOP))


def sleeps(tree: ast.AST) -> list[float]:
    """Return the seconds of every sleep for a number that stands in the text."""
    return [
        float(call.args[0].value)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute | ast.Name)
        and ast.unparse(call.func) in {"time.sleep", "sleep"}
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, int | float)
    ]


@pytest.mark.parametrize("file", FILES, ids=name)
def test_no_file_is_longer_than_can_be_read_in_one_sitting(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MAX_LINES or any(REASON.search(line) for line in lines[:15])


@pytest.mark.parametrize("file", [f for f in FILES if "tests" in f.parts], ids=name)
def test_no_test_sleeps_where_it_could_look(file: Path) -> None:
    assert all(one <= LONGEST_SLEEP for one in sleeps(ast.parse(file.read_text(encoding="utf-8"))))


def test_each_test_module_has_a_name_of_its_own() -> None:
    # They are imported by their names alone: of two alike, one session takes only one.
    names = [file.name for file in FILES if "tests" in file.parts and file.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
