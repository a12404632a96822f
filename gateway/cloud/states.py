# SPDX-License-Identifier: Apache-2.0
"""The states of an instance and which may follow which: one table, one function that uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.cloud import volumes
from gateway.store import instances

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from gateway.store.instances import Instance


class State(NamedTuple):
    """A state: its number on EC2's wire, what it means, and what it may become."""

    code: int
    meaning: str
    becomes: frozenset[str]


STATES = {
    "pending": State(
        0,
        "wanted; a node is being found or the guest is being started",
        frozenset({"running", "stopping", "stopped", "shutting-down", "terminated"}),
    ),
    "running": State(
        16,
        "its guest runs on a node",
        frozenset({"stopping", "stopped", "shutting-down", "terminated"}),
    ),
    "shutting-down": State(
        32,
        "shall end; its job has not left the queue yet",
        frozenset({"terminated"}),
    ),
    "terminated": State(
        48,
        "ended for good: its disk is gone; described for a while with its reason",
        frozenset(),
    ),
    "stopping": State(
        64,
        "shall stop; its job has not left the queue yet",
        frozenset({"stopped", "shutting-down", "terminated"}),
    ),
    "stopped": State(
        80,
        "no guest runs and its disk is kept",
        frozenset({"pending", "shutting-down", "terminated"}),
    ),
}


class Reason(NamedTuple):
    """Why an instance is in its state: a code for programs, a sentence for people."""

    code: str
    message: str


class NotAllowed(Exception):  # noqa: N818 - says what is the matter
    """A change that the table does not have; the caller should have asked :func:`may_become`."""

    def __init__(self, instance_id: str, state: str, to: str) -> None:
        super().__init__(f"{instance_id} is {state} and cannot become {to}.")


def may_become(state: str, to: str) -> bool:
    """Return whether the table has the change."""
    return to in STATES[state].becomes


def change(  # noqa: PLR0913 - a change is all of these
    db: Connection,
    instance: Instance,
    to: str,
    now: datetime,
    *,
    reason: Reason | None = None,
    transition: str | None = None,
) -> None:
    """Change an instance's state; every change of a state in this program is made here.

    ``transition`` is the text for people who look at the instance ("User initiated (...)").
    A reason once given stays when the next change brings none, except that an instance which
    runs needs none. Raises :class:`NotAllowed`.
    """
    if not may_become(instance.state, to):
        raise NotAllowed(instance.id, instance.state, to)
    values: dict[str, object] = {"state": to, "state_changed_at": now}
    if to == "running":
        values |= {"reason_code": None, "reason_message": None}
    if reason is not None:
        values |= {"reason_code": reason.code, "reason_message": reason.message}
    if transition is not None:
        values["transition_reason"] = transition
    if not instances.update_state(db, instance.id, instance.state, values):
        raise NotAllowed(instance.id, f"no longer {instance.state}", to)
    if to == "terminated":
        volumes.forget(db, instance.id)


def initiated(what: str, now: datetime) -> str:
    """Return the text of a transition for people: "User initiated (2026-11-22 17:00:00 GMT)"."""
    return f"{what} ({now:%Y-%m-%d %H:%M:%S} GMT)"


def markdown() -> str:
    """Return the table for the reference page."""
    lines = ["| state | code | meaning | may become |", "|---|---|---|---|"]
    for name, state in STATES.items():
        becomes = ", ".join(sorted(state.becomes)) or "-"
        lines.append(f"| {name} | {state.code} | {state.meaning} | {becomes} |")
    return "\n".join(lines) + "\n"
