# SPDX-License-Identifier: Apache-2.0
"""What a check answers with."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["ok", "warning", "failed"]


class Check(NamedTuple):
    """One result: what was looked at, how it is, what was found, what to do (empty when ok).

    ``warning``: it works, but not well, or it could not be found out. ``failed``: launches, or
    some of them, do not work.
    """

    name: str
    state: State
    found: str
    advice: str = ""


def ok(name: str, found: str) -> Check:
    """Say that a part is as it should be."""
    return Check(name, "ok", found)


def warning(name: str, found: str, advice: str) -> Check:
    """Say that a part works but not well, or that it could not be found out."""
    return Check(name, "warning", found, advice)


def failed(name: str, found: str, advice: str) -> Check:
    """Say that a part keeps launches from working."""
    return Check(name, "failed", found, advice)


def some(names: list[str], most: int = 3) -> str:
    """Return a few of the names, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
