# SPDX-License-Identifier: Apache-2.0
"""Every action that EC2's model pages is paged alike; see action_cases.py."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from action_cases import case, new_world
from answers import code
from botocore.exceptions import ClientError

from gateway.ec2.actions import ACTIONS
from gateway.wire.model import ListShape, StructureShape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey

PAGED = sorted(
    name for name, one in ACTIONS.items()
    if {"MaxResults", "NextToken"} <= one.operation.input.members.keys()
)  # fmt: skip
ROWS = 12
OF_ACCOUNTS = {"OwnerIds", "RestorableByUserIds"}
SIZE = 5
MOST = 1000
IN_WORDS = {"DescribeHosts": (5, 500), "DescribeLaunchTemplateVersions": (1, 200)}
"""Bounds that EC2's model has in its documentation alone."""
NOT_OURS = ["x", "AAAA", "WyJhIl0=", "WyJhIiwiYiJd", "ey", "\u6f22", "0", "5"]


def items(name: str, answer: dict[str, Any]) -> list[Any]:
    """Return what a page counts: the one list of the answer, or the instances in its launches."""
    if "Reservations" in answer:
        return [one for launch in answer["Reservations"] for one in launch["Instances"]]
    output = ACTIONS[name].operation.output
    assert output is not None
    [listed] = [one for one, shape in output.members.items() if isinstance(shape, ListShape)]
    found: list[Any] = answer[listed]
    return found


def pages(call: Callable[..., Any], given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    token: dict[str, str] = {}
    while True:
        answer = call(**given, MaxResults=SIZE, **token)
        yield answer
        if "NextToken" not in answer:
            return
        token = {"NextToken": answer["NextToken"]}


def call_of(endpoint: Endpoint, key: AccessKey, name: str) -> Callable[..., Any]:
    call = getattr(endpoint.client(key), ACTIONS[name].operation.python_name)
    return partial(call, **case(name).needed)


class Several:
    """An account with several pages of something, and how to ask for it."""

    def __init__(self, endpoint: Endpoint, key: AccessKey, name: str) -> None:
        self.world = new_world(endpoint, key)
        self.call = call_of(endpoint, key, name)
        make = case(name).rows
        for number in range(ROWS) if make else ():
            assert make is not None
            make(endpoint, key, self.world, number)
        self.everything = items(name, self.call())
        assert make is None or len(self.everything) >= ROWS

    @property
    def token(self) -> str | None:
        """The token of the second page, None where there is only one page."""
        token: str | None = self.call(MaxResults=SIZE).get("NextToken")
        assert (token is None) == (len(self.everything) <= SIZE)
        return token


@pytest.mark.parametrize("name", PAGED)
def test_what_ec2_pages_is_paged(name: str) -> None:
    contract = ACTIONS[name].contract
    assert {"MaxResults", "NextToken"} <= contract.honoured
    named = {one for one in contract.honoured if one.endswith(("Ids", "Names"))}
    missing = named - set(case(name).ids) - OF_ACCOUNTS
    assert not missing, f"say in action_cases.py that {missing} are `ids` of {name}"


@pytest.mark.parametrize("name", PAGED)
def test_pages_together_are_everything_in_its_order(
    endpoint: Endpoint, key: AccessKey, name: str
) -> None:
    several = Several(endpoint, key, name)
    found = list(pages(several.call, {}))
    counted = [len(items(name, page)) for page in found]
    assert all(count == SIZE for count in counted[:-1])
    assert min(1, len(several.everything)) <= counted[-1] <= SIZE
    together = list(itertools.chain.from_iterable(items(name, page) for page in found))
    assert together == several.everything


@pytest.mark.parametrize("name", PAGED)
def test_a_token_is_opaque_and_names_nothing(endpoint: Endpoint, key: AccessKey, name: str) -> None:
    several = Several(endpoint, key, name)
    if several.token is not None:
        assert several.world.account not in several.token
        assert several.world.image not in several.token
        assert not several.token.isdecimal()


@pytest.mark.parametrize("name", PAGED)
def test_a_token_is_bound_to_its_account_query_and_action(
    endpoint: Endpoint, key: AccessKey, name: str
) -> None:
    several = Several(endpoint, key, name)
    stranger = call_of(endpoint, endpoint.new_key(), name)
    calls = [(several.call, {"NextToken": token}) for token in NOT_OURS]
    token = several.token
    if token is not None:
        filters = [one(several.world).get("Filters") for one in case(name).right]
        assert any(filters), f"a right call of {name} in action_cases.py has to have Filters"
        calls += [(several.call, {"Filters": one, "NextToken": token}) for one in filters if one]
        calls += [(stranger, {"NextToken": token}), (several.call, {"NextToken": token[:-4]})]
        changed = ("A" if token[8] != "A" else "B").join((token[:8], token[9:]))
        calls += [(several.call, {"NextToken": changed})]
    other = next(one for one in PAGED if one != name and case(one).rows)
    foreign = Several(endpoint, key, other).token
    calls += [(several.call, {"NextToken": foreign})]
    for call, given in calls:
        with pytest.raises(ClientError) as caught:
            call(MaxResults=SIZE, **given)
        assert code(caught) == "InvalidNextToken", given
        told = "The specified NextToken is not valid."
        assert caught.value.response["Error"]["Message"] == told


@pytest.mark.parametrize("name", PAGED)
def test_pages_and_single_resources_exclude_one_another(
    endpoint: Endpoint, key: AccessKey, name: str
) -> None:
    call = getattr(endpoint.client(key), ACTIONS[name].operation.python_name)
    for member in case(name).ids:
        with pytest.raises(ClientError, match="cannot be used with the parameter") as caught:
            call(**{member: ["x"]}, MaxResults=SIZE)
        assert code(caught) == "InvalidParameterCombination"


@pytest.mark.parametrize("name", PAGED)
def test_a_page_has_a_size_that_ec2_allows(endpoint: Endpoint, key: AccessKey, name: str) -> None:
    shape = ACTIONS[name].operation.input
    assert isinstance(shape, StructureShape)
    allowed = shape.members["MaxResults"].metadata
    least, most = allowed.get("min", SIZE), allowed.get("max", MOST)
    least, most = IN_WORDS.get(name, (least, most))
    call = call_of(endpoint, key, name)
    for size in (least, most):
        call(MaxResults=size)
    for size in (least - 1, most + 1, 0, -1, 2**31 - 1):
        with pytest.raises(ClientError) as caught:
            call(MaxResults=size)
        assert code(caught) == "InvalidParameterValue", size
