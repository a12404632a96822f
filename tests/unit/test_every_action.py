# SPDX-License-Identifier: Apache-2.0
"""What holds for every action; what a new one has to bring for it is said in action_cases.py."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from action_cases import CASES, case, new_world
from answers import code
from botocore.exceptions import ClientError
from rows import unwritten

from gateway.ec2 import dispatch
from gateway.ec2.actions import ACTIONS
from gateway.ec2.contract import DRY_RUN, given_leaves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey

EVERY = sorted(ACTIONS)
NO_DRY_RUN = {"DescribeHosts", "DescribeIamInstanceProfileAssociations"}
"""Actions that only read, and that take none in EC2's model."""


class Watched(dict[str, Any]):
    """A structure of the input that writes down which of its members are asked for by name."""

    def __init__(self, given: dict[str, Any], path: str, seen: set[str]) -> None:
        inner = {name: watch(value, f"{path}.{name}", seen) for name, value in given.items()}
        super().__init__(inner)
        self._path, self._seen = path, seen

    def __getitem__(self, name: str) -> Any:
        self._seen.add(f"{self._path}.{name}")
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._seen.add(f"{self._path}.{name}")
        return super().get(name, default)


def watch(value: Any, path: str, seen: set[str]) -> Any:
    if isinstance(value, dict):
        return Watched(value, path, seen)
    if isinstance(value, list):
        return [watch(item, path, seen) for item in value]
    return value


def watched(function: Callable[..., Any], seen: set[str]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*leading: object, **given: Any) -> Any:
        return function(*leading, **{name: watch(given[name], name, seen) for name in given})

    return call


def parameters(function: Callable[..., Any]) -> set[str]:
    found = inspect.signature(function).parameters.values()
    return {one.name for one in found if one.kind is one.KEYWORD_ONLY}


def used_names(function: Callable[..., Any]) -> set[str]:
    """Return the names whose values a function's body takes."""
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(definition, ast.FunctionDef)
    return {
        node.id
        for statement in definition.body
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


@pytest.mark.parametrize("name", EVERY)
def test_each_parameter_that_is_honoured_is_used(name: str) -> None:
    chosen = ACTIONS[name]
    for function in filter(None, (chosen.function, chosen.prepare)):
        unused = parameters(function) - used_names(function)
        assert not unused, f"{name} claims to honour {unused} and does not look at it"


@pytest.mark.parametrize("name", EVERY)
def test_each_member_that_is_honoured_is_given_in_a_case_and_read(
    endpoint: Endpoint, key: AccessKey, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    chosen, seen, sent = ACTIONS[name], set[str](), set[str]()
    instrumented = dataclasses.replace(
        chosen,
        function=watched(chosen.function, seen),
        prepare=chosen.prepare and watched(chosen.prepare, seen),
    )
    monkeypatch.setitem(dispatch.ACTIONS, name, instrumented)
    call = getattr(endpoint.client(key), chosen.operation.python_name)
    for right in case(name).right:
        given = right(new_world(endpoint, key).anew())
        sent |= {path for path, _ in given_leaves(given)}
        call(**given)
    # The token of a next page is given by the test of pages.
    missing = chosen.contract.honoured - sent - {"NextToken"}
    assert not missing, f"no right call of {name} in action_cases.py gives {sorted(missing)}"
    unread = {path for path in chosen.contract.honoured if "." in path} - seen
    assert not unread, f"{name} claims to honour {sorted(unread)}, and no code reads it by name"


def calls() -> Iterator[Any]:
    for name in (one for one in EVERY if one not in NO_DRY_RUN):
        known = CASES.get(name)
        if known is None:
            yield pytest.param(name, None, id=name)
            continue
        for number in range(len(known.right)):
            yield pytest.param(name, number, id=f"{name}-{number}")


@pytest.mark.parametrize(("name", "number"), list(calls()))
def test_a_dry_run_says_that_the_call_would_succeed_and_changes_nothing(
    endpoint: Endpoint, key: AccessKey, name: str, number: int
) -> None:
    right = case(name).right[number]
    world = new_world(endpoint, key)
    call = getattr(endpoint.client(key), ACTIONS[name].operation.python_name)
    with unwritten(endpoint), pytest.raises(ClientError) as caught:
        call(**right(world), DryRun=True)
    assert code(caught) == "DryRunOperation"
    answer = caught.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 412
    told = "Request would have succeeded, but DryRun flag is set."
    assert answer["Error"]["Message"] == told
    call(**right(world), DryRun=False)


def wrong_calls() -> Iterator[Any]:
    for name in (one for one in EVERY if one not in NO_DRY_RUN):
        for number, (expected, _) in enumerate(CASES[name].wrong if name in CASES else ()):
            yield pytest.param(name, number, id=f"{name}-{expected}")


@pytest.mark.parametrize(("name", "number"), list(wrong_calls()))
def test_a_dry_run_gives_the_error_of_the_real_call_and_neither_changes_anything(
    endpoint: Endpoint, key: AccessKey, name: str, number: int
) -> None:
    expected, wrong = case(name).wrong[number]
    world = new_world(endpoint, key)
    call = getattr(endpoint.client(key), ACTIONS[name].operation.python_name)
    told = []
    for dry_run in (True, False):
        with unwritten(endpoint), pytest.raises(ClientError) as caught:
            call(**wrong(world), DryRun=dry_run)
        assert code(caught) == expected
        told.append(caught.value.response["Error"])
    assert told[0] == told[1]


@pytest.mark.parametrize("name", EVERY)
def test_each_action_has_its_calls_and_takes_a_dry_run(name: str) -> None:
    known = case(name)
    assert known.right, f"{name} needs a right call in action_cases.py"
    assert known.wrong or not ACTIONS[name].writes, f"{name} needs a wrong call"
    takes_it = DRY_RUN in ACTIONS[name].operation.input.members
    assert takes_it == (name not in NO_DRY_RUN)
    assert takes_it or not ACTIONS[name].writes


def test_no_case_is_left_of_an_action_that_is_gone() -> None:
    assert CASES.keys() <= ACTIONS.keys()
