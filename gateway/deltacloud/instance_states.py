# SPDX-License-Identifier: Apache-2.0
"""``/api/instance_states``: what an instance may be, and what may be done with it then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.deltacloud.operations import Answer, operation

if TYPE_CHECKING:
    from gateway.deltacloud.operations import Context


class Transition(NamedTuple):
    """To another state, by an action or (None) by itself."""

    action: str | None
    to: str


MACHINE: dict[str, tuple[Transition, ...]] = {
    "start": (Transition("create", "pending"),),
    "pending": (Transition(None, "running"), Transition("destroy", "finish")),
    "running": (
        Transition("reboot", "running"),
        Transition("stop", "stopped"),
        Transition("destroy", "finish"),
    ),
    "stopping": (Transition(None, "stopped"), Transition("destroy", "finish")),
    "stopped": (Transition("start", "running"), Transition("destroy", "finish")),
    "finish": (),
}
"""Deltacloud's states, in its own words."""

STATES = {
    "pending": "pending",
    "running": "running",
    "stopping": "stopping",
    "stopped": "stopped",
    "shutting-down": "finish",
    "terminated": "finish",
}
"""From the cloud's states to Deltacloud's."""


def actions(state: str) -> list[str]:
    """Return what may be done with an instance in one of the cloud's states."""
    return [one.action for one in MACHINE[STATES[state]] if one.action is not None]


@operation("instance_states", open=True)
def index(_ctx: Context) -> Answer:
    """Return the state machine."""
    states = [
        {"@name": name, "transition": [_xml(one) for one in transitions]}
        for name, transitions in MACHINE.items()
    ]
    plain = [
        {"name": name, "transitions": [_plain(one) for one in transitions]}
        for name, transitions in MACHINE.items()
    ]
    return Answer({"states": {"state": states}}, plain)


def _xml(one: Transition) -> dict[str, Any]:
    how = {"@auto": "true"} if one.action is None else {"@action": one.action}
    return {**how, "@to": one.to}


def _plain(one: Transition) -> dict[str, Any]:
    how: dict[str, Any] = {"auto": True} if one.action is None else {"action": one.action}
    return {**how, "to": one.to}
