# SPDX-License-Identifier: Apache-2.0
"""Attributes of instances are read back as they were written; status checks tell what is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from answers import code
from botocore.exceptions import ClientError

from gateway.cloud import console, health, observed
from gateway.ec2.instance_attributes import ELEMENTS
from gateway.store import database, instances, machines, nodes
from gateway.store.machines import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Endpoint

NOW = datetime.now(UTC)


@pytest.fixture
def running(endpoint: Endpoint, ec2: Any, image: str) -> str:
    made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    endpoint.change_state(made, "running")
    return str(made)


@pytest.fixture
def stopped(endpoint: Endpoint, running: str) -> str:
    endpoint.change_state(running, "stopped")
    return running


def attribute(ec2: Any, instance_id: str, name: str) -> Any:
    answer = ec2.describe_instance_attribute(InstanceId=instance_id, Attribute=name)
    assert answer.pop("InstanceId") == instance_id
    answer.pop("ResponseMetadata")
    [value] = answer.values()
    return value


@pytest.mark.parametrize("name", ELEMENTS)
def test_the_element_that_is_asked_for_is_always_there(ec2: Any, running: str, name: str) -> None:
    attribute(ec2, running, name)


def test_what_holds_after_a_plain_launch_is_ec2s_default(ec2: Any, running: str) -> None:
    assert attribute(ec2, running, "instanceInitiatedShutdownBehavior") == {"Value": "stop"}
    assert attribute(ec2, running, "disableApiTermination") == {"Value": False}
    assert attribute(ec2, running, "disableApiStop") == {"Value": False}
    assert attribute(ec2, running, "sourceDestCheck") == {"Value": True}
    assert attribute(ec2, running, "userData") == {}
    assert len(attribute(ec2, running, "groupSet")) == 1


@pytest.mark.parametrize(
    ("member", "name", "value", "read"),
    [
        ("InstanceType", "instanceType", "medium", "medium"),
        ("UserData", "userData", b"#!/bin/sh\n\xff", "IyEvYmluL3NoCv8="),
        ("DisableApiTermination", "disableApiTermination", True, True),
        ("DisableApiStop", "disableApiStop", True, True),
        ("SourceDestCheck", "sourceDestCheck", False, False),
        (
            "InstanceInitiatedShutdownBehavior",
            "instanceInitiatedShutdownBehavior",
            "terminate",
            "terminate",
        ),
    ],
)
def test_an_attribute_is_read_back_as_it_was_written(
    ec2: Any, stopped: str, *, member: str, name: str, value: object, read: object
) -> None:
    ec2.modify_instance_attribute(InstanceId=stopped, **{member: {"Value": value}})
    assert attribute(ec2, stopped, name) == {"Value": read}


def test_the_older_form_with_a_name_and_a_value_is_understood(ec2: Any, stopped: str) -> None:
    for name, value, read in (
        ("disableApiStop", "true", True),
        ("userData", "IyEvYmluL3NoCg==", "IyEvYmluL3NoCg=="),
        ("instanceType", "medium", "medium"),
    ):
        ec2.modify_instance_attribute(InstanceId=stopped, Attribute=name, Value=value)
        assert attribute(ec2, stopped, name) == {"Value": read}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"InstanceType": {"Value": "medium"}}, "IncorrectInstanceState"),
        ({"UserData": {"Value": b"x"}}, "IncorrectInstanceState"),
        ({"InstanceInitiatedShutdownBehavior": {"Value": "explode"}}, "InvalidParameterValue"),
        ({"Kernel": {"Value": "aki-12345678"}}, "UnsupportedOperation"),
        ({"EbsOptimized": {"Value": True}}, "UnsupportedOperation"),
        ({"Attribute": "kernel", "Value": "aki-12345678"}, "UnsupportedOperation"),
        ({"Attribute": "color", "Value": "red"}, "InvalidParameterValue"),
        ({"Attribute": "disableApiStop", "Value": "maybe"}, "InvalidParameterValue"),
        ({"Groups": ["sg-00000000000000000"]}, "InvalidGroup.NotFound"),
        ({}, "InvalidParameterCombination"),
        (
            {"DisableApiStop": {"Value": True}, "SourceDestCheck": {"Value": True}},
            "InvalidParameterCombination",
        ),
    ],
)
def test_what_cannot_be_set_is_refused(
    ec2: Any, running: str, given: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ClientError) as caught:
        ec2.modify_instance_attribute(InstanceId=running, **given)
    assert code(caught) == expected


def test_an_attribute_that_is_reset_has_its_first_value(ec2: Any, running: str) -> None:
    ec2.modify_instance_attribute(InstanceId=running, SourceDestCheck={"Value": False})
    ec2.reset_instance_attribute(InstanceId=running, Attribute="sourceDestCheck")
    assert attribute(ec2, running, "sourceDestCheck") == {"Value": True}


def test_monitoring_is_read_back(ec2: Any, running: str) -> None:
    def state() -> Any:
        answer = ec2.describe_instances(InstanceIds=[running])
        return answer["Reservations"][0]["Instances"][0]["Monitoring"]["State"]

    told = ec2.monitor_instances(InstanceIds=[running])["InstanceMonitorings"]
    assert told == [{"InstanceId": running, "Monitoring": {"State": "enabled"}}]
    assert state() == "enabled"
    ec2.unmonitor_instances(InstanceIds=[running])
    assert state() == "disabled"


def heard(endpoint: Endpoint, instance_id: str, at: datetime) -> None:
    """Let the instance's node have been heard then, and the guest, too."""
    with database.writing(endpoint.database) as db:
        nodes.insert(db, nodes.Node(instance_id, instance_id, NOW, None, at))
        instances.update_claim(db, instance_id, 1, nonce="n", host="host", node=instance_id, at=NOW)
        observed.guest_heard(db, instance_id, 1)


def test_the_waiters_for_a_machine_that_is_well_succeed(
    endpoint: Endpoint, ec2: Any, running: str
) -> None:
    heard(endpoint, running, datetime.now(UTC))
    for waiter in ("instance_status_ok", "system_status_ok"):
        ec2.get_waiter(waiter).wait(
            InstanceIds=[running], WaiterConfig={"Delay": 0, "MaxAttempts": 1}
        )


def test_a_node_that_is_silent_is_impaired_since_it_was_heard_last(
    endpoint: Endpoint, ec2: Any, running: str
) -> None:
    last = (datetime.now(UTC) - timedelta(minutes=2)).replace(microsecond=0)
    heard(endpoint, running, last)
    [status] = ec2.describe_instance_status(InstanceIds=[running])["InstanceStatuses"]
    assert status["SystemStatus"]["Status"] == "impaired"
    assert status["SystemStatus"]["Details"] == [
        {"Name": "reachability", "Status": "failed", "ImpairedSince": last}
    ]
    assert status["InstanceStatus"]["Status"] == "insufficient-data"
    filters = [{"Name": "system-status.status", "Values": ["ok"]}]
    assert ec2.describe_instance_status(Filters=filters)["InstanceStatuses"] == []


def test_only_running_instances_are_told_of_unless_all_are_asked_for(
    ec2: Any, stopped: str
) -> None:
    assert ec2.describe_instance_status()["InstanceStatuses"] == []
    [status] = ec2.describe_instance_status(IncludeAllInstances=True)["InstanceStatuses"]
    assert status["InstanceId"] == stopped
    assert status["InstanceState"]["Name"] == "stopped"
    assert status["InstanceStatus"]["Status"] == "not-applicable"


def test_a_guest_that_was_not_heard_is_initializing_and_then_unknown(
    endpoint: Endpoint, running: str
) -> None:
    with database.writing(endpoint.database) as db:
        observed.guest_heard(db, running, 2)  # of a run that is not the instance's
        instance = instances.get(db, running)
    assert instance is not None
    soon, late = (instance.begun_at + timedelta(minutes=m) for m in (1, 10))
    assert health.of_guest(instance, health.OK, soon) == health.INITIALIZING
    assert health.of_guest(instance, health.OK, late) == health.UNKNOWN
    started = instance._replace(heard_run=1, run=2)
    assert health.of_guest(started, health.OK, soon) == health.INITIALIZING


def test_what_a_guest_writes_on_its_console_does_not_make_it_well(
    endpoint: Endpoint, ec2: Any, running: str
) -> None:
    with database.writing(endpoint.database) as db:
        console.append(db, running, 1, offset=0, data=b"SeaBIOS (version", now=NOW)
    [status] = ec2.describe_instance_status(InstanceIds=[running])["InstanceStatuses"]
    assert status["InstanceStatus"]["Status"] == "initializing"


DRAINED = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)


@pytest.fixture
def drained(endpoint: Endpoint, running: str) -> Iterator[str]:
    """An instance whose node is being drained, beside a node of the same zone that is not."""
    zone, until = "condor-a", DRAINED + timedelta(hours=1)
    with database.writing(endpoint.database) as db:
        instances.update_claim(db, running, 1, nonce="n", host="h1", node="h1", at=NOW)
        for host, since in (("h1", DRAINED), ("h2", None)):
            machine = Machine(host, host, zone, NOW, since is None, since, until, "new memory")
            machines.put(db, machine)
    yield running
    with database.writing(endpoint.database) as db:
        machines.delete(db, ["h1", "h2"])


def test_an_instance_whose_node_is_drained_has_that_as_its_event(
    endpoint: Endpoint, ec2: Any, image: str, drained: str
) -> None:
    other = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    endpoint.change_state(other, "running")
    with database.writing(endpoint.database) as db:
        instances.update_claim(db, other, 1, nonce="n", host="h2", node="h2", at=NOW)
    found = {
        one["InstanceId"]: one["Events"]
        for one in ec2.describe_instance_status()["InstanceStatuses"]
    }
    assert found[other] == []
    [event] = found[drained]
    assert event.pop("InstanceEventId").startswith("instance-event-")
    assert event == {
        "Code": "instance-retirement",
        "Description": "The instance's node is being drained: new memory",
        "NotBefore": DRAINED + timedelta(hours=1),
    }
    for name, value in {
        "event.code": "instance-retirement",
        "event.description": "*new memory",
        "event.not-before": "2026-11-22T19:00:00.000Z",
        "event.instance-event-id": "instance-event-*",
    }.items():
        filters = [{"Name": name, "Values": [value]}]
        [one] = ec2.describe_instance_status(Filters=filters)["InstanceStatuses"]
        assert one["InstanceId"] == drained, name


def test_a_guest_with_a_kept_disk_is_stopped_by_a_drain(
    endpoint: Endpoint, ec2: Any, drained: str
) -> None:
    with database.writing(endpoint.database) as db:
        instances.update_over(db, drained, "h1")
    [status] = ec2.describe_instance_status(InstanceIds=[drained])["InstanceStatuses"]
    assert status["Events"][0]["Code"] == "instance-stop"
