# SPDX-License-Identifier: Apache-2.0
"""From an action's name to its function, and what holds for all actions.

A parameter of EC2's model is honoured (it is in the function's signature), true here only with
one value (``only``), of no consequence (``harmless``, with the reason), or refused by its name.
Nothing is ignored in silence. Below a structure the same holds for each member, by dotted path.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from gateway import wake
from gateway.cloud.errors import Refused
from gateway.cloud.instances import MAX_LAUNCH
from gateway.ec2.context import Context
from gateway.ec2.contract import Contract
from gateway.ec2.refusals import translate
from gateway.errors import DryRunOperation, InvalidAction
from gateway.store.database import reading, writing
from gateway.wire import model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from gateway.context import Gateway

Result = dict[str, Any]

ACTIONS: dict[str, Action] = {}
"""Every action that there is; ``gateway.ec2.actions`` fills it by importing the resources."""


@dataclass(frozen=True)
class Action:
    """An action: its function, and its contract about the members of its input."""

    operation: model.Operation
    function: Callable[..., Result]
    writes: bool
    contract: Contract
    prepare: Callable[..., object] | None = None
    launches: str | None = None
    finish: Callable[[Gateway, Result], Result] | None = None

    def launched(self, given: Mapping[str, Any]) -> int:
        """Return how many instances a request may launch at most; a dry run launches none."""
        asked = given.get(self.launches) if self.launches else None
        if asked is None or given.get("DryRun", False):
            return 0
        return min(asked if isinstance(asked, int) else len(asked), MAX_LAUNCH)


def action(
    *,
    writes: bool = False,
    prepare: Callable[..., object] | None = None,
    finish: Callable[[Gateway, Result], Result] | None = None,
    members: tuple[str, ...] = (),
    only: Mapping[str, object] | None = None,
    harmless: Mapping[str, str] | None = None,
    notes: Mapping[str, str] | None = None,
    launches: str | None = None,
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Register a function as the action that its name spells (run_instances: RunInstances).

    ``members`` are the honoured members of structures, ``only`` what is true here with one value
    and refused with another, ``harmless`` what makes no difference, each with its reason,
    ``notes`` which values of what is honoured make none; all by dotted path
    (``Placement.Tenancy``). What the model does not have is a programming error.

    ``prepare`` takes parameters by the same rule and is called before the transaction, so that
    what it computes holds up no other writer; its result is the function's second argument.

    ``launches`` is the parameter that says how many instances are launched, as a number or as a
    list, for an action that launches any; see ``gateway.throttle``.

    ``finish`` makes the answer of the function's result after the transaction, when others have
    been woken: for what takes another's doing. A dry run does without.
    """

    def register(function: Callable[..., Result]) -> Callable[..., Result]:
        name = "".join(part.capitalize() for part in function.__name__.split("_"))
        operation = model.operation(name)
        if operation is None:
            raise ValueError(f"{name} is not an operation of EC2.")
        parameters = _parameters(function) | (_parameters(prepare) if prepare else set())
        contract = Contract(
            operation, parameters, frozenset(members), only or {}, harmless or {}, notes or {}
        )
        ACTIONS[name] = Action(operation, function, writes, contract, prepare, launches, finish)
        return function

    return register


def find(name: str) -> Action:
    """Return the action; raise :class:`InvalidAction` for any that is not there."""
    found = ACTIONS.get(name)
    if found is None:
        raise InvalidAction(name)
    return found


def execute(
    gateway: Gateway,
    chosen: Action,
    given: Mapping[str, Any],
    *,
    account_id: str,
    request_id: str,
    now: datetime,
    host: str = "",
) -> Result:
    """Carry an action out in one transaction; with ``DryRun`` check everything and undo it."""
    parameters = dict(given)
    dry_run = parameters.pop("DryRun", False)
    chosen.contract.check(parameters)
    told = _hash(chosen.operation, parameters)
    transaction = writing if chosen.writes else reading
    try:
        prepared = [_call(chosen.prepare, parameters)] if chosen.prepare else []
        with transaction(gateway.database) as db:
            context = Context(gateway, db, account_id, now, request_id, told, host)
            result: Result = _call(chosen.function, parameters, context, *prepared)
            if dry_run:
                raise DryRunOperation
    except Refused as refused:
        raise translate(refused) from refused
    for process in context.wakes:
        wake.notify(gateway.settings, process)
    return chosen.finish(gateway, result) if chosen.finish else result


def capabilities() -> dict[str, Any]:
    """Return, for each action, what happens to each member that EC2's model has for it."""
    return {name: chosen.contract.document() for name, chosen in sorted(ACTIONS.items())}


def _hash(operation: model.Operation, parameters: Mapping[str, Any]) -> str:
    told = {name: parameters[name] for name in parameters if name not in operation.token_members}
    # Blobs and points in time are written as Python does: only to be compared with themselves.
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=repr).encode()).hexdigest()


@cache
def _parameters(function: Callable[..., object]) -> frozenset[str]:
    return frozenset(
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    )


def _call(function: Callable[..., Any], given: Mapping[str, Any], *leading: object) -> Any:
    named = _parameters(function)
    return function(*leading, **{name: given[name] for name in given if name in named})
