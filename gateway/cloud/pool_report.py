# SPDX-License-Identifier: Apache-2.0
"""What the reconciler saw of the pool last, for whoever must not ask the pool itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.store import cursors

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy import Connection

    from gateway.scheduler.protocol import CacheReport, NodeReport

LOOKED = "looked-at"
NODES = "nodes-seen"


class PoolReport(NamedTuple):
    """The last looks at the queue and at the nodes: seconds since 1970, None for never.

    Each node has ``name``, ``accepts`` (whether it takes instances) and ``cache``: None, or
    numbers named as :class:`~gateway.scheduler.protocol.CacheReport` has them; images are counted.
    """

    looked_at: float | None
    nodes_at: float | None
    nodes: tuple[dict[str, Any], ...]


def looked(db: Connection, now: datetime) -> None:
    """Write down that the whole queue was compared with the database."""
    cursors.put(db, LOOKED, json.dumps(now.timestamp()))


def saw_nodes(db: Connection, reports: Iterable[NodeReport], now: datetime) -> None:
    """Write down what the pool's nodes tell; other machines are left out."""
    told = [
        {"name": one.name, "accepts": one.accepts, "cache": one.cache and _cache(one.cache)}
        for one in reports
        if one.accepts is not None
    ]
    cursors.put(db, NODES, json.dumps({"at": now.timestamp(), "nodes": told}))


def read(db: Connection) -> PoolReport:
    """Return what was written down last."""
    looked_at, seen = cursors.get(db, LOOKED), cursors.get(db, NODES)
    document = json.loads(seen) if seen else {"at": None, "nodes": []}
    return PoolReport(
        None if looked_at is None else float(json.loads(looked_at)),
        document["at"],
        tuple(document["nodes"]),
    )


def _cache(report: CacheReport) -> dict[str, float]:
    return {
        "images": len(report.images),
        "bytes": report.size,
        "limit": report.limit,
        "hits": report.hits,
        "misses": report.misses,
        "evictions": report.evictions,
        "downloaded_bytes": report.downloaded_bytes,
        "download_seconds": report.download_seconds,
    }
