# SPDX-License-Identifier: Apache-2.0
"""TerminateInstances, and how an instance looks in each of its states."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from answers import code, instance_ids
from botocore.exceptions import ClientError

from gateway.cloud import console, states
from gateway.store import database, instances, schema

if TYPE_CHECKING:
    from conftest import Endpoint


def test_terminating_before_submission_ends_at_once(ec2: Any, image: str) -> None:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    answer = ec2.terminate_instances(InstanceIds=[launched["InstanceId"]])
    assert answer["TerminatingInstances"] == [
        {
            "InstanceId": launched["InstanceId"],
            "CurrentState": {"Code": 48, "Name": "terminated"},
            "PreviousState": {"Code": 0, "Name": "pending"},
        }
    ]
    ec2.get_waiter("instance_terminated").wait(
        InstanceIds=[launched["InstanceId"]], WaiterConfig={"Delay": 0, "MaxAttempts": 1}
    )
    described = ec2.describe_instances()["Reservations"][0]["Instances"][0]
    assert described["StateReason"] == {
        "Code": "Client.UserInitiatedShutdown",
        "Message": "Client.UserInitiatedShutdown: User initiated shutdown",
    }
    assert described["StateTransitionReason"].startswith("User initiated (20")
    assert described["StateTransitionReason"].endswith(" GMT)")


def test_terminating_after_submission_waits_for_the_job(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    with database.writing(endpoint.database) as db:
        instances.update_job(db, launched["InstanceId"], 12, 0)
    endpoint.change_state(launched["InstanceId"], "running")
    first = ec2.terminate_instances(InstanceIds=[launched["InstanceId"]])
    again = ec2.terminate_instances(InstanceIds=[launched["InstanceId"]])
    assert first["TerminatingInstances"][0]["PreviousState"]["Name"] == "running"
    assert first["TerminatingInstances"][0]["CurrentState"]["Name"] == "shutting-down"
    assert again["TerminatingInstances"][0]["PreviousState"]["Name"] == "shutting-down"
    with database.reading(endpoint.database) as db:
        wanted = [row.id for row in instances.select_to_terminate(db)]
    assert launched["InstanceId"] in wanted


def test_terminating_ends_all_of_the_named_instances_or_none(ec2: Any, image: str) -> None:
    launched = ec2.run_instances(ImageId=image, MinCount=2, MaxCount=2)["Instances"]
    named = [instance["InstanceId"] for instance in launched]
    with pytest.raises(ClientError, match="'i-00000000, i-00000001' do not exist") as caught:
        ec2.terminate_instances(InstanceIds=[*named, "i-00000000", "i-00000001"])
    assert code(caught) == "InvalidInstanceID.NotFound"
    states_now = ec2.describe_instances()["Reservations"][0]["Instances"]
    assert {instance["State"]["Name"] for instance in states_now} == {"pending"}
    answer = ec2.terminate_instances(InstanceIds=[named[1], named[0], named[1]])
    assert [one["InstanceId"] for one in answer["TerminatingInstances"]] == [named[1], named[0]]


def test_terminated_instances_are_described_for_a_while(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    launched = ec2.run_instances(ImageId=image, MinCount=2, MaxCount=2)["Instances"]
    recent, old = (instance["InstanceId"] for instance in launched)
    endpoint.change_state(recent, "terminated")
    kept = timedelta(seconds=endpoint.settings.terminated_kept)
    endpoint.change_state(old, "terminated", datetime.now(UTC) - kept)
    assert instance_ids(ec2.describe_instances()) == [recent]
    assert instance_ids(ec2.describe_instances(InstanceIds=[recent])) == [recent]
    with pytest.raises(ClientError) as caught:
        ec2.describe_instances(InstanceIds=[old])
    assert code(caught) == "InvalidInstanceID.NotFound"


def test_a_running_instance_shows_its_address_and_no_reason(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    with database.writing(endpoint.database) as db:
        where = instances.Whereabouts("node-1", "10.77.0.9", 5901, "kvm")
        instances.update_whereabouts(db, launched["InstanceId"], where)
        instance = instances.get(db, launched["InstanceId"])
        assert instance is not None
        states.change(db, instance, "running", datetime.now(UTC))
    ec2.get_waiter("instance_running").wait(
        InstanceIds=[launched["InstanceId"]], WaiterConfig={"Delay": 0, "MaxAttempts": 1}
    )
    described = ec2.describe_instances()["Reservations"][0]["Instances"][0]
    assert described["PrivateIpAddress"] == "10.77.0.9"
    assert "StateReason" not in described
    assert "node-1" not in str(described)


def test_the_console_of_a_terminated_instance_is_there_for_as_long_as_it_is_described(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    name = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    now = datetime.now(UTC)
    with database.writing(endpoint.database) as db:
        console.append(db, name, 1, offset=0, data=b"No bootable device.", now=now)
    endpoint.change_state(name, "terminated")
    for latest in (True, False):
        told = ec2.get_console_output(InstanceId=name, Latest=latest)
        assert told["Output"] == "No bootable device."
        assert abs(told["Timestamp"] - now) < timedelta(seconds=1)
    with database.writing(endpoint.database) as db:
        kept = timedelta(seconds=endpoint.settings.terminated_kept)
        db.execute(
            schema.instances.update()
            .where(schema.instances.c.id == name)
            .values(state_changed_at=now - kept)
        )
    with pytest.raises(ClientError) as caught:
        ec2.get_console_output(InstanceId=name)
    assert code(caught) == "InvalidInstanceID.NotFound"


def test_no_guest_has_a_windows_password(ec2: Any, image: str) -> None:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    told = ec2.get_password_data(InstanceId=launched["InstanceId"])
    assert told["InstanceId"] == launched["InstanceId"]
    assert told["PasswordData"] == ""
    assert told["Timestamp"] == launched["LaunchTime"]


def test_an_instance_that_wrote_nothing_has_an_empty_console(ec2: Any, image: str) -> None:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    assert ec2.get_console_output(InstanceId=launched["InstanceId"])["Output"] == ""
