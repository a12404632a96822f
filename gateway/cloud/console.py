# SPDX-License-Identifier: Apache-2.0
"""The end of what an instance wrote on its serial console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.store import console
from gateway.store.console import Console

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

KEPT = 64 * 1024
"""Bytes that are kept: as many as EC2 gives back."""


def append(  # noqa: PLR0913 - what a node reports
    db: Connection, instance_id: str, run: int, *, offset: int, data: bytes, now: datetime
) -> None:
    """Add output that begins after ``offset`` bytes of the run's output.

    What was received before is skipped, so that a report may be repeated; what is missing in
    between is missing. A new run begins a new console; reports of an earlier run are dropped.
    """
    kept = console.get(db, instance_id)
    if kept is None:
        console.insert(db, Console(instance_id, run, offset + len(data), data[-KEPT:], now))
        return
    if run < kept.run:
        return
    if run > kept.run:
        kept = Console(instance_id, run, offset, b"", now)
    new = data[max(0, kept.total - offset) :]
    if new:
        total = offset + len(data)
        console.update(db, Console(instance_id, run, total, (kept.data + new)[-KEPT:], now))
