# SPDX-License-Identifier: Apache-2.0
"""``condor-cloud image prefetch``: an image in the nodes' caches before a launch."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from gateway.cli import output
from gateway.cli.administration import administration
from gateway.cli.output import Failure
from gateway.cloud import prefetches as rules
from gateway.store import images, inspection, prefetches

if TYPE_CHECKING:
    from gateway.cli.administration import Administration
    from gateway.store.prefetches import Prefetch

LOOK = 0.25
_STATES = {"wanted": "not heard of yet", "taken": "waits", "fetching": "is fetched"}


@click.command()
@click.argument("image_id", metavar="ID")
@click.option("--node", "names", multiple=True, metavar="NAME", help="A node; may be repeated.")
@click.option("--all", "every", is_flag=True, help="Every node that is admitted.")
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a node may say nothing before it is given up.",
)
@output.json_option
def prefetch(
    *, image_id: str, names: tuple[str, ...], every: bool, patience: float, as_json: bool
) -> None:
    """Have the image ID in the caches of nodes before anybody launches from it.

    Nodes are named as `condor-cloud node list` does; the embedded pool's is
    condor-cloud. Each fetches the image as a launch would: once, verified, and
    with room made by removing what was not used for longest. It can wait for
    its turn like any other image in the cache, and be removed again.

    When this returns, the image is there, or it is said why it is not; the
    exit status is 1 then. Interrupted, the nodes go on, and one that is away
    has a day to come back and begin.

    Examples:
      condor-cloud image prefetch ami-0123456789abcdef0 --all
      condor-cloud image prefetch ami-0123456789abcdef0 --node node7

    JSON: a list of {"node", "image", "state": "cached" or "failed", "bytes",
    "message"}
    """
    if bool(names) == every:
        raise click.UsageError("Say which nodes: --node NAME, or --all.")
    with administration() as admin:
        with admin.writing("nodelink") as db:
            if every:
                names = tuple(n.name for n in inspection.select_nodes(db) if n.revoked_at is None)
            numbers = rules.request(db, image_id, names, datetime.now(UTC))
            image = images.get(db, image_id)
        with output.Transfers() as shown:
            ended = _await(admin, numbers, patience, shown, (image and image.size) or 0)
    if as_json:
        output.write_json([_document(one) for one in ended])
    else:
        output.table(
            ("NODE", "STATE", "BYTES", "REASON"),
            ((one.node, one.state, output.size(one.done), one.message) for one in ended),
            empty="No node is admitted.",
        )
    if any(one.state != "cached" for one in ended):
        failed = sum(one.state != "cached" for one in ended)
        raise Failure(f"{failed} of {len(ended)} nodes have not cached it.")


def _await(
    admin: Administration,
    numbers: list[int],
    patience: float,
    shown: output.Transfers,
    size: int,
) -> list[Prefetch]:
    seen: dict[int, Prefetch] = {}
    while True:
        with admin.reading() as db:
            found = prefetches.select(db, numbers)
        seen |= {one.id: one for one in found}  # an end may be forgotten while another is awaited
        for one in found:
            state = _STATES.get(one.state, one.state)
            shown.show(one.node, state, size if one.state == "cached" else one.done, size)
        if all(one.state in prefetches.ENDED for one in found):
            return sorted(seen.values(), key=lambda one: (one.node, one.id))
        with admin.reading() as db:
            silent = rules.silent(db, numbers, patience, datetime.now(UTC))
        if silent:
            with admin.writing() as db:
                rules.give_up(db, silent, patience, datetime.now(UTC))
        time.sleep(LOOK)


def _document(one: Prefetch) -> dict[str, Any]:
    return {
        "node": one.node,
        "image": one.image_id,
        "state": one.state,
        "bytes": one.done,
        "message": one.message,
    }
