# SPDX-License-Identifier: Apache-2.0
"""Fetches an image into the node's cache before anybody launches from it.

The node's listener hears which images are wanted and starts ``python3 -m execnode.prefetch`` for
each, as the supervisors' user: what they are to use must be theirs, and a stranger's image is not
for root to look at. The process fetches as a launch does, and tells the gateway how far it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from execnode import cache, config, spec
from execnode.exits import NODE_ERROR, EndedError
from execnode.link import LinkError, NodeLink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from execnode.config import NodeConfig
    from execnode.spec import Image

AT_ONCE = 2
MOST_TRIES = 3
REPORT_SECONDS = 1.0
END_SECONDS = 5.0
UNTOLD = 3
"""exit status of a process that could not tell how it ended"""
_LONGEST_MESSAGE = 500
_PR_SET_PDEATHSIG = 1


class Wanted(NamedTuple):
    """An image that the gateway wants in the cache; ``image`` is the node link's document."""

    number: int
    image: Any


class Prefetches:
    """What the listener has heard of and has not seen to its end; used by one thread."""

    def __init__(self, file: Path) -> None:
        """Fetch by the settings in ``file``, as they are then."""
        self._file = file
        self._waiting: list[Wanted] = []
        self._running: dict[int, tuple[Wanted, subprocess.Popen[bytes]]] = {}
        self._tries: dict[int, int] = {}

    @property
    def known(self) -> list[int]:
        """The numbers that the gateway need not repeat."""
        return sorted([*self._running, *(wanted.number for wanted in self._waiting)])

    def add(self, wanted: list[Wanted]) -> None:
        """Take these as well; those that are known stay what they are."""
        known = set(self.known)
        self._waiting += [one for one in wanted if one.number not in known]

    def work(self, link: NodeLink) -> None:
        """Begin what there is a place for, and see what has ended.

        What ended without its end being told is forgotten, and so repeated by the gateway: a few
        times, then it is told through ``link`` that it failed. May raise LinkError.
        """
        for number, (_, process) in list(self._running.items()):
            if (status := process.poll()) is None:
                continue
            del self._running[number]
            if status == 0:
                self._tries.pop(number, None)
                continue
            tries = self._tries[number] = self._tries.get(number, 0) + 1
            if status != UNTOLD and tries >= MOST_TRIES:
                told = f"The process that fetched it ended {tries} times with status {status}."
                link.prefetched(number, "failed", 0, told)
                del self._tries[number]
        while self._waiting and len(self._running) < AT_ONCE:
            wanted = self._waiting.pop(0)
            self._running[wanted.number] = wanted, self._start(wanted)

    def close(self) -> None:
        """End what runs; the gateway repeats it to the next listener."""
        for _, process in self._running.values():
            process.terminate()
        for _, process in self._running.values():
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def _start(self, wanted: Wanted) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "execnode.prefetch", str(self._file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd="/",
            **_as_owner(config.load(self._file).cache_dir),
        )
        assert process.stdin is not None  # noqa: S101 - for mypy
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(json.dumps(wanted._asdict()).encode())
        return process


def _as_owner(directory: Path) -> dict[str, Any]:
    """Return what makes a process one of the directory's owner, where this one may do so."""
    owner = directory.stat().st_uid
    if os.geteuid() != 0 or owner == 0:
        return {}
    entry = pwd.getpwuid(owner)
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return {"user": owner, "group": entry.pw_gid, "extra_groups": groups}


def main() -> int:
    """Fetch what standard input names, by the configuration file that the first argument names."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(1))
    # The listener may be killed: what it began ends with it, and its successor begins it again.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    os.umask(0o027)
    asked = json.load(sys.stdin)
    settings = config.load(Path(sys.argv[1]))
    return fetch(settings, Wanted(asked["number"], asked["image"]))


def fetch(settings: NodeConfig, wanted: Wanted) -> int:
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


def _fetch(settings: NodeConfig, wanted: Wanted, telling: _Telling) -> int:
    try:
        image = spec.read_image(wanted.image)
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
