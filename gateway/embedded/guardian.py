# SPDX-License-Identifier: Apache-2.0
"""``python -m gateway.embedded.guardian ROOT``: cleans up after the pool, whatever ended it.

Standard input is a pipe from ``condor-cloud run``. When it ends, by order or because that process
was killed, everything of the pool is dead or dying by the kernel's hand; what is left to do is
done here: the bridge and its firewall table go, the instances that ran become terminated, or
stopped again, and the disks of those that ended are removed.
It inherits a lock, for which the next run waits.
"""

from __future__ import annotations

import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from gateway import config
from gateway.cloud import observed
from gateway.embedded import network, pool
from gateway.store import database


def main() -> None:
    """Wait for the end of standard input, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    settings = config.load()
    while sys.stdin.buffer.read(4096):
        pass
    network.remove(settings, Path(sys.argv[1]))
    with database.writing(database.engine(settings.database)) as db:
        observed.pool_stopped(db, datetime.now(UTC))
        kept = observed.kept_disks(db)
    pool.remove_disks(settings, kept)


if __name__ == "__main__":
    main()
