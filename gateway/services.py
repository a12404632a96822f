# SPDX-License-Identifier: Apache-2.0
"""The gateway's processes: started together, started again when one dies, ended together."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.processes import DIE_WITH_PARENT, LISTENER

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from socket import socket

COMMANDS = {
    "ec2": ("gateway.serve", "ec2"),
    "deltacloud": ("gateway.serve", "deltacloud"),
    "nodelink": ("gateway.serve", "nodelink"),
    "metrics": ("gateway.serve", "metrics"),
    "reconciler": ("gateway.reconcile",),
    "importer": ("gateway.imagestore.importer",),
}
STOP_LIMIT = 6.0
# A process that dies at once again and again is started no more often than this.
SHORTEST_LIFE = 1.0


@dataclass
class Service:
    """One process; ``started`` is on the monotonic clock."""

    name: str
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)


class Services:
    """All of :data:`COMMANDS`, with their output in ``<log_dir>/<name>.log``.

    Used from the main thread only: the kernel ends the processes with the thread that made them.
    The listening sockets belong to this process, so that a client who comes while a server is
    started again waits instead of being refused.
    """

    def __init__(self, log_dir: Path, listeners: Mapping[str, socket]) -> None:
        """Nothing runs before :meth:`start`; ``listeners`` are by the service's name."""
        self.log_dir = log_dir
        self.listeners = listeners
        self.running: dict[str, Service] = {}
        self._due: dict[str, float] = {}

    def start(self, *names: str) -> None:
        """Start the named services."""
        self.log_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in names:
            module, *arguments = COMMANDS[name]
            variables = os.environ | {"PYTHONUNBUFFERED": "1"}
            listener = self.listeners.get(name)
            if listener is not None:
                variables[LISTENER] = str(listener.fileno())
            with (self.log_dir / f"{name}.log").open("ab") as log:
                process = subprocess.Popen(
                    [*DIE_WITH_PARENT, sys.executable, "-m", module, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env=variables,
                    pass_fds=[listener.fileno()] if listener is not None else [],
                )
            self.running[name] = Service(name, process)

    def mend(self) -> list[str]:
        """Start what has died; return a sentence for each death."""
        told = []
        now = time.monotonic()
        for name, service in list(self.running.items()):
            if service.process.poll() is None:
                continue
            due = self._due.setdefault(name, max(now, service.started + SHORTEST_LIFE))
            if now >= due:
                del self._due[name]
                told.append(
                    f"{name} ended with status {service.process.returncode}; started again"
                    f" (see {self.log_dir / name}.log)"
                )
                self.start(name)
        return told

    def stop(self, but: str = "") -> None:
        """End every service, or all but one, by force after a while."""
        ending = [service for name, service in self.running.items() if name != but]
        for service in ending:
            service.process.terminate()
        limit = time.monotonic() + STOP_LIMIT
        for service in ending:
            try:
                service.process.wait(max(0.0, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                service.process.kill()
                service.process.wait()
            del self.running[service.name]
