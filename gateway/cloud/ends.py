# SPDX-License-Identifier: Apache-2.0
"""What becomes of an instance when its run is over: it is stopped and keeps its disk, or ends.

The node asks before it removes a disk, and what it did comes with its last report. The answer is
the same on both occasions unless the owner changed the wish between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.store.instances import Instance

GUEST_SHUTDOWN = "guest-shutdown"
"""The exit of a run whose guest powered itself off (docs/reference/exit-codes.md)."""


def becomes(instance: Instance, how: str | None, *, disk_removed: bool = False) -> str:
    """Return the state, ``stopped`` or ``terminated``, of an instance whose run ended.

    ``how`` is the name of the run's exit, None where nobody told. An instance that was stopped
    once has a disk that somebody counts on: such a one is never lost with a failing run. One that
    was not ends with the run that made its disk. One whose disk the store has cannot lose it on a
    node.
    """
    if instance.wanted == "terminated" or (disk_removed and not instance.parked):
        return "terminated"
    if instance.wanted == "stopped":
        return "stopped"
    if how == GUEST_SHUTDOWN:
        return "stopped" if instance.shutdown_behavior == "stop" else "terminated"
    return "stopped" if instance.has_kept_disk else "terminated"
