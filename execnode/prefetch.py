# SPDX-License-Identifier: Apache-2.0
"""Fetches an image into the node's cache before anybody launches from it.

The node's listener hears which images are wanted and starts ``python3 -m execnode.prefetch`` for
each, as the cache's owner (:mod:`execnode.children`). The process fetches as a launch does, and
tells the gateway how far it is.
"""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from execnode import cache, children, config, spec
from execnode.children import UNTOLD, Children
from execnode.exits import NODE_ERROR, EndedError
from execnode.link import LinkError, NodeLink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from execnode.children import Task
    from execnode.config import NodeConfig
    from execnode.spec import Image

REPORT_SECONDS = 1.0
_LONGEST_MESSAGE = 500


class Prefetches(Children):
    """The images that the listener has heard of and has not seen in the cache."""

    def __init__(self, file: Path) -> None:
        """Fetch by the settings in ``file``, as they are then."""
        super().__init__(file, "execnode.prefetch", lambda settings: settings.cache_dir, _give_up)


def _give_up(link: NodeLink, task: Task, reason: str) -> None:
    link.prefetched(task.number, "failed", 0, reason)


def main() -> int:
    """Fetch what standard input names, by the configuration file that the first argument names."""
    wanted = children.task()
    return fetch(config.load(Path(sys.argv[1])), wanted)


def fetch(settings: NodeConfig, wanted: Task) -> int:
    """Have an image in the cache and tell how that went; return the exit status."""
    telling = _Telling(settings, wanted.number)
    with contextlib.closing(telling.link):
        try:
            size = _fetch(settings, wanted, telling)
        except EndedError as error:
            telling.last("failed", error.message)
        else:
            telling.done = size
            telling.last("cached", "")
    return 0 if telling.heard else UNTOLD


def _fetch(settings: NodeConfig, wanted: Task, telling: _Telling) -> int:
    try:
        image = spec.read_image(wanted.document)
    except spec.SpecError as error:
        raise EndedError(NODE_ERROR, f"The gateway's {error} is not understood.") from error
    # One that is there already is no hit: nobody launches.
    used = cache.use(cache.entry(settings.cache_dir, image))
    if used is None:
        used = _download(settings, image, telling)
    used.close()
    return image.size


def _download(settings: NodeConfig, image: Image, telling: _Telling) -> cache.UsedImage:
    counted = _Counted(settings, telling.copied)
    with contextlib.closing(counted):
        try:
            return cache.fetch(settings, image, counted, lambda: telling.copied(0))
        except OSError as error:
            raise EndedError(NODE_ERROR, f"{error.strerror}.") from error


class _Counted(NodeLink):
    """A link that tells how many bytes of an image have come."""

    def __init__(self, settings: NodeConfig, copied: Callable[[int], None]) -> None:
        super().__init__(settings)
        self._copied = copied

    def image(self, path: str, chunk: int, start: int) -> Iterator[bytes]:
        """See :class:`~execnode.link.NodeLink`."""
        for data in super().image(path, chunk, start):
            start += len(data)
            self._copied(start)
            yield data


class _Telling:
    """Tells the gateway how far it is, not too often; what it misses the last word makes good."""

    def __init__(self, settings: NodeConfig, number: int) -> None:
        self.link = NodeLink(settings)
        self.done = 0
        self.heard = False
        self._number = number
        self._due = 0.0

    def copied(self, done: int) -> None:
        """Note that so many bytes have come."""
        self.done = done
        now = time.monotonic()
        if now >= self._due:
            self._due = now + REPORT_SECONDS
            with contextlib.suppress(LinkError):
                self.link.prefetched(self._number, "fetching", done, "")

    def last(self, state: str, message: str) -> None:
        """Tell how it has ended."""
        try:
            self.link.prefetched(self._number, state, self.done, message[:_LONGEST_MESSAGE])
        except LinkError as error:
            sys.stderr.write(f"condor-cloud-listen: prefetch {self._number}: {error}\n")
        else:
            self.heard = True


if __name__ == "__main__":
    sys.exit(main())
