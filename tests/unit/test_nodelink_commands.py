# SPDX-License-Identifier: Apache-2.0
"""From RebootInstances to the node: a command reaches the run it is for, and is told once taken."""

from __future__ import annotations

import contextlib
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from answers import code
from botocore.exceptions import ClientError

from execnode import commands as node_commands
from execnode import metadata_facts
from gateway.cloud import networks
from gateway.nodelink import credentials
from gateway.nodelink.app import create_app
from gateway.store import database, nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Endpoint
    from flask.testing import FlaskClient

    from gateway.store.access_keys import AccessKey


class Node:
    """A node with a token of its own."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.name = str(uuid4())
        self.headers = {"Authorization": f"Bearer {self.name}"}
        app = create_app(endpoint.settings)
        self.doorbell = app.extensions["doorbell"]
        self.http: FlaskClient = app.test_client()
        with database.writing(endpoint.database) as db:
            hashed = credentials.token_hash(self.name)
            nodes.insert(db, nodes.Node(self.name, hashed, datetime.now(UTC), None))

    def ask(self, path: str, **body: object) -> tuple[int, Any]:
        answer = self.http.post(path, json=body, headers=self.headers)
        return answer.status_code, answer.json

    def claim(self, instance_id: str, **more: object) -> Any:
        path = f"/v1/instances/{instance_id}/claim"
        status, answer = self.ask(path, run=1, node="host", job="1.0", nonce="n", **more)
        assert status == 200
        return answer

    def take(self, instance_id: str, *taken: int, nonce: str = "n") -> tuple[int, Any]:
        path = f"/v1/instances/{instance_id}/commands"
        return self.ask(path, run=1, nonce=nonce, taken=list(taken))

    def waiting(self, after: int = 0, wait: int = 0) -> Any:
        status, answer = self.ask("/v1/commands", after=after, wait=wait)
        assert status == 200
        return answer


@pytest.fixture
def node(endpoint: Endpoint) -> Iterator[Node]:
    made = Node(endpoint)
    with contextlib.closing(made.doorbell):
        yield made


@pytest.fixture
def claimed(node: Node, ec2: Any, image: str) -> str:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    node.claim(launched["InstanceId"])
    return str(launched["InstanceId"])


def test_a_reboot_is_told_to_the_node_that_has_the_instance_until_it_is_taken(
    node: Node, endpoint: Endpoint, ec2: Any, claimed: str
) -> None:
    ec2.reboot_instances(InstanceIds=[claimed])
    told = node.waiting()
    assert told["instances"] == [claimed]
    assert node.waiting(after=told["last"])["instances"] == []
    other = Node(endpoint)
    assert other.waiting()["instances"] == []
    other.doorbell.close()

    _, answer = node.take(claimed)
    [command] = node_commands.read(answer)
    assert (command.verb, command.grace) == ("reboot", endpoint.settings.shutdown_grace)
    status, answer = node.take(claimed, command.number)
    assert (status, answer["commands"]) == (200, [])
    assert metadata_facts.read(answer["metadata"]).options.enabled
    assert node.waiting()["instances"] == []


def test_every_request_is_a_command_of_its_own(node: Node, ec2: Any, claimed: str) -> None:
    for _ in range(3):
        ec2.reboot_instances(InstanceIds=[claimed])
    _, answer = node.take(claimed)
    assert len({command.number for command in node_commands.read(answer)}) == 3


def test_a_node_that_waits_is_answered_when_a_command_comes(
    node: Node, ec2: Any, claimed: str
) -> None:
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(node.waiting(wait=30)))
    waiting.start()
    ec2.reboot_instances(InstanceIds=[claimed])
    waiting.join(20)
    assert answers[0]["instances"] == [claimed]


def test_the_end_of_the_process_lets_a_waiting_node_go(node: Node, claimed: str) -> None:
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(node.waiting(wait=30)))
    waiting.start()
    node.doorbell.close()
    waiting.join(20)
    assert answers == [{"last": 0, "instances": []}], claimed


def test_only_the_supervisor_that_has_the_run_is_told(node: Node, ec2: Any, claimed: str) -> None:
    ec2.reboot_instances(InstanceIds=[claimed])
    status, answer = node.take(claimed, nonce="another")
    assert (status, answer["error"]) == (409, "claim-refused")
    assert node.take("i-00000000000000000")[0] == 404
    assert node.ask(f"/v1/instances/{claimed}/commands", run=1, nonce="n", taken=["1"])[0] == 400
    assert node.waiting()["instances"] == [claimed]


def test_a_node_that_asks_is_known_to_be_there(node: Node, endpoint: Endpoint) -> None:
    before = datetime.now(UTC)
    node.waiting()
    with database.reading(endpoint.database) as db:
        found = nodes.get(db, node.name)
    assert found is not None
    assert found.contacted_at is not None
    assert (found.contacted_at - before).total_seconds() > -1


def test_rebooting_names_what_is_not_there_and_reboots_none(
    node: Node, ec2: Any, claimed: str
) -> None:
    with pytest.raises(ClientError) as caught:
        ec2.reboot_instances(InstanceIds=[claimed, "i-00000000000000000"])
    assert code(caught) == "InvalidInstanceID.NotFound"
    assert node.waiting()["instances"] == []


def test_an_instance_that_ends_is_not_rebooted_and_that_is_no_error(
    node: Node, ec2: Any, claimed: str
) -> None:
    ec2.terminate_instances(InstanceIds=[claimed])
    ec2.reboot_instances(InstanceIds=[claimed])
    assert node.waiting()["instances"] == []


def test_a_stopped_instance_cannot_be_rebooted(endpoint: Endpoint, ec2: Any, claimed: str) -> None:
    for to in ("running", "stopping"):
        endpoint.change_state(claimed, to)
    with pytest.raises(ClientError) as caught:
        ec2.reboot_instances(InstanceIds=[claimed])
    assert code(caught) == "IncorrectInstanceState"
    assert f"'{claimed}' is not in a state from which it can be rebooted." in str(caught.value)


def test_a_dry_run_of_a_reboot_reboots_nothing(node: Node, ec2: Any, claimed: str) -> None:
    with pytest.raises(ClientError) as caught:
        ec2.reboot_instances(InstanceIds=[claimed], DryRun=True)
    assert code(caught) == "DryRunOperation"
    assert node.waiting()["instances"] == []


def settle(node: Node, instance_id: str, how: str, nonce: str = "n") -> tuple[int, Any]:
    path = f"/v1/instances/{instance_id}/disk"
    status, answer = node.ask(path, run=1, nonce=nonce, code=how)
    return status, answer.get("disk")


def test_a_disk_is_kept_where_the_instance_will_be_stopped(
    node: Node, endpoint: Endpoint, ec2: Any, claimed: str
) -> None:
    assert settle(node, claimed, "guest-shutdown") == (200, "keep")
    assert settle(node, claimed, "guest-crashed") == (200, "remove")
    assert settle(node, claimed, "guest-shutdown", nonce="another") == (409, None)
    endpoint.change_state(claimed, "running")
    ec2.stop_instances(InstanceIds=[claimed])
    assert settle(node, claimed, "guest-crashed") == (200, "keep")
    ec2.terminate_instances(InstanceIds=[claimed])
    assert settle(node, claimed, "stopped") == (200, "remove")


def test_only_disks_of_what_is_terminated_or_unknown_are_useless(
    node: Node, endpoint: Endpoint, claimed: str
) -> None:
    unknown = "i-00000000000000000"
    assert node.ask("/v1/disks", instances=[claimed, unknown]) == (200, {"useless": [unknown]})
    endpoint.change_state(claimed, "terminated")
    assert node.ask("/v1/disks", instances=[claimed]) == (200, {"useless": [claimed]})
    assert node.ask("/v1/disks", instances=[1])[0] == 400


def test_an_instance_is_where_the_node_that_claims_it_says_that_it_is(
    node: Node, ec2: Any, image: str, key: AccessKey
) -> None:
    for told, zone in (("condor-b", "condor-b"), ("", "condor-a"), ("no zone", "condor-a")):
        launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
        instance_id = launched["InstanceId"]
        specification = node.claim(instance_id, zone=told)
        assert specification["availability_zone"] == zone
        subnet = networks.subnet(key.account_id, zone)
        assert specification["metadata"]["network"]["subnet-id"] == subnet
        found = ec2.describe_instances(InstanceIds=[instance_id])
        described = found["Reservations"][0]["Instances"][0]
        assert described["Placement"]["AvailabilityZone"] == zone
        assert described["SubnetId"] == subnet
