# SPDX-License-Identifier: Apache-2.0
"""Waits for the gateway's commands to this node's guests and wakes their supervisors.

One waiting request for each node, instead of one for each guest. What it carries is only that
there is something: a supervisor asks for its commands itself, with the nonce of its claim. The
images that the gateway wants in the node's cache come with it (:mod:`execnode.prefetch`), and what
is to be done with disks of stopped instances (:mod:`execnode.errands`).
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from execnode import config, spec
from execnode.children import Task
from execnode.commands import SOCKET, wake
from execnode.errands import Errands
from execnode.link import LinkError, NodeLink
from execnode.prefetch import Prefetches

if TYPE_CHECKING:
    from pathlib import Path

    from execnode.config import NodeConfig

WAIT_SECONDS = 15
PAUSE_SECONDS = 1.0
# A supervisor that was just given its run may not listen yet.
TRY_SECONDS = 60.0


class Work(NamedTuple):
    """What the listener has others do."""

    prefetches: Prefetches
    errands: Errands

    @classmethod
    def by(cls, file: Path) -> Work:
        """Return none yet, to be done by the settings in ``file``."""
        return cls(Prefetches(file), Errands(file))

    def close(self) -> None:
        """End what runs; the gateway repeats it to the next listener."""
        self.prefetches.close()
        self.errands.close()


class Listener:
    """Keeps what it has heard, so that nothing is waited for twice."""

    def __init__(self, settings: NodeConfig, link: NodeLink, work: Work | None = None) -> None:
        self._settings = settings
        self._link = link
        self._work = work or Work.by(config.DEFAULT_FILE)
        self._after = 0
        self._untold: dict[str, float] = {}

    def turn(self, seconds: int = WAIT_SECONDS) -> None:
        """Wait once, at most so long, and wake whom it concerns."""
        work = self._work
        known = work.prefetches.known, work.errands.known
        busy = bool(self._untold or any(known))
        seconds = min(seconds, 1) if busy else seconds
        heard = _read(self._link.await_commands(self._after, seconds, *known), self._after)
        self._after = heard.last
        now = time.monotonic()
        self._untold |= dict.fromkeys(heard.names, now + TRY_SECONDS)
        self._untold = {
            name: until
            for name, until in self._untold.items()
            if now < until and not wake(self._settings.instances_dir / name / SOCKET)
        }
        work.prefetches.add(heard.images)
        work.errands.add(heard.errands)
        work.prefetches.work(self._link)
        work.errands.work(self._link)


class _Heard(NamedTuple):
    """The instances, images and errands in an answer, and the number to wait above next."""

    names: list[str]
    images: list[Task]
    errands: list[Task]
    last: int


def _read(answer: Any, after: int) -> _Heard:
    try:
        names, last = answer["instances"], answer["last"]
        # A gateway that is older than this node wants no images, or has no errands.
        images = [Task(one["id"], one["image"]) for one in answer.get("prefetch", [])]
        errands = [Task(one["id"], one) for one in answer.get("errands", [])]
        fit = (
            type(last) is int
            and all(spec.INSTANCE_ID.fullmatch(name) for name in names)
            and all(type(one.number) is int for one in images + errands)
        )
    except (AttributeError, TypeError, KeyError):
        fit = False
    if not fit:
        raise LinkError("The gateway's answer is not understood.")
    # A gateway whose database was put back to an earlier state counts lower than before.
    return _Heard(names, images, errands, last if last >= after else 0)


def main() -> NoReturn:
    """Listen until SIGTERM, or SIGQUIT, which is how HTCondor's master ends a daemon."""
    for number in (signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    with contextlib.closing(Work.by(config.DEFAULT_FILE)) as work:
        _listen(work)


def _listen(work: Work) -> NoReturn:
    trouble = ""
    while True:
        try:
            settings = config.load()
            link = NodeLink(settings)
            listener = Listener(settings, link, work)
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
