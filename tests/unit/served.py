# SPDX-License-Identifier: Apache-2.0
"""The endpoint as it is served: gunicorn with its workers, in processes of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Endpoint

    from gateway.config import Settings

START_LIMIT = 30.0


@dataclass(frozen=True)
class Served:
    """A running `gateway.serve ec2` and its address."""

    process: subprocess.Popen[bytes]
    url: str

    def workers(self) -> list[int]:
        """Return the pids of the workers."""
        pid = self.process.pid
        found = (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text()
        return [int(child) for child in found.split()]

    def kill_workers(self) -> None:
        """Kill every worker; gunicorn starts others."""
        for pid in self.workers():
            os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """Kill gunicorn and, by the kernel's hand, its workers."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Stop it as a service manager does; return its exit status."""
        self.process.terminate()
        return self.process.wait()


@contextmanager
def serving(endpoint: Endpoint, **further: object) -> Iterator[str]:
    """Serve the endpoint's database with further settings; yield the URL."""
    running = serve(endpoint.settings, **further)
    try:
        yield running.url
    finally:
        status = running.stop()
    assert status == 0


def serve(settings: Settings, **further: object) -> Served:
    """Serve the endpoint on a free port and wait until it listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    given = {"state_dir": settings.state_dir, "port": port} | further
    environment = os.environ | {
        f"CONDOR_CLOUD_{name.upper()}": str(value) for name, value in given.items()
    }
    command = [sys.executable, "-m", "gateway.serve", "ec2"]
    process = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + START_LIMIT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=30).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline or process.poll() is not None:
                process.kill()
                process.wait()
                raise
            time.sleep(0.05)
        else:
            return Served(process, f"http://127.0.0.1:{port}")
