# SPDX-License-Identifier: Apache-2.0
"""Waits for the gateway's commands to this node's guests and wakes their supervisors.

One waiting request for each node, instead of one for each guest. What it carries is only that
there is something: a supervisor asks for its commands itself, with the nonce of its claim. The
images that the gateway wants in the node's cache come with it (:mod:`execnode.prefetch`).
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

from execnode import config, spec
from execnode.commands import SOCKET, wake
from execnode.link import LinkError, NodeLink
from execnode.prefetch import Prefetches, Wanted

if TYPE_CHECKING:
    from execnode.config import NodeConfig

WAIT_SECONDS = 15
PAUSE_SECONDS = 1.0
# A supervisor that was just given its run may not listen yet.
TRY_SECONDS = 60.0


class Listener:
    """Keeps what it has heard, so that nothing is waited for twice."""

    def __init__(
        self, settings: NodeConfig, link: NodeLink, prefetches: Prefetches | None = None
    ) -> None:
        self._settings = settings
        self._link = link
        self._prefetches = prefetches or Prefetches(config.DEFAULT_FILE)
        self._after = 0
        self._untold: dict[str, float] = {}

    def turn(self, seconds: int = WAIT_SECONDS) -> None:
        """Wait once, at most so long, and wake whom it concerns."""
        known = self._prefetches.known
        busy = bool(self._untold or known)
        answer = self._link.await_commands(self._after, min(seconds, 1) if busy else seconds, known)
        names, wanted, self._after = _read(answer, self._after)
        now = time.monotonic()
        self._untold |= dict.fromkeys(names, now + TRY_SECONDS)
        self._untold = {
            name: until
            for name, until in self._untold.items()
            if now < until and not wake(self._settings.instances_dir / name / SOCKET)
        }
        self._prefetches.add(wanted)
        self._prefetches.work(self._link)


def _read(answer: Any, after: int) -> tuple[list[str], list[Wanted], int]:
    """Return the instances and images in the answer, and the number to wait above next."""
    try:
        names, last = answer["instances"], answer["last"]
        # A gateway that is older than this node wants no images.
        wanted = [Wanted(one["id"], one["image"]) for one in answer.get("prefetch", [])]
        fit = (
            type(last) is int
            and all(spec.INSTANCE_ID.fullmatch(name) for name in names)
            and all(type(one.number) is int for one in wanted)
        )
    except (AttributeError, TypeError, KeyError):
        fit = False
    if not fit:
        raise LinkError("The gateway's answer is not understood.")
    # A gateway whose database was put back to an earlier state counts lower than before.
    return names, wanted, last if last >= after else 0


def main() -> NoReturn:
    """Listen until SIGTERM, or SIGQUIT, which is how HTCondor's master ends a daemon."""
    for number in (signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    with contextlib.closing(Prefetches(config.DEFAULT_FILE)) as prefetches:
        _listen(prefetches)


def _listen(prefetches: Prefetches) -> NoReturn:
    trouble = ""
    while True:
        try:
            settings = config.load()
            link = NodeLink(settings)
            listener = Listener(settings, link, prefetches)
            with contextlib.closing(link):
                while True:
                    listener.turn()
                    trouble = ""
        except (config.ConfigError, LinkError, OSError, LookupError, ValueError) as error:
            if str(error) != trouble:  # said once, however long it lasts
                trouble = str(error)
                sys.stderr.write(f"condor-cloud-listen: {trouble}\n")
                sys.stderr.flush()
            time.sleep(PAUSE_SECONDS)
