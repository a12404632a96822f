# SPDX-License-Identifier: Apache-2.0
"""Requests to the Deltacloud API: forms of parameters and answers, sign-in, codes."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import xmltodict
from deltacloud_client import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.deltacloud.app import MAX_PATH, create_app
from gateway.deltacloud.entry_point import COLLECTIONS
from gateway.deltacloud.operations import OPERATIONS, parameters

if TYPE_CHECKING:
    from conftest import Endpoint
    from flask.testing import FlaskClient

    from gateway.store.access_keys import AccessKey

OPEN = [one for one in OPERATIONS if one.open]
CLOSED = [one for one in OPERATIONS if not one.open]


@pytest.mark.parametrize("path", ["/api", "/api/"])
def test_the_entry_point_links_every_collection_absolutely(web: FlaskClient, path: str) -> None:
    found = xmltodict.parse(web.get(path).data)["api"]
    assert found["@driver"] == "condor"
    links = {link["@rel"]: link["@href"] for link in found["link"]}
    assert links == {name: f"http://localhost/api/{name}" for name in COLLECTIONS}


def test_the_entry_point_names_features_as_clients_know_them(web: FlaskClient) -> None:
    links = json.loads(web.get("/api?format=json").data)["api"]["links"]
    named = {
        feature["name"] for link in links for several in link["features"] for feature in several
    }
    assert named == {
        "owner_id",
        "image_name",
        "image_description",
        "realm_filter",
        "user_name",
        "user_data",
        "authentication_key",
        "hardware_profiles",
        "instance_count",
        "import_key",
    }


def test_a_feature_is_a_parameter_of_its_operation() -> None:
    taken = {(one.collection, one.name): parameters(one.function) for one in OPERATIONS}
    for collection, features in COLLECTIONS.items():
        for feature in features:
            assert set(feature.parameters) <= taken[collection, feature.operation].keys()


@pytest.mark.parametrize("one", CLOSED, ids=lambda one: f"{one.collection}-{one.name}")
def test_nothing_of_an_account_is_shown_or_done_without_its_key(web: FlaskClient, one: Any) -> None:
    path = "/".join(filter(None, ("/api", one.collection, "x" if one.member else "", one.verb)))
    answer = web.open(path, method=one.method)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")


@pytest.mark.parametrize("one", OPEN, ids=lambda one: f"{one.collection}-{one.name}")
def test_what_is_everybodys_needs_no_key(web: FlaskClient, one: Any) -> None:
    members = {"drivers": "condor", "hardware_profiles": "small"}
    member = members.get(one.collection, "") if one.member else ""
    assert web.get("/".join(filter(None, ("/api", one.collection, member)))).status_code == 200


def test_force_auth_asks_for_a_key_and_takes_a_good_one(web: FlaskClient, client: Client) -> None:
    assert web.get("/api?force_auth=1").status_code == 401
    assert client.ask("GET", "/api?force_auth=1").status_code == 200


@pytest.mark.parametrize("secret", ["", "wrong"])
def test_a_wrong_secret_is_refused(web: FlaskClient, key: AccessKey, secret: str) -> None:
    assert web.get("/api/instances", auth=(key.id, secret)).status_code == 401


def test_an_unknown_key_without_a_secret_is_refused(web: FlaskClient) -> None:
    assert web.get("/api/instances", auth=("AKIANOBODY", "")).status_code == 401


def test_secrets_are_not_taken_over_plain_http_from_elsewhere(
    client: Client, web: FlaskClient
) -> None:
    far = {"REMOTE_ADDR": "192.0.2.1"}
    assert client.ask("GET", "/api/instances", environ_overrides=far).status_code == 403
    secure = {**far, "wsgi.url_scheme": "https"}
    assert client.ask("GET", "/api/instances", environ_overrides=secure).status_code == 200
    assert web.get("/api", environ_overrides=far).status_code == 200


@pytest.mark.parametrize(
    ("query", "accept", "expected"),
    [
        ("", None, "application/xml"),
        ("", "*/*", "application/xml"),
        ("", "text/xml", "application/xml"),
        ("", "application/json", "application/json"),
        ("", "application/xml;q=0.5, application/json", "application/json"),
        ("", "text/html,application/xml;q=0.9,*/*;q=0.8", "application/xml"),
        ("?format=json", "application/xml", "application/json"),
        ("?format=xml", "application/json", "application/xml"),
        (";format=json", None, "application/json"),
        (";format=json?format=xml", None, "application/xml"),
    ],
)
def test_the_format_is_the_parameters_or_the_best_that_is_accepted(
    web: FlaskClient, query: str, accept: str | None, expected: str
) -> None:
    headers = {} if accept is None else {"Accept": accept}
    answer = web.get(f"/api{query}", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == expected


@pytest.mark.parametrize(
    ("query", "accept"), [("?format=html", "*/*"), (";format=html", "*/*"), ("", "text/html")]
)
def test_a_format_that_there_is_not_is_406(web: FlaskClient, query: str, accept: str) -> None:
    assert web.get(f"/api{query}", headers={"Accept": accept}).status_code == 406


def test_who_asks_too_often_is_told_to_wait(endpoint: Endpoint, key: AccessKey) -> None:
    slow = dataclasses.replace(endpoint.settings, describe_rate=0.001, describe_burst=2)
    client = Client(create_app(slow).test_client(), key)
    codes = [client.ask("GET", "/api/keys").status_code for _ in range(3)]
    assert codes == [200, 200, 503]


def test_a_get_has_an_etag_and_is_not_sent_twice(client: Client, instance_id: str) -> None:
    path = f"/api/instances/{instance_id}"
    first = client.ask("GET", path)
    again = client.ask("GET", path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    client.ask("DELETE", path)
    changed = client.ask("GET", path, headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200


def test_the_server_says_the_same_version_as_the_entry_point(web: FlaskClient) -> None:
    answer = web.get("/api")
    version = xmltodict.parse(answer.data)["api"]["@version"]
    assert answer.headers["Server"] == f"Apache-Deltacloud/{version}"
    assert answer.headers["X-Deltacloud-Driver"] == "condor"


def test_head_has_the_headers_of_get_and_options_the_methods(
    web: FlaskClient, client: Client
) -> None:
    got, head = web.get("/api"), web.head("/api")
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["ETag"] == got.headers["ETag"]
    answer = client.ask("OPTIONS", "/api/instances")
    assert set(answer.headers["Allow"].split(",")) == {"OPTIONS", "HEAD", "GET", "POST"}
    assert client.ask("OPTIONS", "/api/nothing").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/elsewhere", 404),
        ("GET", "/api/buckets", 404),
        ("GET", "/api/instances/i-00000000000000000", 404),
        ("GET", "/api/instances/nonsense", 404),
        ("DELETE", "/api/instances/i-00000000000000000", 404),
        ("POST", "/api/instances/i-00000000000000000/run", 404),
        ("GET", "/api/images/ami-00000000000000000", 404),
        ("GET", "/api/keys/none", 404),
        ("DELETE", "/api/keys/none", 404),
        ("GET", "/api/realms/none", 404),
        ("GET", "/api/drivers/none", 404),
        ("GET", "/api/hardware_profiles/none", 404),
        ("PUT", "/api/instances", 405),
        ("DELETE", "/api/instances", 405),
        ("GET", "/api;driver=mock/instances", 400),
        ("GET", "/api/instances/x/y/z", 404),
    ],
)
def test_what_is_not_there_is_told_with_its_code(
    client: Client, method: str, path: str, status: int
) -> None:
    answer = client.ask(method, path, environ_overrides={"RAW_URI": path})
    assert answer.status_code == status
    assert json.loads(answer.data)["code"] == status


def test_an_error_tells_neither_parameters_nor_a_trace(client: Client) -> None:
    answer = client.ask(
        "POST",
        "/api/instances?user_data=c2VjcmV0",
        headers={"Accept": "text/xml"},
        data={"image_id": "ami-00000000000000000"},
    )
    document = xmltodict.parse(answer.data)["error"]
    assert document["@status"] == document["code"] == "404"
    assert document["backend"]["@driver"] == "condor"
    assert document["message"] == "There is no image ami-00000000000000000."
    assert "c2VjcmV0" not in answer.text
    assert set(document) == {"@status", "@url", "backend", "code", "message"}


def test_an_address_that_is_too_long_is_414(client: Client) -> None:
    path = f"/api/instances?user_data={'x' * MAX_PATH}"
    answer = client.ask("GET", path, environ_overrides={"RAW_URI": path})
    assert answer.status_code == 414


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"]),
    collection=st.sampled_from([*COLLECTIONS, "", "\u00e9", ";", "%00", "%ff"]),
    member=st.text(max_size=20),
    verb=st.sampled_from(["", "stop", "x"]),
    query=st.dictionaries(
        st.sampled_from(["format", "id", "image_id", "user_data", "instance_count", "name", "x"]),
        st.text(max_size=12),
        max_size=4,
    ),
    accept=st.sampled_from(["*/*", "application/json", "text/xml", "", ";q=", "image/png"]),
)
def test_no_request_breaks_it(  # noqa: PLR0917 - a request is all of these
    client: Client,
    method: str,
    collection: str,
    member: str,
    verb: str,
    query: dict[str, str],
    accept: str,
) -> None:
    parts = [quote(part, safe="%;") for part in (collection, quote(member, safe=""), verb) if part]
    path = "/".join(["/api", *parts])
    answer = client.ask(
        method,
        path,
        query_string=query,
        headers={"Accept": accept},
        environ_overrides={"RAW_URI": path},
    )
    assert answer.status_code < 500
    if answer.data and answer.headers["Content-Type"] == "application/xml":
        xmltodict.parse(answer.data)
    elif answer.data:
        json.loads(answer.data)


@pytest.mark.parametrize("query", ["id=a&id=b", "id=a%00b", "id=%01"])
def test_a_parameter_is_given_once_and_is_text(client: Client, query: str) -> None:
    assert client.ask("GET", f"/api/instances?{query}").status_code == 400
