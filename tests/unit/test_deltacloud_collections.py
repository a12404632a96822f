# SPDX-License-Identifier: Apache-2.0
"""Images, keys and hardware profiles over the Deltacloud API."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import xmltodict
from capture_world import Node
from deltacloud_client import Client

if TYPE_CHECKING:
    from conftest import Endpoint
    from flask.testing import FlaskClient

    from gateway.store.access_keys import AccessKey


def test_an_image_has_every_element_that_clients_read(client: Client, image: str) -> None:
    found = client.xml(f"/api/images/{image}")["image"]
    assert found["state"] == "AVAILABLE"
    profiles = found["hardware_profiles"]["hardware_profile"]
    assert {one["@rel"] for one in profiles} == {"hardware_profile"}
    links = {link["@rel"]: link for link in found["actions"]["link"]}
    assert links["create_instance"]["@href"] == f"http://localhost/api/instances;image_id={image}"
    assert links["destroy_image"]["@method"] == "delete"
    assert {"name", "description", "owner_id", "architecture", "creation_time"} <= found.keys()
    assert all(found[name] for name in ("name", "description", "architecture"))


def test_an_image_is_destroyed_by_its_owner_alone(
    web: FlaskClient, endpoint: Endpoint, client: Client, key: AccessKey
) -> None:
    public = endpoint.new_image(key.account_id, public=True)
    other = Client(web, endpoint.new_key())
    assert other.ask("GET", f"/api/images/{public}").status_code == 200
    assert other.ask("DELETE", f"/api/images/{public}").status_code == 403
    assert client.ask("DELETE", f"/api/images/{public}").status_code == 204
    assert client.ask("GET", f"/api/images/{public}").status_code == 404


def test_a_machine_becomes_an_image_by_its_own_link(
    client: Client, endpoint: Endpoint, ec2: Any, image: str
) -> None:
    answer = client.ask("POST", "/api/instances", data={"image_id": image})
    instance = json.loads(answer.data)["instance"]["id"]
    path = f"/api/instances/{instance}"
    assert "create_image" not in rels(client, path)
    refused = client.ask("POST", "/api/images", data={"instance_id": instance})
    assert (refused.status_code, refused.headers["Allow"]) == (405, "OPTIONS,HEAD,GET")
    endpoint.change_state(instance, "running")
    assert client.json(path)["instance"]["create_image"] is True
    link = rels(client, path)["create_image"]
    assert link["@method"] == "post"
    made = client.ask("POST", link["@href"].removeprefix("http://localhost"))
    assert made.status_code == 201, made.text
    created = json.loads(made.data)["image"]
    assert made.headers["Location"] == created["href"]
    assert created["state"] == "PENDING"
    [there] = ec2.describe_images(ImageIds=[created["id"]])["Images"]
    assert (there["SourceInstanceId"], there["Name"]) == (instance, created["name"])
    named = {"instance_id": instance, "name": "a name", "description": "words"}
    second = json.loads(client.ask("POST", "/api/images", data=named).data)["image"]
    assert (second["name"], second["description"]) == ("a name", "words")
    assert client.ask("POST", "/api/images", data=named).status_code == 409
    with contextlib.closing(Node(endpoint, instance)) as node:
        node.claim()
        node.end()
        assert client.json(path)["instance"]["state"] == "STOPPED"
        assert "create_image" in rels(client, path)
        stopped = client.ask("POST", "/api/images", data={"instance_id": instance})
        assert stopped.status_code == 201
        assert len(node.errands()) == 1
    endpoint.change_state(instance, "terminated")
    ended = client.ask("POST", "/api/images", data={"instance_id": instance})
    assert ended.status_code == 405
    assert client.ask("POST", "/api/images", data={"instance_id": "i-0"}).status_code == 404
    assert client.ask("POST", "/api/images").status_code == 400


def rels(client: Client, path: str) -> dict[str, Any]:
    links = client.xml(path)["instance"]["actions"]["link"]
    return {link["@rel"]: link for link in (links if isinstance(links, list) else [links])}


def test_a_key_is_made_shown_without_its_secret_and_destroyed(client: Client) -> None:
    made = client.ask("POST", "/api/keys?name=a%20%2F%20b")
    assert made.status_code == 201
    key = json.loads(made.data)["key"]
    assert key["pem_rsa_key"].startswith("-----BEGIN")
    path = made.headers["Location"].removeprefix("http://localhost")
    assert path == "/api/keys/a%20%2F%20b"
    raw = {"environ_overrides": {"RAW_URI": path}}
    shown = json.loads(client.ask("GET", path, **raw).data)["key"]
    assert (shown["id"], shown["pem_rsa_key"]) == ("a / b", None)
    assert shown["fingerprint"] == key["fingerprint"]
    assert client.ask("POST", "/api/keys", data={"name": "a / b"}).status_code == 409
    assert client.ask("DELETE", path, **raw).status_code == 204
    assert client.json("/api/keys") == {"keys": []}


def test_a_public_key_is_taken_in_and_an_instance_gets_it(
    client: Client, ec2: Any, image: str
) -> None:
    public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    made = client.ask("POST", "/api/keys", data={"name": "mine", "public_key": public})
    assert made.status_code == 201, made.text
    assert json.loads(made.data)["key"]["pem_rsa_key"] is None
    bad = client.ask("POST", "/api/keys", data={"name": "other", "public_key": "nonsense"})
    assert bad.status_code == 400
    assert [pair["KeyName"] for pair in ec2.describe_key_pairs()["KeyPairs"]] == ["mine"]
    answer = client.ask("POST", "/api/instances", data={"image_id": image, "keyname": "mine"})
    assert json.loads(answer.data)["instance"]["authentication"] == {"keyname": "mine"}


def test_a_hardware_profile_has_its_properties_in_both_forms(web: FlaskClient) -> None:
    xml = xmltodict.parse(web.get("/api/hardware_profiles/small").data)["hardware_profile"]
    plain = json.loads(web.get("/api/hardware_profiles/small?format=json").data)
    properties = {one["@name"]: one["@value"] for one in xml["property"]}
    assert properties == plain["hardware_profile"]["properties"]
    assert {"cpu", "memory", "storage", "architecture"} == properties.keys()
    assert xml["id"] == xml["@id"] == "small"
