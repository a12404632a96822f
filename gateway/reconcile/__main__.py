# SPDX-License-Identifier: Apache-2.0
"""``python -m gateway.reconcile``: the reconciler's process."""

from __future__ import annotations

import fcntl
import logging
import signal
import threading

from gateway import config, wake
from gateway.reconcile.follower import Follower
from gateway.reconcile.loop import Reconciler
from gateway.reconcile.nodes import NodeWatcher
from gateway.scheduler.condor import CondorScheduler
from gateway.store import database


def main() -> None:
    """Run until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s reconciler %(message)s")
    settings = config.load()
    settings.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = database.engine(settings.database)
    one = (settings.run_dir / "reconciler.lock").open("w")
    fcntl.flock(one, fcntl.LOCK_EX)  # waits for an earlier one to end; the kernel frees it
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    receiver = wake.listen(settings, "reconciler")
    follower = Follower(
        engine, settings.event_log_file, lambda: wake.notify(settings, "reconciler"), stopping
    )
    follower.start()
    NodeWatcher(engine, CondorScheduler(settings), stopping).start()
    scheduler = CondorScheduler(settings)
    try:
        Reconciler(settings, engine, scheduler, follower).run(receiver, stopping)
    finally:
        scheduler.close()


if __name__ == "__main__":
    main()
