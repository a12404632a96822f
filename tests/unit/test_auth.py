# SPDX-License-Identifier: Apache-2.0
"""Signatures made by botocore's signers, and by hand as older clients make them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import cast
from urllib.parse import quote, urlencode, urlsplit

import pytest
from botocore.auth import SigV2Auth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway import errors
from gateway.auth import Credential, SignedRequest, verify

KEY = Credential("AKIAEXAMPLE", "a/secret+key", "000000000001")
URL = "http://127.0.0.1:8773/"
PARAMETERS = {
    "Action": "RunInstances",
    "Version": "2016-11-15",
    "ImageId": "ami-1",
    "Filter.1.Name": "a b+c/~*'é漢",
    "Filter.1": "",
    "Filter.1-x": "order",
    "Filter.10.Name": "=&;%",
}


def find(access_key_id: str) -> Credential | None:
    return KEY if access_key_id == KEY.access_key_id else None


def now() -> datetime:
    return datetime.now(UTC)


def received(request: AWSRequest) -> SignedRequest:
    """Return what a server sees of a request that botocore has signed."""
    prepared = request.prepare()
    url = urlsplit(prepared.url)
    headers = {name.lower(): str(value) for name, value in prepared.headers.items()}
    headers.setdefault("host", url.netloc)
    body = cast("bytes | str", prepared.body or b"")
    return SignedRequest(
        method=prepared.method or "",
        path=url.path,
        query_string=url.query.encode(),
        headers=headers,
        body=body.encode() if isinstance(body, str) else body,
    )


def botocore_credentials(token: str | None = None) -> Credentials:
    return Credentials(KEY.access_key_id, KEY.secret, token)


def v4_post(region: str = "us-east-1", service: str = "ec2", url: str = URL) -> SignedRequest:
    request = AWSRequest("POST", url, data=urlencode(PARAMETERS).encode())
    request.headers["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8"
    SigV4Auth(botocore_credentials(), service, region).add_auth(request)
    return received(request)


def v4_get() -> SignedRequest:
    request = AWSRequest("GET", URL, params=PARAMETERS)
    SigV4Auth(botocore_credentials(), "ec2", "us-east-1").add_auth(request)
    return received(request)


def presigned(expires: int = 60) -> SignedRequest:
    request = AWSRequest("GET", URL + "?" + urlencode(PARAMETERS, quote_via=quote))
    SigV4QueryAuth(botocore_credentials(), "ec2", "us-east-1", expires).add_auth(request)
    return received(request)


def v2_post() -> SignedRequest:
    request = AWSRequest("POST", URL, data=dict(PARAMETERS))
    SigV2Auth(botocore_credentials()).add_auth(request)
    return received(request)


def v2_get() -> SignedRequest:
    request = AWSRequest("GET", URL, params=dict(PARAMETERS))
    SigV2Auth(botocore_credentials()).add_auth(request)
    return received(request)


Sign = Callable[[], SignedRequest]
V4: list[Sign] = [v4_post, v4_get, presigned]
V2: list[Sign] = [v2_post, v2_get]


@pytest.mark.parametrize("sign", V4 + V2)
def test_what_botocore_signs_is_accepted(sign: Sign) -> None:
    assert verify(sign(), find, now()) == KEY


@pytest.mark.parametrize(
    ("region", "service"),
    [("0", "127"), ("localhost:8773", "localhost:8773"), ("undefined-42", "ec2"), ("", "sts")],
)
def test_any_region_and_service_is_accepted_in_the_scope(region: str, service: str) -> None:
    assert verify(v4_post(region, service), find, now()) == KEY


@pytest.mark.parametrize(
    "path", ["", "/", "/services/Eucalyptus", "/services/Cloud/", "/a//b", "/a/../b", "/a%20b/%7Ex"]
)
def test_any_path_is_accepted(path: str) -> None:
    assert verify(v4_post(url=f"http://ec2.example.org:80{path}"), find, now()) == KEY


@pytest.mark.parametrize("sign", V4 + V2)
def test_an_unknown_or_revoked_key_is_an_auth_failure(sign: Sign) -> None:
    with pytest.raises(errors.AuthFailure) as caught:
        verify(sign(), lambda _: None, now())
    assert caught.value.message == "AWS was not able to validate the provided access credentials"


@pytest.mark.parametrize("sign", V4 + V2)
def test_another_secret_is_the_same_auth_failure(sign: Sign) -> None:
    other = dataclasses.replace(KEY, secret="another")  # noqa: S106 - it is not one
    with pytest.raises(errors.AuthFailure) as caught:
        verify(sign(), lambda _: other, now())
    assert caught.value.message == "AWS was not able to validate the provided access credentials"


@pytest.mark.parametrize("sign", V4 + V2)
def test_a_changed_parameter_is_an_auth_failure(sign: Sign) -> None:
    signed = sign()
    changed = dataclasses.replace(
        signed,
        query_string=signed.query_string.replace(b"ami-1", b"ami-2"),
        body=signed.body.replace(b"ami-1", b"ami-2"),
    )
    assert changed != signed
    with pytest.raises(errors.AuthFailure):
        verify(changed, find, now())


@pytest.mark.parametrize("sign", V4 + V2)
@pytest.mark.parametrize("part", ["query_string", "body"])
def test_an_added_parameter_is_an_auth_failure(sign: Sign, part: str) -> None:
    signed = sign()
    more = getattr(signed, part) + b"&DryRun=false"
    with pytest.raises(errors.AuthFailure):
        verify(dataclasses.replace(signed, **{part: more}), find, now())


@pytest.mark.parametrize("sign", V4 + V2)
@pytest.mark.parametrize(("method", "host"), [("PUT", "127.0.0.1:8773"), ("", "example.org")])
def test_another_method_or_host_is_an_auth_failure(sign: Sign, method: str, host: str) -> None:
    signed = sign()
    changed = dataclasses.replace(
        signed, method=method or signed.method, headers={**signed.headers, "host": host}
    )
    with pytest.raises(errors.AuthFailure):
        verify(changed, find, now())


@pytest.mark.parametrize("sign", [v4_post, v4_get])
@pytest.mark.parametrize("minutes", [-14, 14])
def test_v4_allows_a_clock_to_be_a_quarter_of_an_hour_off(sign: Sign, minutes: int) -> None:
    assert verify(sign(), find, now() + timedelta(minutes=minutes)) == KEY


@pytest.mark.parametrize("sign", [v4_post, v4_get])
@pytest.mark.parametrize("minutes", [-16, 16, 60 * 24 * 400])
def test_v4_allows_no_more(sign: Sign, minutes: int) -> None:
    with pytest.raises(errors.RequestExpired) as caught:
        verify(sign(), find, now() + timedelta(minutes=minutes))
    assert caught.value.status == 401


@pytest.mark.parametrize("sign", V2)
@pytest.mark.parametrize("minutes", [-4, 4])
def test_v2_allows_a_clock_to_be_five_minutes_off(sign: Sign, minutes: int) -> None:
    assert verify(sign(), find, now() + timedelta(minutes=minutes)) == KEY


@pytest.mark.parametrize("sign", V2)
@pytest.mark.parametrize("minutes", [-6, 6])
def test_v2_allows_no_more(sign: Sign, minutes: int) -> None:
    with pytest.raises(errors.RequestExpired):
        verify(sign(), find, now() + timedelta(minutes=minutes))


def test_a_presigned_url_is_good_until_it_expires() -> None:
    url = presigned(3600)
    assert verify(url, find, now() + timedelta(seconds=3590)) == KEY
    with pytest.raises(errors.RequestExpired):
        verify(url, find, now() + timedelta(seconds=3610))
    with pytest.raises(errors.RequestExpired):
        verify(url, find, now() - timedelta(minutes=16))


@pytest.mark.parametrize("expires", [0, -1, 604_801])
def test_a_presigned_url_lasts_a_week_at_most(expires: int) -> None:
    with pytest.raises(errors.IncompleteSignature, match="X-Amz-Expires"):
        verify(presigned(expires), find, now())


def test_a_wrong_signature_is_told_before_a_wrong_date() -> None:
    with pytest.raises(errors.AuthFailure):
        verify(v4_post(), lambda _: None, now() + timedelta(days=1))


def test_session_tokens_are_refused_by_name() -> None:
    header = AWSRequest("POST", URL, data=b"Action=DescribeInstances")
    SigV4Auth(botocore_credentials("token"), "ec2", "r").add_auth(header)
    url = AWSRequest("GET", URL)
    SigV4QueryAuth(botocore_credentials("token"), "ec2", "r").add_auth(url)
    form = AWSRequest("POST", URL, data={"Action": "DescribeInstances"})
    SigV2Auth(botocore_credentials("token")).add_auth(form)
    for request in (header, url, form):
        with pytest.raises(errors.AuthFailure, match="Session tokens are not supported"):
            verify(received(request), find, now())


@pytest.mark.parametrize("name", ["SecurityToken", "X-Amz-Security-Token"])
@pytest.mark.parametrize("part", ["query_string", "body"])
def test_a_session_token_is_refused_wherever_it_stands(name: str, part: str) -> None:
    sent = {"query_string": "", "body": ""} | {part: f"{name}=token"}
    url = f"{URL}?{sent['query_string']}" if sent["query_string"] else URL
    request = AWSRequest("POST", url, data=sent["body"].encode())
    SigV4Auth(botocore_credentials(), "ec2", "r").add_auth(request)
    with pytest.raises(errors.AuthFailure, match="Session tokens are not supported"):
        verify(received(request), find, now())


def test_an_unsigned_request_with_a_session_token_is_unsigned() -> None:
    request = SignedRequest("GET", "/", b"SecurityToken=token", {"host": "h"}, b"")
    with pytest.raises(errors.MissingAuthenticationToken):
        verify(request, find, now())


@pytest.mark.parametrize("query_string", [b"", b"Action=DescribeInstances&Version=2016-11-15"])
def test_an_unsigned_request_misses_its_token(query_string: bytes) -> None:
    request = SignedRequest("GET", "/", query_string, {"host": "127.0.0.1:8773"}, b"")
    with pytest.raises(errors.MissingAuthenticationToken) as caught:
        verify(request, find, now())
    assert caught.value.status == 403


@pytest.mark.parametrize(
    "claimed", ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "0" * 64, ""]
)
def test_a_body_that_is_not_signed_is_refused(claimed: str) -> None:
    signed = v4_post()
    headers = {**signed.headers, "x-amz-content-sha256": claimed}
    with pytest.raises(errors.AuthFailure, match="x-amz-content-sha256"):
        verify(dataclasses.replace(signed, headers=headers), find, now())


def test_the_true_hash_of_the_body_may_be_sent_along() -> None:
    signed = v4_post()
    digest = hashlib.sha256(signed.body).hexdigest()
    headers = {**signed.headers, "x-amz-content-sha256": digest.upper()}
    assert verify(dataclasses.replace(signed, headers=headers), find, now()) == KEY


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("AWS4-HMAC-SHA256 ", "AWS ", "has to begin with"),
        ("AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 ", "has to begin with"),
        ("Signature=", "Sign=", "requires 'Signature'"),
        ("Credential=", "Cred=", "requires 'Credential'"),
        ("SignedHeaders=", "Headers=", "requires 'SignedHeaders'"),
        ("/aws4_request", "", "Credential has to be"),
        ("/aws4_request", "/aws5_request", "Credential has to be"),
        ("host;", "", "'Host' must be"),
    ],
)
def test_an_unreadable_authorization_header_says_what_is_wrong(
    old: str, new: str, sentence: str
) -> None:
    signed = v4_post()
    authorization = signed.headers["authorization"]
    assert old in authorization
    headers = {**signed.headers, "authorization": authorization.replace(old, new)}
    with pytest.raises(errors.IncompleteSignature, match=sentence):
        verify(dataclasses.replace(signed, headers=headers), find, now())


@pytest.mark.parametrize("date", ["", "yesterday", "20261301T000000Z", "20260101T000000"])
def test_an_unreadable_date_says_so(date: str) -> None:
    signed = v4_post()
    with pytest.raises(errors.IncompleteSignature, match="A date"):
        verify(
            dataclasses.replace(signed, headers={**signed.headers, "x-amz-date": date}),
            find,
            now(),
        )


def test_the_date_of_the_scope_is_that_of_the_request() -> None:
    signed = v4_post()
    headers = {**signed.headers, "x-amz-date": "20010101T000000Z"}
    with pytest.raises(errors.IncompleteSignature, match="Credential has to be"):
        verify(dataclasses.replace(signed, headers=headers), find, now())


@pytest.mark.parametrize("name", ["Credential", "Date", "Expires", "SignedHeaders", "Algorithm"])
def test_a_presigned_url_needs_all_its_parts(name: str) -> None:
    signed = presigned()
    query_string = signed.query_string.replace(f"X-Amz-{name}=".encode(), b"X-Amz-Other=")
    with pytest.raises(errors.IncompleteSignature, match=f"X-Amz-{name}"):
        verify(dataclasses.replace(signed, query_string=query_string), find, now())


def test_a_secret_is_not_in_the_text_of_its_credential() -> None:
    assert KEY.secret not in repr(KEY)
