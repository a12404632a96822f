# SPDX-License-Identifier: Apache-2.0
"""Pictures of running guests' displays: asked for as a command, answered by the guest's node."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.cloud import instances as rules
from gateway.cloud.errors import WrongState
from gateway.store import commands, screenshots

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

KEPT = timedelta(minutes=1)
"""A picture goes when another one is asked for so much later."""

PLAIN, WAKING = "screenshot", "wake-screenshot"
"""The commands' verbs; the second presses a key first, as a sleeping display wants it."""


def ask(  # noqa: PLR0913 - whose, which, when, how
    db: Connection,
    account_id: str,
    instance_id: str,
    now: datetime,
    terminated_after: datetime,
    *,
    wake_up: bool,
) -> int:
    """Ask the node for a picture of the display; return the command's number.

    Raises :class:`NotFound`, and :class:`WrongState` unless the instance runs.
    """
    [instance] = rules.find(db, account_id, [instance_id], terminated_after)
    if instance.state != "running":
        raise WrongState("instance", instance.id, "captured")
    screenshots.delete_before(db, instance_id, now - KEPT)
    verb = WAKING if wake_up else PLAIN
    number = commands.insert(db, instance.id, instance.run, verb, grace=0.0, at=now)
    screenshots.insert(db, number, instance.id, at=now)
    return number
