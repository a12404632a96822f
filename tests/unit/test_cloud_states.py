# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cloud import instances, states
from gateway.cloud.states import STATES, Reason
from gateway.store import database
from gateway.store import instances as rows

if TYPE_CHECKING:
    from conftest import Endpoint

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_the_codes_are_those_of_ec2() -> None:
    # EC2 API reference, InstanceState.
    assert {name: state.code for name, state in STATES.items()} == {
        "pending": 0,
        "running": 16,
        "shutting-down": 32,
        "terminated": 48,
        "stopping": 64,
        "stopped": 80,
    }


def test_every_state_can_end_and_nothing_follows_the_end() -> None:
    for name, state in STATES.items():
        assert state.becomes <= STATES.keys()
        assert ("terminated" in state.becomes) == (name != "terminated")


def test_nothing_comes_back_from_shutting_down() -> None:
    assert STATES["shutting-down"].becomes == {"terminated"}


def test_the_table_documents_itself() -> None:
    for name, state in STATES.items():
        assert f"| {name} | {state.code} | {state.meaning} |" in states.markdown()


def test_changes_outside_the_table_are_refused(endpoint: Endpoint, ec2: Any, image: str) -> None:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    with database.writing(endpoint.database) as db:

        def instance() -> rows.Instance:
            found = rows.get(db, launched["InstanceId"])
            assert found is not None
            return found

        before = instance()
        states.change(db, before, "running", NOW)
        assert instance().reason_code is None
        with pytest.raises(states.NotAllowed):
            states.change(db, before, "shutting-down", NOW)
        with pytest.raises(states.NotAllowed):
            states.change(db, instance(), "pending", NOW)
        states.change(db, instance(), "terminated", NOW, reason=Reason("Server.Code", "why"))
        for to in STATES:
            with pytest.raises(states.NotAllowed):
                states.change(db, instance(), to, NOW)
    described = ec2.describe_instances()["Reservations"]
    assert described == []


def test_instances_are_forgotten_a_day_after_their_end(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "b"}]}]
    launched = ec2.run_instances(ImageId=image, MinCount=2, MaxCount=2, TagSpecifications=tags)
    first, second = (instance["InstanceId"] for instance in launched["Instances"])
    ec2.terminate_instances(InstanceIds=[first])
    now = datetime.now(UTC)
    with database.writing(endpoint.database) as db:
        instances.forget(db, now + timedelta(hours=23), timedelta(hours=1))
        assert rows.get(db, first) is not None
        instances.forget(db, now + timedelta(hours=25), timedelta(hours=1))
        assert rows.get(db, first) is None
        assert rows.get(db, second) is not None
