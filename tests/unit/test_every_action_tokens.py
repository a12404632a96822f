# SPDX-License-Identifier: Apache-2.0
"""Every action that takes a client token does its work once for each; see action_cases.py."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from action_cases import case, new_world
from answers import code
from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError
from rows import rows_of
from served import Served, serve

from gateway import wake
from gateway.ec2.actions import ACTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from action_cases import World
    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey

TOKEN = "ClientToken"  # noqa: S105 - the name of a member
TAKING = sorted(name for name, one in ACTIONS.items() if TOKEN in one.operation.input.members)
DUPLICATES = 64
ATTEMPTS = 10
MANY = 300


def right_call(name: str, world: World) -> dict[str, Any]:
    """Return a right call with a token of its own."""
    for right in case(name).right:
        if TOKEN in (given := right(world)):
            return given
    raise AssertionError(f"a right call of {name} in action_cases.py has to give a {TOKEN}")


def answer_of(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: answer[name] for name in answer if name != "ResponseMetadata"}


@pytest.mark.parametrize("name", TAKING)
def test_an_action_that_could_take_a_client_token_takes_it(name: str) -> None:
    assert TOKEN in ACTIONS[name].contract.honoured, f"boto3 sends {name} a {TOKEN} by itself"


@pytest.mark.parametrize("name", TAKING)
def test_a_token_that_comes_often_at_once_is_answered_alike_and_acted_on_once(
    endpoint: Endpoint, key: AccessKey, served: str, name: str
) -> None:
    alone = endpoint.new_key()
    world, other = new_world(endpoint, key), new_world(endpoint, alone)
    asked = right_call(name, world)
    client = dataclasses.replace(endpoint, url=served).client(key)
    call: Callable[..., Any] = getattr(client, ACTIONS[name].operation.python_name)
    with ThreadPoolExecutor(DUPLICATES) as pool:
        answers = list(pool.map(lambda _: answer_of(call(**asked)), range(DUPLICATES)))
    assert all(answer == answers[0] for answer in answers)
    once = getattr(endpoint.client(alone), ACTIONS[name].operation.python_name)
    # The same token of another account is another token.
    assert answer_of(once(**right_call(name, other) | {TOKEN: asked[TOKEN]})) != answers[0]
    assert len(rows_of(endpoint, key.account_id)) == len(rows_of(endpoint, alone.account_id))


@pytest.mark.parametrize("name", TAKING)
def test_a_token_with_any_other_parameter_is_refused_in_ec2_s_words(
    endpoint: Endpoint, key: AccessKey, name: str
) -> None:
    world = new_world(endpoint, key)
    asked = right_call(name, world)
    call = getattr(endpoint.client(key), ACTIONS[name].operation.python_name)
    call(**asked)
    changes = case(name).changed
    assert changes, f"{name} takes a {TOKEN}: say in action_cases.py what can be `changed`"
    rows = rows_of(endpoint, world.account)
    left_out = ({one: None} for one in asked.keys() - {TOKEN} if one not in changes)
    for change in (*({one: value} for one, value in changes.items()), *left_out):
        given = {one: value for one, value in (asked | change).items() if value is not None}
        with pytest.raises(ClientError) as caught:
            call(**given)
        assert code(caught) in {"IdempotentParameterMismatch", "MissingParameter"}, change
        if code(caught) == "IdempotentParameterMismatch":
            assert caught.value.response["Error"]["Message"] == (
                "Arguments on this idempotent request are inconsistent with arguments used in"
                " previous request(s)."
            )
    assert rows_of(endpoint, world.account) == rows
    call(**asked)


@pytest.mark.parametrize("name", TAKING)
@pytest.mark.parametrize("token", ["x" * 65, "\u00e9", "a\u6f22"])
def test_a_token_is_at_most_64_ascii_characters(
    endpoint: Endpoint, key: AccessKey, name: str, token: str
) -> None:
    call = getattr(endpoint.client(key), ACTIONS[name].operation.python_name)
    with pytest.raises(ClientError) as caught:
        call(**right_call(name, new_world(endpoint, key)) | {TOKEN: token})
    assert code(caught) == "InvalidParameterValue"


@pytest.mark.parametrize("name", TAKING)
def test_a_token_is_known_after_a_kill(endpoint: Endpoint, key: AccessKey, name: str) -> None:
    world, python_name = new_world(endpoint, key), ACTIONS[name].operation.python_name
    asked = right_call(name, world)
    first = serve(endpoint.settings)
    call = getattr(dataclasses.replace(endpoint, url=first.url).client(key), python_name)
    answer = answer_of(call(**asked))
    first.kill()
    rows = rows_of(endpoint, key.account_id)
    second = serve(endpoint.settings)
    try:
        again = getattr(dataclasses.replace(endpoint, url=second.url).client(key), python_name)
        assert answer_of(again(**asked)) == answer
        assert rows_of(endpoint, key.account_id) == rows
    finally:
        second.stop()


def launch_unanswered(
    endpoint: Endpoint, key: AccessKey, image: str, kill: Callable[[Served], None]
) -> tuple[Served, str]:
    """Launch many and kill at the commit; return the server and the token without an answer."""
    for attempt in range(ATTEMPTS):
        running, token = serve(endpoint.settings), f"attempt-{attempt}"
        client = dataclasses.replace(endpoint, url=running.url).client(key)
        asked = {"ImageId": image, "MinCount": MANY, "MaxCount": MANY, TOKEN: token}
        with wake.listen(endpoint.settings, "reconciler") as committed, ThreadPoolExecutor() as one:
            committed.settimeout(30)
            answer = one.submit(client.run_instances, **asked)
            # Sent after the commit; the answer's many instances are still to be written.
            committed.recv(1)
            kill(running)
            if isinstance(answer.exception(), HTTPClientError | ConnectionClosedError):
                return running, token
        running.kill()
    raise AssertionError(f"in {ATTEMPTS} attempts none was killed before its answer")


@pytest.mark.parametrize(
    "kill",
    [Served.kill, Served.kill_workers],
    ids=["gateway", "worker"],
)
def test_a_launch_whose_answer_was_lost_to_a_kill_is_answered_at_the_retry_and_not_repeated(
    endpoint: Endpoint, key: AccessKey, image: str, kill: Callable[[Served], None]
) -> None:
    running, token = launch_unanswered(endpoint, key, image, kill)
    if running.process.returncode is not None:
        running = serve(endpoint.settings)
    try:
        client = dataclasses.replace(endpoint, url=running.url).client(key)
        kept = client.describe_instances(Filters=[{"Name": "client-token", "Values": [token]}])
        again = client.run_instances(ImageId=image, MinCount=MANY, MaxCount=MANY, ClientToken=token)
        [reservation] = kept["Reservations"]
        assert again["ReservationId"] == reservation["ReservationId"]
        assert len(again["Instances"]) == MANY
        described = client.describe_instances(
            Filters=[{"Name": "client-token", "Values": [token]}]
        )["Reservations"]
        assert described == kept["Reservations"]
    finally:
        running.stop()
