# SPDX-License-Identifier: Apache-2.0
"""The endpoint as a whole: its headers, its answers to anything, its processes."""

from __future__ import annotations

import dataclasses
import http.client
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import wake
from gateway.app import MAX_BODY, create_app
from gateway.cloud import accounts
from gateway.config import Settings
from gateway.ec2 import dispatch
from gateway.ec2.actions import ACTIONS
from gateway.store import database

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Endpoint
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from gateway.store.access_keys import AccessKey


@pytest.fixture(scope="module")
def web(endpoint: Endpoint) -> FlaskClient:
    return create_app(endpoint.settings).test_client()


@pytest.fixture(scope="module")
def signer(endpoint: Endpoint) -> AccessKey:
    return endpoint.new_key()


def send(web: FlaskClient, key: AccessKey, body: bytes, path: str = "/") -> TestResponse:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    request = AWSRequest("POST", f"http://localhost{path}", data=body, headers=headers)
    SigV4Auth(Credentials(key.id, key.secret), "ec2", "condor").add_auth(request)
    return web.post(path, data=body, headers=dict(request.headers))


def form(**parameters: Any) -> bytes:
    return urlencode({"Version": "2016-11-15", **parameters}).encode()


def test_an_answer_has_the_headers_that_clients_read(web: FlaskClient, signer: AccessKey) -> None:
    answer = send(web, signer, form(Action="DescribeRegions", Version="2012-10-01"))
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/xml;charset=UTF-8"
    assert answer.headers["Server"] == "AmazonEC2"
    assert f"<requestId>{answer.headers['x-amzn-RequestId']}</requestId>" in answer.text
    assert 'xmlns="http://ec2.amazonaws.com/doc/2012-10-01/"' in answer.text


def test_an_error_has_the_same_headers_and_exactly_code_and_message(
    web: FlaskClient, signer: AccessKey
) -> None:
    answer = send(web, signer, form(Action="MakeCoffee"))
    assert answer.status_code == 400
    assert answer.headers["Server"] == "AmazonEC2"
    assert answer.text.endswith(
        "<Response><Errors><Error><Code>InvalidAction</Code><Message>The action MakeCoffee is not"
        " valid for this web service.</Message></Error></Errors><RequestID>"
        f"{answer.headers['x-amzn-RequestId']}</RequestID></Response>"
    )


@pytest.mark.parametrize("path", ["/", "/services/Eucalyptus", "/a//b/", "/a%20b/%2F/.."])
def test_any_path_is_the_endpoint(web: FlaskClient, signer: AccessKey, path: str) -> None:
    assert send(web, signer, form(Action="DescribeRegions"), path).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_a_request_without_anything_gets_a_document(web: FlaskClient, method: str) -> None:
    answer = web.open("/some/where", method=method)
    assert answer.status_code == 400
    assert "<Code>MissingAction</Code>" in answer.text


def test_a_request_without_signature_is_told_so(web: FlaskClient) -> None:
    answer = web.get("/?Action=DescribeInstances&Version=2016-11-15")
    assert "<Code>MissingAuthenticationToken</Code>" in answer.text


def test_a_revoked_key_opens_nothing(endpoint: Endpoint, web: FlaskClient) -> None:
    key = endpoint.new_key()
    assert send(web, key, form(Action="DescribeRegions")).status_code == 200
    with database.writing(endpoint.database) as db:
        accounts.revoke_access_key(db, key.id, datetime.now(UTC))
    answer = send(web, key, form(Action="DescribeRegions"))
    assert answer.status_code == 401
    assert "<Code>AuthFailure</Code>" in answer.text


def test_a_body_above_the_limit_is_refused(web: FlaskClient, signer: AccessKey) -> None:
    answer = send(web, signer, form(Action="DescribeRegions", X="x" * MAX_BODY))
    assert answer.status_code == 413
    assert "<Code>RequestEntityTooLarge</Code>" in answer.text


def test_our_own_mistakes_are_logged_and_not_told(
    web: FlaskClient,
    signer: AccessKey,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_ctx: object) -> dict[str, Any]:
        return {"NoSuchMember": "a secret"}

    broken_action = dataclasses.replace(ACTIONS["DescribeRegions"], function=broken)
    monkeypatch.setitem(dispatch.ACTIONS, "DescribeRegions", broken_action)
    with caplog.at_level(logging.ERROR):
        answer = send(web, signer, form(Action="DescribeRegions"))
    assert answer.status_code == 500
    assert "<Code>InternalError</Code>" in answer.text
    assert "NoSuchMember" not in answer.text
    assert answer.headers["x-amzn-RequestId"] in caplog.text
    assert "NoSuchMember" in caplog.text


def test_a_database_that_is_out_of_order_is_a_temporary_failure(
    tmp_path: Path, signer: AccessKey
) -> None:
    broken = create_app(Settings(state_dir=tmp_path)).test_client()
    answer = send(broken, signer, form(Action="DescribeRegions"))
    assert answer.status_code == 503
    assert "<Code>ServiceUnavailable</Code>" in answer.text


def test_a_launch_wakes_the_reconciler_after_its_commit(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    with wake.listen(endpoint.settings, "reconciler") as listener:
        asked = {"ImageId": image, "MinCount": 1, "MaxCount": 1}
        with pytest.raises(ClientError):
            ec2.run_instances(**asked, DryRun=True)
        with pytest.raises(BlockingIOError):
            listener.recv(1)
        ec2.run_instances(**asked)
        assert listener.recv(1) == b""


NAMES = st.sampled_from(
    [
        *("InstanceId.1", "InstanceId", "ImageId", "ImageId.1", "KeyName", "KeyName.1"),
        *("MinCount", "MaxCount", "InstanceType", "UserData", "ClientToken", "MaxResults"),
        *("NextToken", "Filter.1.Name", "Filter.1.Value.1", "Filter.2.Name", "DryRun", "Name"),
        *("ImageLocation", "Architecture", "Description", "PublicKeyMaterial", "KeyType"),
        *("TagSpecification.1.ResourceType", "TagSpecification.1.Tag.1.Key", "KeyPairId.1"),
        *("TagSpecification.1.Tag.1.Value", "Placement.AvailabilityZone", "RegionName.1"),
        *("Owner.1", "ExecutableBy.1", "InstanceType.1", "ZoneName.1", "Monitoring.Enabled"),
        *("ResourceId.1", "Tag.1.Key", "Tag.1.Value", "LocationType", "AttributeName.1"),
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            *("", "0", "1", "5", "-1", "2147483648", "true", "maybe", "i-12345678", "rsa"),
            *("ami-12345678", "small", "t3.nano", "condor", "instance", "instance-id", "tag:x"),
            *("*", "\\", "/etc/passwd", "http://[", "file://", "WyJhIl0=", "AAAA", "x86_64"),
        ]
    ),
    st.text(max_size=40),
)


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(sorted(set(ACTIONS) - {"CreateKeyPair"})),
    parameters=st.dictionaries(NAMES | st.text(max_size=20), VALUES, max_size=6),
)
def test_no_parameters_are_our_own_mistake(
    web: FlaskClient, signer: AccessKey, name: str, parameters: dict[str, str]
) -> None:
    answer = send(web, signer, form(**{**parameters, "Action": name}))
    assert answer.status_code < 500, answer.text


def test_the_server_s_name_is_sent_once_and_is_ec2_s(served: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(served).netloc, timeout=30)
    connection.request("GET", "/")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.msg.get_all("Server") == ["AmazonEC2"]


def test_ec2s_own_requests_may_go_to_the_capabilities_path(
    web: FlaskClient, signer: AccessKey
) -> None:
    answer = send(web, signer, form(Action="DescribeRegions"), path="/capabilities")
    assert answer.status_code == 200
    assert "<DescribeRegionsResponse" in answer.text


def test_a_parameter_that_only_looks_like_a_signatures_is_not_dropped(
    web: FlaskClient, signer: AccessKey
) -> None:
    answer = send(web, signer, form(Action="DescribeRegions", **{"X-Amz-Nonsense": "1"}))
    assert answer.status_code == 400
    assert "UnknownParameter" in answer.text


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("ec2.example:8773", "ec2.example:8773"),
        ("ec2.example", "ec2.example"),
        ("[2001:db8::1]:8773", "[2001:db8::1]:8773"),
        ("192.0.2.7:80", "192.0.2.7:80"),
        ("a<b>:1", "127.0.0.1:8773"),
    ],
)
def test_a_region_s_endpoint_is_the_address_that_the_client_has_used(
    web: FlaskClient, signer: AccessKey, host: str, told: str
) -> None:
    body = form(Action="DescribeRegions")
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Host": host}
    request = AWSRequest("POST", "http://localhost/", data=body, headers=headers)
    SigV4Auth(Credentials(signer.id, signer.secret), "ec2", "condor").add_auth(request)
    answer = web.post("/", data=body, headers=dict(request.headers))
    assert answer.status_code == 200, answer.text
    assert f"<regionEndpoint>{told}</regionEndpoint>" in answer.text


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8773"),
        ("0.0.0.0", "http://127.0.0.1:8773"),  # noqa: S104 - nothing listens on it
        ("::", "http://[::1]:8773"),
        ("2001:db8::1", "http://[2001:db8::1]:8773"),
    ],
)
def test_the_endpoint_s_url_is_one_that_can_be_connected_to(
    tmp_path: Path, host: str, url: str
) -> None:
    made = Settings(state_dir=tmp_path, host=host)
    assert made.endpoint == url
    assert made.deltacloud == f"{url.removesuffix(':8773')}:3001/api"
