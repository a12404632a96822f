# SPDX-License-Identifier: Apache-2.0
"""A node with one job to run: fake hypervisor, real node link, real reports."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

from execnode_gateway import INSTANCE, Gateway, Starter, eventually, specification

from execnode import config, exits, gate, order, report, supervisor, termination
from execnode.fake import FakeDaemon, FakeHypervisor, FakePorts
from execnode.link import NodeLink
from execnode.listen import Listener

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMAGE = b"disk" * 1000


class Node:
    """A node with one job to run."""

    def __init__(self, place: Path) -> None:
        self.gateway = Gateway(place)
        self.gateway.image = IMAGE
        self.gateway.spec = specification(IMAGE)
        self.starter = Starter(place)
        self.hypervisor = FakeHypervisor(FakeDaemon())
        (place / "token").write_text(self.gateway.token)
        for name in ("cache", "instances"):
            (place / name).mkdir()
        document = {"gateway": self.gateway.url, "token_file": f"{place}/token"}
        document |= {"ca_file": str(self.gateway.certificate), "state_dir": str(place)}
        document |= {"run_dir": str(place / "run"), "qemu_group": "no-such-group"}
        self.settings = config.from_document(document)
        self.ports = FakePorts()
        self.gate = gate.Gate(self.settings, self.ports)
        self.gate.open()
        self._gate_thread = threading.Thread(target=self.gate.run)
        self._gate_thread.start()

    def run(self, story: Callable[[], object] = lambda: None, *, kept: bool = False) -> exits.Exit:
        """Run the job to its end while the story happens beside it; checks that all is clean.

        With ``kept`` it is checked that the disk and the address are there, and nothing else.
        """
        reporter = report.Reporter(INSTANCE, 1, self.starter.config)
        job = supervisor.Supervisor(
            order.Order(INSTANCE, 1, self.settings.state_dir),
            self.settings,
            reporter,
            lambda _: self.hypervisor,
            time.monotonic(),
        )
        beside = threading.Thread(target=story)
        beside.start()
        termination.install()
        try:
            code = job.run()
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.close(signal.set_wakeup_fd(-1))
        beside.join()
        assert self.hypervisor.daemon.domains == {}
        if kept:
            left = {path.name for path in self.overlay.parent.iterdir()}
            assert {"overlay.qcow2"} <= left <= {"overlay.qcow2", "base", "lock"}
        else:
            assert list(self.settings.instances_dir.iterdir()) == []
            assert self.hypervisor.daemon.hosts == {}
        eventually(lambda: self.ports.admitted == [])
        assert self.starter.events[-1] == "ended"
        ended = next(e for e in exits.TABLE if e.code == code)
        assert self.starter.reports[-1]["code"] == ended.name
        return ended

    def close(self) -> None:
        self.gate.close()
        self._gate_thread.join()
        self.gateway.close()
        self.starter.shutdown()
        self.starter.server_close()

    @property
    def overlay(self) -> Path:
        return self.settings.instances_dir / INSTANCE / "overlay.qcow2"

    def stop(self, grace: float = 60.0) -> None:
        """Let the gateway ask the guest to stop."""
        self.running()
        self.gateway.commands = [{"id": 1, "verb": "stop", "grace": grace}]
        self.gateway.disk_answers = [(200, {"disk": "keep"})]
        with contextlib.closing(NodeLink(self.settings)) as link:
            listener = Listener(self.settings, link)
            eventually(lambda: listener.turn(0) or self.gateway.taken)

    @property
    def message(self) -> str:
        return str(self.starter.reports[-1]["message"])

    def running(self) -> None:
        eventually(lambda: "running" in self.starter.events)
