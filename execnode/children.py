# SPDX-License-Identifier: Apache-2.0
"""Processes that the node's listener starts for what it has heard of, each as a directory's owner.

What they make must belong to the user that supervisors have, and a stranger's disk is not for root
to look at. A process that dies, or its listener, is begun again, because the gateway repeats what
it was not told the end of.
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
from typing import TYPE_CHECKING, Any, NamedTuple

from execnode import config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from execnode.config import NodeConfig
    from execnode.link import NodeLink

AT_ONCE = 2
MOST_TRIES = 3
END_SECONDS = 5.0
UNTOLD = 3
"""exit status of a process that could not tell how it ended"""
_PR_SET_PDEATHSIG = 1


class Task(NamedTuple):
    """What a process is for; ``document`` is the node link's, for the process to read."""

    number: int
    document: Any


class Children:
    """What the listener has heard of and has not seen to its end; used by one thread."""

    def __init__(
        self,
        file: Path,
        module: str,
        directory_of: Callable[[NodeConfig], Path],
        give_up: Callable[[NodeLink, Task, str], object],
    ) -> None:
        """Run ``module`` by the settings in ``file``, as the owner of the directory.

        ``give_up`` tells the gateway why something is not tried again.
        """
        self._file = file
        self._module = module
        self._directory_of = directory_of
        self._give_up = give_up
        self._waiting: list[Task] = []
        self._running: dict[int, tuple[Task, subprocess.Popen[bytes]]] = {}
        self._tries: dict[int, int] = {}

    @property
    def known(self) -> list[int]:
        """The numbers that the gateway need not repeat."""
        return sorted([*self._running, *(task.number for task in self._waiting)])

    def add(self, tasks: list[Task]) -> None:
        """Take these as well; those that are known stay what they are."""
        known = set(self.known)
        self._waiting += [task for task in tasks if task.number not in known]

    def work(self, link: NodeLink) -> None:
        """Begin what there is a place for, and see what has ended.

        What ended without its end being told is forgotten, and so repeated by the gateway: a few
        times, then it is told through ``link`` that it failed. May raise LinkError.
        """
        for number, (task, process) in list(self._running.items()):
            if (status := process.poll()) is None:
                continue
            del self._running[number]
            if status == 0:
                self._tries.pop(number, None)
                continue
            tries = self._tries[number] = self._tries.get(number, 0) + 1
            if status != UNTOLD and tries >= MOST_TRIES:
                told = f"The process that was to do it ended {tries} times with status {status}."
                self._give_up(link, task, told)
                del self._tries[number]
        while self._waiting and len(self._running) < AT_ONCE:
            task = self._waiting.pop(0)
            self._running[task.number] = task, self._start(task)

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

    def prepare(self, settings: NodeConfig, task: Task) -> None:
        """Do what its process may not, before it begins."""

    def _start(self, task: Task) -> subprocess.Popen[bytes]:
        settings = config.load(self._file)
        self.prepare(settings, task)
        process = subprocess.Popen(
            [sys.executable, "-m", self._module, str(self._file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd="/",
            **_as_owner(self._directory_of(settings)),
        )
        assert process.stdin is not None  # noqa: S101 - for mypy
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(json.dumps(task._asdict()).encode())
        return process


def _as_owner(directory: Path) -> dict[str, Any]:
    """Return what makes a process one of the directory's owner, where this one may do so."""
    owner = directory.stat().st_uid
    if os.geteuid() != 0 or owner == 0:
        return {}
    entry = pwd.getpwuid(owner)
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return {"user": owner, "group": entry.pw_gid, "extra_groups": groups}


def task() -> Task:
    """Return what this process, a child of the listener's, is for; it ends with the listener."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(1))
    # The listener may be killed: what it began ends with it, and its successor begins it again.
    end_with_parent()
    os.umask(0o027)
    asked = json.load(sys.stdin)
    return Task(asked["number"], asked["document"])


def end_with_parent() -> None:
    """Have the kernel end this process when the one that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
