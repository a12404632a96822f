# SPDX-License-Identifier: Apache-2.0
"""The job's executable: ``condor-cloud-supervisor --instance ID --run N``.

SIGTERM is caught before anything else is imported, so that a job removed in its first
milliseconds ends like every other.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from execnode import termination
from execnode.exits import NODE_ERROR, TERMINATED, EndedError, TerminatedError

if TYPE_CHECKING:
    from execnode.config import NodeConfig
    from execnode.hypervisor import Hypervisor


def main() -> int:
    """Run one instance; the exit code is one of execnode.exits, or 2 for a bad command line."""
    started = time.monotonic()
    try:
        termination.install()
        status = _main(started)
    except TerminatedError:  # before anything was begun
        status = TERMINATED.code
    sys.stderr.flush()
    # Threads of libvirt's event loop are still there: the interpreter's own end would wait or race.
    os._exit(status)


def _main(started: float) -> int:
    from execnode import config, order, report, supervisor  # noqa: PLC0415 - after the handler

    ordered = order.read(sys.argv[1:])
    if ordered is None:
        sys.stderr.write(f"{order.USAGE}\n")
        return 2
    os.umask(0o027)
    reporter = report.Reporter(ordered.instance, ordered.run)
    try:
        settings = config.load(ordered.config)
    except config.ConfigError as error:
        ended = EndedError(NODE_ERROR, str(error))
        sys.stderr.write(f"{ended.message}\n")
        reporter.send("ended", code=ended.exit.name, message=ended.message)
        reporter.close(supervisor.REPORT_SECONDS)
        return ended.exit.code
    return supervisor.Supervisor(ordered, settings, reporter, _libvirt, started).run()


def _libvirt(settings: NodeConfig) -> Hypervisor:
    from execnode.libvirtd import LibvirtHypervisor  # noqa: PLC0415 - for the type's sake

    return LibvirtHypervisor(settings.libvirt_uri, settings.network)


if __name__ == "__main__":
    sys.exit(main())
