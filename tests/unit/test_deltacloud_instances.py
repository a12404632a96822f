# SPDX-License-Identifier: Apache-2.0
"""Instances over the Deltacloud API, and the same facts as the EC2 endpoint's."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from deltacloud_client import Client

from gateway.deltacloud.instance_states import MACHINE, STATES
from gateway.deltacloud.operations import OPERATIONS

if TYPE_CHECKING:
    from conftest import Endpoint
    from flask.testing import FlaskClient


def test_another_accounts_instance_does_not_exist(
    web: FlaskClient, endpoint: Endpoint, instance_id: str
) -> None:
    other = Client(web, endpoint.new_key())
    unknown = other.ask("GET", "/api/instances/i-00000000000000000")
    for method in ("GET", "DELETE"):
        answer = other.ask(method, f"/api/instances/{instance_id}")
        assert answer.status_code == 404
    guessed = other.ask("GET", f"/api/instances/{instance_id}").text
    assert guessed.replace(instance_id, "i-00000000000000000") == unknown.text
    assert other.json("/api/instances") == {"instances": []}


def test_a_missing_parameter_and_an_unknown_one_are_named(client: Client, image: str) -> None:
    answer = client.ask("POST", "/api/instances", data={"name": "x"})
    assert answer.status_code == 400
    assert "Required parameter 'image_id' not found in [name]" in answer.text
    answer = client.ask("POST", "/api/instances", data={"image_id": image, "firewalls1": "x"})
    assert answer.status_code == 400
    assert "'firewalls1' is not supported" in answer.text
    assert client.json("/api/instances") == {"instances": []}


@pytest.mark.parametrize(
    "given",
    [
        {"instance_count": "many"},
        {"instance_count": "0"},
        {"instance_count": "-1"},
        {"hwp_memory": "513"},
        {"user_data": "!"},
        {"user_data": base64.b64encode(b"x" * 16385).decode()},
        {"name": "x" * 300},
    ],
)
def test_a_value_that_cannot_be_is_400_and_launches_nothing(
    client: Client, image: str, given: dict[str, str]
) -> None:
    answer = client.ask("POST", "/api/instances", data={"image_id": image, **given})
    assert answer.status_code == 400, answer.text
    assert client.json("/api/instances") == {"instances": []}


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"hwp_id": "none"}, 404),
        ({"realm_id": "none"}, 404),
        ({"keyname": "none"}, 404),
        ({"instance_count": "1" * 9}, 403),
    ],
)
def test_naming_what_is_not_there_launches_nothing(
    client: Client, image: str, given: dict[str, str], status: int
) -> None:
    answer = client.ask("POST", "/api/instances", data={"image_id": image, **given})
    assert answer.status_code == status, answer.text
    assert client.json("/api/instances") == {"instances": []}


def test_too_many_at_once_are_told_how_many_there_may_be(client: Client, image: str) -> None:
    asked = {"image_id": image, "instance_count": "1001"}
    answer = client.ask("POST", "/api/instances", data=asked)
    assert answer.status_code == 403
    assert "At most 1000 instances can be launched at once." in answer.text


def test_parameters_come_in_the_form_the_query_string_or_the_path(
    client: Client, image: str
) -> None:
    matrix = f"/api/instances;image_id={image};name=path"
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/api/instances", {"data": {"image_id": image, "name": "form"}}),
        (f"/api/instances?image_id={image}&name=query", {}),
        (matrix, {"environ_overrides": {"RAW_URI": matrix}}),
    ]
    for path, more in asked:
        assert client.ask("POST", path, **more).status_code == 201
    names = [one["name"] for one in client.json("/api/instances")["instances"]]
    assert names == ["form", "query", "path"]


def test_user_data_with_line_ends_arrives_in_the_address_as_it_was(
    client: Client, image: str, endpoint: Endpoint
) -> None:
    data = bytes(range(256)) * 60
    text = base64.encodebytes(data).decode()
    answer = client.ask("POST", f"/api/instances?image_id={image}&user_data={quote(text)}")
    assert answer.status_code == 201, answer.text
    made = json.loads(answer.data)["instance"]["id"]
    with endpoint.database.connect() as db:
        kept = db.exec_driver_sql("SELECT user_data FROM instances WHERE id = ?", (made,)).scalar()
    assert kept == data


def test_several_instances_are_launched_together(client: Client, image: str) -> None:
    answer = client.ask("POST", "/api/instances", data={"image_id": image, "instance_count": "3"})
    assert answer.status_code == 201
    made = [one["id"] for one in json.loads(answer.data)["instances"]]
    assert len(set(made)) == 3
    assert answer.headers["Location"] == f"http://localhost/api/instances/{made[0]}"
    assert [one["id"] for one in client.json("/api/instances")["instances"]] == made


def test_an_instance_has_every_element_that_clients_read(client: Client, instance_id: str) -> None:
    one = client.xml(f"/api/instances/{instance_id}")["instance"]
    assert one["@href"] == f"http://localhost/api/instances/{instance_id}"
    assert one["name"] == "web"
    assert one["state"] == "PENDING"
    for name in ("image", "realm", "hardware_profile"):
        assert one[name]["@href"].endswith(one[name]["@id"])
    for name in ("public_addresses", "private_addresses"):
        assert one[name]["address"]["#text"]
    assert {"owner_id", "launch_time", "firewalls", "storage_volumes"} <= one.keys()
    assert one["actions"]["link"] == {
        "@rel": "destroy",
        "@method": "delete",
        "@href": one["@href"],
    }


def test_an_instance_without_a_name_is_called_by_its_id(client: Client, image: str) -> None:
    made = client.ask("POST", "/api/instances", data={"image_id": image})
    one = json.loads(made.data)["instance"]
    assert one["name"] == one["id"]


def test_names_are_data_in_both_forms(client: Client, image: str) -> None:
    name = '<a & "b">]]>\u00e9'
    made = client.ask("POST", "/api/instances", data={"image_id": image, "name": name})
    assert made.status_code == 201, made.text
    one = json.loads(made.data)["instance"]
    assert one["name"] == name
    xml = client.xml(f"/api/instances/{one['id']}")["instance"]
    assert xml["name"] == name


def test_every_instance_shows_the_same_facts_on_both_apis(
    client: Client, ec2: Any, endpoint: Endpoint, image: str
) -> None:
    for name in ("one", "two"):
        client.ask("POST", "/api/instances", data={"image_id": image, "name": name})
    reservation = ec2.run_instances(ImageId=image, InstanceType="medium", MinCount=2, MaxCount=2)
    endpoint.change_state(reservation["Instances"][0]["InstanceId"], "running")
    found = {
        instance["InstanceId"]: instance
        for one in ec2.describe_instances()["Reservations"]
        for instance in one["Instances"]
    }
    shown = client.json("/api/instances")["instances"]
    assert [one["id"] for one in shown] == list(found)
    for one in shown:
        same = found[one["id"]]
        assert one["state"] == STATES[same["State"]["Name"]].upper()
        assert one["image"]["id"] == same["ImageId"]
        assert one["realm"]["id"] == same["Placement"]["AvailabilityZone"]
        assert one["hardware_profile"]["id"] == same["InstanceType"]
        assert one["launch_time"] == f"{same['LaunchTime']:%Y-%m-%dT%H:%M:%SZ}"
        tagged = {tag["Key"]: tag["Value"] for tag in same.get("Tags", [])}
        assert one["name"] == tagged.get("Name", one["id"])


def test_a_machine_of_one_api_is_ended_over_the_other(
    client: Client, ec2: Any, instance_id: str
) -> None:
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert client.json(f"/api/instances/{instance_id}")["instance"]["state"] == "FINISH"
    assert client.json("/api/instances") == {"instances": []}


def test_rebooting_is_202_and_possible_while_it_runs(
    client: Client, endpoint: Endpoint, instance_id: str
) -> None:
    path = f"/api/instances/{instance_id}"
    assert client.ask("POST", f"{path}/reboot").status_code == 405
    endpoint.change_state(instance_id, "running")
    answer = client.ask("POST", f"{path}/reboot")
    assert answer.status_code == 202
    assert json.loads(answer.data)["id"] == instance_id
    links = {link["rel"]: link for link in json.loads(answer.data)["actions"]}
    assert links["reboot"] == {
        "rel": "reboot",
        "method": "post",
        "href": f"http://localhost{path}/reboot",
    }


def test_stopping_and_starting_are_202_each_in_its_state(
    client: Client, ec2: Any, endpoint: Endpoint, instance_id: str
) -> None:
    path = f"/api/instances/{instance_id}"
    endpoint.change_state(instance_id, "running")
    assert client.ask("POST", f"{path}/start").status_code == 405
    stopped = client.ask("POST", f"{path}/stop")
    assert (stopped.status_code, json.loads(stopped.data)["state"]) == (202, "STOPPING")
    assert client.ask("POST", f"{path}/stop").status_code == 405
    [reservation] = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    assert reservation["Instances"][0]["State"]["Name"] == "stopping"
    endpoint.change_state(instance_id, "stopped")
    started = client.ask("POST", f"{path}/start")
    assert (started.status_code, json.loads(started.data)["state"]) == (202, "PENDING")


def test_what_must_not_be_stopped_or_ended_is_403(
    client: Client, ec2: Any, endpoint: Endpoint, instance_id: str
) -> None:
    endpoint.change_state(instance_id, "running")
    for name in ("DisableApiStop", "DisableApiTermination"):
        ec2.modify_instance_attribute(InstanceId=instance_id, **{name: {"Value": True}})
    assert client.ask("POST", f"/api/instances/{instance_id}/stop").status_code == 403
    assert client.ask("DELETE", f"/api/instances/{instance_id}").status_code == 403


def test_destroying_is_204_and_once_more_405(client: Client, ec2: Any, instance_id: str) -> None:
    path = f"/api/instances/{instance_id}"
    answer = client.ask("DELETE", path)
    assert (answer.status_code, answer.data) == (204, b"")
    again = client.ask("DELETE", path)
    assert again.status_code == 405
    assert "FINISH" in again.text
    [reservation] = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    assert reservation["Instances"][0]["State"]["Name"] == "terminated"


def test_the_index_is_filtered_by_id_state_and_realm(
    client: Client, endpoint: Endpoint, image: str
) -> None:
    made = [
        json.loads(client.ask("POST", "/api/instances", data={"image_id": image}).data)["instance"]
        for _ in range(2)
    ]
    first, second = (one["id"] for one in made)
    endpoint.change_state(first, "running")

    def ids(query: str) -> list[str]:
        return [one["id"] for one in client.json(f"/api/instances?{query}")["instances"]]

    assert ids("state=RUNNING") == [first]
    assert ids("state=pending") == [second]
    assert ids(f"id={second}") == [second]
    assert ids("realm_id=elsewhere") == []
    assert ids("realm_id=condor-a") == [first, second]


def test_the_actions_of_a_state_are_the_state_machines(client: Client, endpoint: Endpoint) -> None:
    shown = client.xml("/api/instance_states")["states"]["state"]
    assert [state["@name"] for state in shown] == list(MACHINE)
    assert client.json("/api/instance_states")[0] == {
        "name": "start",
        "transitions": [{"action": "create", "to": "pending"}],
    }
    verbs = {one.name for one in OPERATIONS if one.collection == "instances"}
    offered = {each.action for name, steps in MACHINE.items() if name != "start" for each in steps}
    assert offered - {None} <= verbs
