# SPDX-License-Identifier: Apache-2.0
"""``condor-cloud image cache``: where images are stored and cached, and how well that goes."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from gateway.cli import output
from gateway.cli.administration import administration
from gateway.cli.output import Failure
from gateway.scheduler.condor import CondorScheduler
from gateway.scheduler.protocol import SchedulerError
from gateway.store import inspection

if TYPE_CHECKING:
    from gateway.scheduler.protocol import CacheReport


@click.command()
@output.json_option
def cache(as_json: bool) -> None:
    """Show what the image store holds and how the nodes' caches do.

    A launch that finds its image on the node, or waits for another's download,
    is a hit. The numbers count from the making of a node's cache; the rate is
    that of all its downloads. A node tells them every ten seconds.

    Example:
      condor-cloud image cache

    JSON:
      {"stored_bytes", "images", "nodes": a list of {"name", "images",
       "bytes", "limit", "hits", "misses", "evictions", "downloaded_bytes",
       "download_seconds"}}
    """
    with administration() as admin, admin.reading() as db:
        # Images with the same bytes are stored once.
        stored = {one.sha256: one.size or 0 for one in inspection.select_images(db) if one.sha256}
        settings = admin.settings
    with closing(CondorScheduler(settings)) as scheduler:
        try:
            machines = scheduler.machines()
        except SchedulerError as error:
            raise Failure(f"The pool does not answer: {error}.") from error
    nodes = [(one.name, one.cache) for one in machines if one.cache is not None]
    if as_json:
        output.write_json(
            {
                "stored_bytes": sum(stored.values()),
                "images": len(stored),
                "nodes": [_document(name, found) for name, found in nodes],
            }
        )
        return
    click.echo(f"{len(stored)} stored, {output.size(sum(stored.values()))}")
    output.table(
        ("NODE", "IMAGES", "BYTES", "LIMIT", "HITS", "MISSES", "EVICTIONS", "RATE"),
        (
            (
                name,
                len(found.images),
                output.size(found.size),
                output.size(found.limit),
                found.hits,
                found.misses,
                found.evictions,
                _rate(found),
            )
            for name, found in nodes
        ),
        empty="No node takes instances.",
    )


def _rate(found: CacheReport) -> str | None:
    if not found.download_seconds:
        return None
    return f"{output.size(int(found.downloaded_bytes / found.download_seconds))}/s"


def _document(name: str, found: CacheReport) -> dict[str, Any]:
    return {
        "name": name,
        "images": list(found.images),
        "bytes": found.size,
        "limit": found.limit,
        "hits": found.hits,
        "misses": found.misses,
        "evictions": found.evictions,
        "downloaded_bytes": found.downloaded_bytes,
        "download_seconds": found.download_seconds,
    }
