# SPDX-License-Identifier: Apache-2.0
"""StopInstances and StartInstances: which states allow them, and what they write down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from answers import code
from botocore.exceptions import ClientError

from gateway.store import commands, database, instances

if TYPE_CHECKING:
    from conftest import Endpoint


def launch(ec2: Any, image: str, **more: Any) -> str:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, **more)["Instances"][0]
    return str(launched["InstanceId"])


@pytest.fixture
def running(endpoint: Endpoint, ec2: Any, image: str) -> str:
    made = launch(ec2, image)
    endpoint.change_state(made, "running")
    return made


def stop(endpoint: Endpoint, instance_id: str) -> None:
    for to in ("stopping", "stopped"):
        endpoint.change_state(instance_id, to)


def row(endpoint: Endpoint, instance_id: str) -> instances.Instance:
    with database.reading(endpoint.database) as db:
        found = instances.get(db, instance_id)
    assert found is not None
    return found


def graces(endpoint: Endpoint, instance_id: str) -> list[float]:
    with database.reading(endpoint.database) as db:
        return [one.grace for one in commands.select(db, instance_id, 1) if one.verb == "stop"]


def described(ec2: Any, instance_id: str) -> Any:
    return ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]


def test_stopping_asks_the_guest_and_says_who_wanted_it(
    endpoint: Endpoint, ec2: Any, running: str
) -> None:
    answer = ec2.stop_instances(InstanceIds=[running])
    assert answer["StoppingInstances"] == [
        {
            "InstanceId": running,
            "CurrentState": {"Code": 64, "Name": "stopping"},
            "PreviousState": {"Code": 16, "Name": "running"},
        }
    ]
    assert graces(endpoint, running) == [endpoint.settings.shutdown_grace]
    found = described(ec2, running)
    assert found["StateReason"] == {
        "Code": "Client.UserInitiatedShutdown",
        "Message": "Client.UserInitiatedShutdown: User initiated shutdown",
    }
    assert found["StateTransitionReason"].startswith("User initiated (20")


def test_a_forced_stop_gives_the_guest_no_time_and_hastens_one_that_is_under_way(
    endpoint: Endpoint, ec2: Any, running: str
) -> None:
    ec2.stop_instances(InstanceIds=[running])
    again = ec2.stop_instances(InstanceIds=[running])["StoppingInstances"][0]
    assert again["PreviousState"] == again["CurrentState"] == {"Code": 64, "Name": "stopping"}
    ec2.stop_instances(InstanceIds=[running], Force=True)
    assert graces(endpoint, running) == [endpoint.settings.shutdown_grace, 0.0]


def test_stopping_what_is_stopped_and_starting_what_runs_changes_nothing(
    endpoint: Endpoint, ec2: Any, image: str, running: str
) -> None:
    stopped = launch(ec2, image)
    endpoint.change_state(stopped, "running")
    stop(endpoint, stopped)
    told = ec2.stop_instances(InstanceIds=[stopped])["StoppingInstances"][0]
    assert told["PreviousState"] == told["CurrentState"] == {"Code": 80, "Name": "stopped"}
    told = ec2.start_instances(InstanceIds=[running])["StartingInstances"][0]
    assert told["PreviousState"] == told["CurrentState"] == {"Code": 16, "Name": "running"}
    assert row(endpoint, running).run == 1


@pytest.mark.parametrize(("verb", "state"), [("stop", "pending"), ("start", "stopping")])
def test_a_state_that_does_not_allow_it_is_said_and_no_instance_is_touched(
    endpoint: Endpoint, ec2: Any, image: str, *, running: str, verb: str, state: str
) -> None:
    other = launch(ec2, image)
    if state == "stopping":
        endpoint.change_state(other, "running")
        endpoint.change_state(other, "stopping")
        stop(endpoint, running)
    before = row(endpoint, running)
    call = getattr(ec2, f"{verb}_instances")
    with pytest.raises(ClientError) as caught:
        call(InstanceIds=[running, other])
    assert code(caught) == "IncorrectInstanceState"
    done = {"stop": "stopped", "start": "started"}[verb]
    told = f"The instance '{other}' is not in a state from which it can be {done}."
    assert caught.value.response["Error"]["Message"] == told
    assert row(endpoint, running) == before


def test_hibernation_is_refused_by_its_name(ec2: Any, running: str) -> None:
    with pytest.raises(ClientError) as caught:
        ec2.stop_instances(InstanceIds=[running], Hibernate=True)
    assert code(caught) == "UnsupportedOperation"
    assert "Hibernate" in str(caught.value)


def test_a_start_is_the_next_run_of_the_same_instance(
    endpoint: Endpoint, ec2: Any, running: str
) -> None:
    before = described(ec2, running)
    stop(endpoint, running)
    answer = ec2.start_instances(InstanceIds=[running])["StartingInstances"][0]
    assert answer["PreviousState"] == {"Code": 80, "Name": "stopped"}
    assert answer["CurrentState"] == {"Code": 0, "Name": "pending"}
    found = row(endpoint, running)
    assert (found.run, found.submit_state, found.wanted) == (2, "wanted", "running")
    assert (found.cluster, found.claim_nonce, found.claimed_at) == (None, None, None)
    after = described(ec2, running)
    assert after["StateTransitionReason"] == ""
    assert after["StateReason"] == {"Code": "", "Message": "pending"}
    assert after["LaunchTime"] >= before["LaunchTime"]
    assert ec2.start_instances(InstanceIds=[running])["StartingInstances"][0]["PreviousState"] == {
        "Code": 0,
        "Name": "pending",
    }
    assert row(endpoint, running).run == 2


def test_an_instance_that_is_protected_is_neither_stopped_nor_terminated(
    endpoint: Endpoint, ec2: Any, image: str, running: str
) -> None:
    kept = launch(ec2, image, DisableApiTermination=True, DisableApiStop=True)
    endpoint.change_state(kept, "running")
    for verb, done, attribute in (
        ("stop", "stopped", "disableApiStop"),
        ("terminate", "terminated", "disableApiTermination"),
    ):
        with pytest.raises(ClientError) as caught:
            getattr(ec2, f"{verb}_instances")(InstanceIds=[running, kept])
        assert code(caught) == "OperationNotPermitted"
        assert caught.value.response["Error"]["Message"] == (
            f"The instance '{kept}' may not be {done}. Modify its '{attribute}' instance"
            " attribute and try again."
        )
    assert row(endpoint, running).state == row(endpoint, kept).state == "running"


def test_terminating_a_stopped_instance_ends_it_at_once(
    endpoint: Endpoint, ec2: Any, running: str
) -> None:
    with database.writing(endpoint.database) as db:
        instances.update_job(db, running, 7, 0)
        instances.update_over(db, running, "host")
    stop(endpoint, running)
    answer = ec2.terminate_instances(InstanceIds=[running])["TerminatingInstances"][0]
    assert answer["PreviousState"]["Name"] == "stopped"
    assert answer["CurrentState"] == {"Code": 48, "Name": "terminated"}
