# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PT017 - an error is one of the two good ends, and looked at where it is caught
"""Whatever comes over the wire is either understood or refused with an EC2 error."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import auth, errors
from gateway.wire import model, query, xml

ACTIONS = ["RunInstances", "DescribeInstances", "CreateTags", "ImportKeyPair", "CreateFleet"]
PARTS = sorted(
    {
        name
        for action in ACTIONS
        if (operation := model.operation(action))
        for name in query._members(operation.input)
    }
    | {"Name", "Value", "Key", "Tag", "Ebs", "Tenancy", "ValidUntil", "SpotOptions"}
)

names = st.lists(
    st.one_of(st.sampled_from(PARTS), st.integers(0, 12).map(str), st.text(max_size=3)),
    min_size=1,
    max_size=5,
).map(".".join)
texts = st.one_of(st.sampled_from(["true", "1", "i-1", "2015-01-25T08:00:00Z", "YQ=="]), st.text())
pairs = st.lists(st.tuples(names, texts), max_size=8)


def encoded(parameters: list[tuple[str, str]]) -> bytes:
    return "&".join(
        f"{quote(name, errors='replace')}={quote(value, errors='replace')}"
        for name, value in parameters
    ).encode()


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(ACTIONS), pairs, pairs)
def test_any_parameters_are_a_dictionary_or_an_ec2_error(
    action: str, in_url: list[tuple[str, str]], in_body: list[tuple[str, str]]
) -> None:
    operation = model.operation(action)
    assert operation is not None
    url = f"Action={action}&Version=2016-11-15&".encode() + encoded(in_url)
    try:
        parsed = query.parse(operation, query.read(url, encoded(in_body)).parameters)
    except errors.EC2Error as error:
        assert 400 <= error.status < 500
        xml.error_document(error.code, error.message, "the-id")
    else:
        assert set(parsed) <= set(operation.input.members)


@settings(max_examples=400, deadline=None)
@given(st.binary(), st.binary())
def test_any_bytes_are_a_form_or_an_ec2_error(query_string: bytes, body: bytes) -> None:
    try:
        query.read(b"Action=RunInstances&Version=2016-11-15&" + query_string, body)
    except errors.EC2Error as error:
        assert 400 <= error.status < 500


SIGNING = [
    b"AWSAccessKeyId", b"Signature", b"SignatureVersion", b"SignatureMethod", b"Timestamp",
    b"Expires", b"X-Amz-Algorithm", b"X-Amz-Credential", b"X-Amz-Date", b"X-Amz-Expires",
    b"X-Amz-SignedHeaders", b"X-Amz-Signature", b"X-Amz-Security-Token",
]  # fmt: skip
VALUES = [
    b"AK", b"2", b"HmacSHA1", b"HmacSHA256", b"2026-01-01T00:00:00Z", b"00010101T000000Z",
    b"99991231T235959Z", b"AWS4-HMAC-SHA256", b"AK/00010101/0/127/aws4_request", b"host",
    b"604800", b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:59Z", b"", b"%ff", b"%",
]  # fmt: skip
signing_forms = st.lists(
    st.tuples(st.sampled_from(SIGNING), st.one_of(st.sampled_from(VALUES), st.binary(max_size=9))),
    max_size=9,
).map(lambda found: b"&".join(name + b"=" + value for name, value in found))
signing_headers = st.dictionaries(
    st.sampled_from(["authorization", "host", "x-amz-date", "date", "x-amz-content-sha256"]),
    st.one_of(
        st.sampled_from([value.decode("latin-1") for value in VALUES]),
        st.just(
            "AWS4-HMAC-SHA256 Credential=AK/00010101/r/s/aws4_request,"
            " SignedHeaders=host;x-é, Signature=é"
        ),
        st.text(),
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.text(), st.text(), signing_forms, signing_forms, signing_headers)
def test_any_bytes_are_signed_or_an_ec2_error(
    method: str, path: str, query_string: bytes, body: bytes, headers: dict[str, str]
) -> None:
    request = auth.SignedRequest(method, path, query_string, headers, body)
    credential = auth.Credential("AK", "secret", "000000000001")
    try:
        auth.verify(request, lambda _: credential, datetime(2026, 1, 1, tzinfo=UTC))
    except errors.EC2Error as error:
        assert 400 <= error.status < 500
        assert "secret" not in error.message
    else:
        raise AssertionError("nothing was signed with that secret")
