# SPDX-License-Identifier: Apache-2.0
"""What one account has is for every other as if it were not there; see action_cases.py.

Public images are described to everybody by design; a world's image is not public.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from action_cases import CASES, NAMES, World, case, new_world, stranger
from botocore.exceptions import ClientError
from rows import rows_of

from gateway.ec2.actions import ACTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey

EVERY = sorted(ACTIONS)
MADE = re.compile(r"\b([a-z]+)-(?:[0-9a-f]{17}|[0-9a-z]{8})\b")


def values(world: World) -> set[str]:
    return {getattr(world, name) for name in NAMES}


def uses() -> Iterator[Any]:
    """Yield each right call with each name that it gives of what an account has."""
    world = stranger()
    for name in EVERY:
        for number, right in enumerate(CASES[name].right if name in CASES else ()):
            for field in NAMES:
                changed = dataclasses.replace(world, **{field: "x"})
                if right(world) != right(changed):
                    yield pytest.param(name, number, field, id=f"{name}-{number}-{field}")


def told(call: Callable[..., Any], given: dict[str, Any], named: str) -> str:
    """Return what a call is answered, with a mark for the name that it gave."""
    try:
        answer = call(**given)
    except ClientError as error:
        text = json.dumps(error.response["Error"])
    else:
        del answer["ResponseMetadata"]
        text = json.dumps(answer, default=str)
    return text.replace(named, "NAMED")


@pytest.mark.parametrize(("name", "number", "field"), list(uses()))
def test_what_another_account_has_is_answered_as_what_does_not_exist(
    endpoint: Endpoint, key: AccessKey, name: str, number: int, field: str
) -> None:
    right = case(name).right[number]
    theirs, mine = new_world(endpoint, endpoint.new_key()), new_world(endpoint, key)
    call = getattr(endpoint.client(key), ACTIONS[name].operation.python_name)
    before = rows_of(endpoint, theirs.account)
    answers = []
    for named in (getattr(theirs, field), getattr(stranger(), field)):
        world = dataclasses.replace(mine.anew(), **{field: named})
        answers.append(told(call, right(world), named).replace(world.unique, "UNIQUE"))
    existing, absent = answers
    assert not any(value in existing for value in values(theirs))
    assert MADE.sub(r"\1-NEW", existing) == MADE.sub(r"\1-NEW", absent)
    assert rows_of(endpoint, theirs.account) == before


@pytest.mark.parametrize("name", EVERY)
def test_no_answer_shows_anything_of_another_account(
    endpoint: Endpoint, key: AccessKey, name: str
) -> None:
    theirs = new_world(endpoint, endpoint.new_key())
    call = getattr(endpoint.client(key), ACTIONS[name].operation.python_name)
    for right in case(name).right:
        answer = told(call, right(new_world(endpoint, key).anew()), "\0")
        assert not any(value in answer for value in values(theirs))
    if not ACTIONS[name].writes:
        answer = told(call, {}, "\0")
        assert not any(value in answer for value in values(theirs))


def test_each_field_of_a_world_is_asked_for_by_another_account() -> None:
    asked = {parameter.values[2] for parameter in uses()}
    assert asked == set(NAMES), "a field of World that no call in action_cases.py names"
