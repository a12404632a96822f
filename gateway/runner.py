# SPDX-License-Identifier: Apache-2.0
"""``condor-cloud run``: everything on one machine, in the foreground, nothing left afterwards."""

from __future__ import annotations

import ctypes
import fcntl
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING

from gateway import welcome
from gateway.cloud import observed
from gateway.embedded import cached, pool, root
from gateway.embedded.guest import build as guest
from gateway.embedded.guest.disk import GuestBuildError
from gateway.embedded.mirror import MirrorError
from gateway.embedded.network import NetworkError
from gateway.embedded.node_files import MissingFileError
from gateway.nodelink import credentials
from gateway.services import Services
from gateway.store import database, nodes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Engine

    from gateway.config import Settings
    from gateway.welcome import Welcome

    Progress = Callable[[float, str], None]

_PR_SET_PDEATHSIG = 1
START_LIMIT = 120.0
CLEANING_LIMIT = 10.0
NODE = "condor-cloud"
BACKLOG = 512
PURPOSES = {
    "ec2": "the EC2 endpoint (setting port)",
    "deltacloud": "the Deltacloud API (setting deltacloud_port)",
    "metrics": "the metrics (setting metrics_port)",
    "nodelink": "the node link (setting nodelink_port)",
    "pool": "the pool's collector (setting pool_port)",
}


class RunError(Exception):
    """The start is refused or failed; the text is one sentence that says what to do."""


class Runner:
    """One ``condor-cloud run``: :meth:`start`, :meth:`wait`, and :meth:`stop` in any case."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        """Nothing happens before :meth:`start`; ``progress`` gets each step of it."""
        self.settings = settings
        self.progress = progress
        self.listeners: dict[str, socket.socket] = {}
        self.services = Services(settings.state_dir / "log", self.listeners)
        self.pool: pool.EmbeddedPool | None = None
        self.stopping = False
        self._guardian: subprocess.Popen[bytes] | None = None
        self._cleaning: IO[str] | None = None
        self._held = ExitStack()

    def start(self) -> Welcome:
        """Bring everything up; raise :class:`RunError` when something is in the way."""
        self._check_host()
        # The pool's Debian is for every user in it. What is secret is made with a mode of its own.
        os.umask(0o022)
        self._lock()
        self._listen()
        try:
            return self._start()
        except (
            MirrorError,
            NetworkError,
            MissingFileError,
            database.DatabaseError,
            GuestBuildError,
            pool.PoolError,
            welcome.WelcomeError,
        ) as error:
            raise RunError(str(error)) from error

    def _start(self) -> Welcome:
        settings = self.settings
        self.progress(0.02, "opening the database")
        database.migrate(settings.database)
        engine = database.engine(settings.database)
        self._write_down_pool(engine)
        demo = welcome.demo_file(settings, self._part(0.05, 0.4))
        if not settings.pool:
            used = self._held.enter_context(cached.used(root.path(settings.cache_dir)))
            debian = root.ensure(settings.cache_dir, self._part(0.4, 0.8))
            self._guard(debian, used)
            self.pool = pool.EmbeddedPool(
                settings, debian, guest.kernel_of(demo), lambda text: self.progress(0.85, text)
            )
        self.progress(0.82, "starting the gateway")
        self.services.start("nodelink", "importer", "ec2")
        if settings.deltacloud_port:
            self.services.start("deltacloud")
        if settings.metrics_port:
            self.services.start("metrics")
        if self.pool is not None:
            self.pool.start()
        # Last: a pool that does not answer yet would make it pause longer and longer.
        self.services.start("reconciler")
        self.progress(0.95, "taking in the demo image")
        prepared = welcome.prepare(settings, engine, demo, self.services.mend)
        self._await_endpoint()
        cached.remove_unused(settings.cache_dir, datetime.now(UTC))
        self.progress(1.0, "ready")
        return prepared

    def wait(self, say: Callable[[str], None]) -> None:
        """Stay until SIGINT or SIGTERM; start again what dies, and say so."""
        while not self.stopping:
            for sentence in self.services.mend():
                say(sentence)
            if self.pool is not None and not self.pool.alive():
                raise RunError(f"The embedded pool ended; its logs are in {self.pool.top / 'log'}.")
            time.sleep(0.2)

    def stop(self) -> None:
        """End everything, in order; instances that ran become terminated, or stopped again."""
        for listener in self.listeners.values():
            listener.close()
        # A supervisor that ends asks the node link what becomes of its disk.
        self.services.stop(but="nodelink")
        if self.pool is not None:
            self.pool.stop()
        self.services.stop()
        if self._guardian is not None and self._guardian.stdin is not None:
            self._guardian.stdin.close()
            self._guardian.wait()
        self._held.close()

    def catch_signals(self, *, die_with_parent: bool) -> None:
        """Let SIGINT, SIGTERM and SIGHUP end :meth:`wait` instead of the process.

        With ``die_with_parent`` the kernel sends SIGTERM when the parent (``make``) ends.
        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._asked_to_stop)
        if die_with_parent:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)

    def _asked_to_stop(self, *_: object) -> None:
        if not self.stopping:
            self.stopping = True
            raise KeyboardInterrupt

    def _check_host(self) -> None:
        if not self.settings.pool and os.geteuid() != 0:
            raise RunError(
                "The embedded pool needs root (namespaces, bridges, QEMU's own user):"
                " run this with sudo, or name an existing pool in the setting `pool`."
            )

    def _lock(self) -> None:
        run_dir = self.settings.run_dir
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _locks(self._held.enter_context((run_dir / "run.lock").open("w"))):
            raise RunError(
                f"Condor Cloud already runs with the state in {self.settings.state_dir};"
                " stop it first, or give this one a state_dir of its own."
            )
        # An earlier run that was killed may have a guardian at work, which would take this run's
        # bridge away and end its instances.
        self._cleaning = self._held.enter_context((run_dir / "guardian.lock").open("w"))
        limit = time.monotonic() + CLEANING_LIMIT
        while not _locks(self._cleaning):
            if time.monotonic() > limit:
                raise RunError(
                    "What an earlier run left is still being cleaned up; try again in a moment."
                )
            time.sleep(0.05)

    def _listen(self) -> None:
        here = self.settings
        for name, host, port in (
            ("ec2", here.host, here.port),
            ("deltacloud", here.host, here.deltacloud_port),
            ("metrics", here.metrics_host, here.metrics_port),
            ("nodelink", here.nodelink_host, here.nodelink_port),
        ):
            if port:
                self.listeners[name] = self._held.enter_context(_listen(name, host, port))
        if not here.pool:
            # HTCondor binds this one itself; better to find out now that it cannot.
            _listen("pool", "127.0.0.1", here.pool_port).close()

    def _write_down_pool(self, engine: Engine) -> None:
        now = datetime.now(UTC)
        with database.writing(engine) as db:
            if not self.settings.pool:
                # Left so only when the machine lost power: whatever ran is gone.
                observed.pool_stopped(db, now)
                hashed = credentials.token_hash(credentials.node_token(self.settings, NODE))
                if nodes.get(db, NODE) is None:
                    nodes.insert(db, nodes.Node(NODE, hashed, now, None))
                else:
                    nodes.update_token(db, NODE, hashed)
                kept = observed.kept_disks(db)
        if not self.settings.pool:
            pool.remove_disks(self.settings, kept)
        credentials.certificate(self.settings)

    def _guard(self, debian: Path, used: int | None) -> None:
        # It holds these locks as long as it lives.
        held = [] if self._cleaning is None else [self._cleaning.fileno()]
        held += [] if used is None else [used]
        self._guardian = subprocess.Popen(
            [sys.executable, "-m", "gateway.embedded.guardian", str(debian)],
            stdin=subprocess.PIPE,
            start_new_session=True,
            pass_fds=held,
        )

    def _await_endpoint(self) -> None:
        limit = time.monotonic() + START_LIMIT
        while True:
            try:
                connection = http.client.HTTPConnection(
                    self.settings.host, self.settings.port, timeout=2
                )
                connection.request("GET", "/")
                connection.getresponse().read()
                connection.close()
            except OSError:
                if time.monotonic() > limit:
                    raise RunError(
                        "The EC2 endpoint does not answer; see"
                        f" {self.services.log_dir / 'ec2.log'}."
                    ) from None
                time.sleep(0.05)
                continue
            return

    def _part(self, start: float, end: float) -> Progress:
        return lambda done, what: self.progress(start + (end - start) * done, what)


def _locks(file: IO[str]) -> bool:
    """Lock a file until it is closed, in every process that has it; tell whether it worked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _listen(name: str, host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise RunError(
            f"Port {port} on {host}, for {PURPOSES[name]}, cannot be used: {error.strerror}."
        ) from None
    return listener
