# SPDX-License-Identifier: Apache-2.0
"""Signatures as clients other than the AWS SDKs make them; each is put together by hand."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from gateway import errors
from gateway.auth import Credential, SignedRequest, verify

KEY = Credential("AKIAEXAMPLE", "a/secret+key", "000000000001")
NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
HOST = "127.0.0.1:8773"
V2 = {
    "AWSAccessKeyId": KEY.access_key_id,
    "Action": "DescribeKeyPairs",
    "SignatureMethod": "HmacSHA256",
    "SignatureVersion": "2",
    "Timestamp": "2026-01-31T12:00:00Z",
    "Version": "2014-06-15",
    "KeyName": "a b+c~é",
}


def find(access_key_id: str) -> Credential | None:
    return KEY if access_key_id == KEY.access_key_id else None


def canonical(parameters: dict[str, str]) -> str:
    pairs = sorted(parameters.items())
    return "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs
    )


def v2(
    parameters: dict[str, str], host: str = HOST, method: str = "GET", path: str = "/"
) -> SignedRequest:
    text = f"{method}\n{host}\n{path}\n{canonical(parameters)}"
    digest = {"HmacSHA1": "sha1"}.get(parameters["SignatureMethod"], "sha256")
    signature = base64.b64encode(hmac.digest(KEY.secret.encode(), text.encode(), digest)).decode()
    form = f"{canonical(parameters)}&Signature={quote(signature, safe='')}".encode()
    in_url = method == "GET"
    return SignedRequest(
        method, path, form if in_url else b"", {"host": HOST}, b"" if in_url else form
    )


def v4(
    query_string: str = "",
    canonical_query: str = "",
    body: bytes = b"",
    *,
    signed_host: str = HOST,
    scope: str = "20260131/0/127/aws4_request",
    date: tuple[str, str] = ("x-amz-date", "20260131T120000Z"),
) -> SignedRequest:
    headers = {"host": HOST, date[0]: date[1], "accept-encoding": "a,  b"}
    lines = f"accept-encoding:a, b\nhost:{signed_host}\n{date[0]}:{date[1]}\n"
    names = f"accept-encoding;host;{date[0]}"
    request = "\n".join(
        ("POST", "/", canonical_query, lines, names, hashlib.sha256(body).hexdigest())
    )
    hashed = hashlib.sha256(request.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n20260131T120000Z\n{scope}\n{hashed}"
    key = b"AWS4" + KEY.secret.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={KEY.access_key_id}/{scope},SignedHeaders={names},"
        f"Signature={hmac.digest(key, text.encode(), 'sha256').hex()}"
    )
    return SignedRequest("POST", "/", query_string.encode(), headers, body)


# -- version 4 ------------------------------------------------------------------------------------


def test_htcondor_cuts_the_scope_out_of_the_host() -> None:
    body = b"Action=RunInstances&ImageId=ami-1"
    assert verify(v4(body=body), find, NOW) == KEY
    scope = "20260131/localhost:8773/localhost:8773/aws4_request"
    assert verify(v4(body=body, scope=scope), find, NOW) == KEY


def test_libcloud_sends_a_plus_for_a_blank_and_signs_a_blank() -> None:
    signed = v4("KeyName=a+b&Action=DescribeKeyPairs", "Action=DescribeKeyPairs&KeyName=a%20b")
    assert verify(signed, find, NOW) == KEY


def test_a_query_signed_as_it_is_sent_is_accepted() -> None:
    assert verify(v4("B=a+b&A='*'", "A='*'&B=a+b"), find, NOW) == KEY


def test_net_amazon_ec2_signs_the_host_without_its_port_in_v4() -> None:
    assert verify(v4(signed_host="127.0.0.1"), find, NOW) == KEY


def test_the_date_may_be_in_the_date_header() -> None:
    for text in ("Sat, 31 Jan 2026 12:00:00 GMT", "20260131T120000Z"):
        assert verify(v4(date=("date", text)), find, NOW) == KEY


def test_parameters_may_be_split_between_url_and_body_in_v4() -> None:
    signed = v4("Action=A", "Action=A", b"KeyName=x")
    assert verify(signed, find, NOW) == KEY


# -- version 2 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("digest", ["HmacSHA256", "HmacSHA1"])
@pytest.mark.parametrize("host", [HOST, "127.0.0.1"])
def test_v2_has_two_digests_and_two_ways_to_write_the_host(
    method: str, digest: str, host: str
) -> None:
    signed = v2({**V2, "SignatureMethod": digest}, host, method)
    assert verify(signed, find, NOW) == KEY


@pytest.mark.parametrize("path", ["/services/Eucalyptus", "/services/Cloud/"])
def test_v2_takes_any_path(path: str) -> None:
    assert verify(v2(V2, path=path), find, NOW) == KEY


def test_v2_takes_a_plus_for_a_blank() -> None:
    signed = v2(V2)
    with_plus = signed.query_string.replace(b"%20", b"+")
    assert with_plus != signed.query_string
    request = SignedRequest("GET", "/", with_plus, signed.headers, b"")
    assert verify(request, find, NOW) == KEY


def in_latin_1(signed: dict[str, str], sent: dict[str, str]) -> SignedRequest:
    """Return a request that sends in UTF-8 what it signs in Latin-1."""
    pairs = sorted(signed.items())
    query = "&".join(f"{name}={quote(value, '-_.~', 'latin-1')}" for name, value in pairs)
    text = f"POST\n{HOST}\n/\n{query}".encode()
    made = base64.b64encode(hmac.digest(KEY.secret.encode(), text, "sha256")).decode()
    form = f"{canonical(sent)}&Signature={quote(made, safe='')}"
    return SignedRequest("POST", "/", b"", {"host": HOST}, form.encode())


@pytest.mark.parametrize("text", ["ol\u00e9!", "\u00ff", "\u00e9 and \u00c3\u00a9"])
def test_vm_ec2_signs_in_latin_1_what_it_sends_in_utf_8(text: str) -> None:
    asked = {**V2, "KeyName": text}
    assert verify(in_latin_1(asked, asked), find, NOW) == KEY
    with pytest.raises(errors.AuthFailure):
        verify(in_latin_1(asked, {**asked, "KeyName": f"{text}x"}), find, NOW)


def test_no_signature_of_utf_8_stands_for_another_text() -> None:
    asked, other = {**V2, "KeyName": "\u00e9"}, {**V2, "KeyName": "\u00c3\u00a9"}
    signed = v2(asked, method="POST")
    forged = signed.body.replace(canonical(asked).encode(), canonical(other).encode())
    assert forged != signed.body
    with pytest.raises(errors.AuthFailure):
        verify(SignedRequest("POST", "/", b"", signed.headers, forged), find, NOW)
    with pytest.raises(errors.AuthFailure):
        verify(in_latin_1(other, other), find, NOW)


def test_v2_signs_the_host_in_lower_case() -> None:
    signed = v2(V2, host="cloud.example.org")
    request = SignedRequest("GET", "/", signed.query_string, {"host": "Cloud.Example.org:80"}, b"")
    assert verify(request, find, NOW) == KEY


@pytest.mark.parametrize("text", ["2026-01-31T12:00:00.000Z", "2026-01-31T12:00:00"])
def test_v2_takes_any_form_of_the_timestamp(text: str) -> None:
    assert verify(v2({**V2, "Timestamp": text}), find, NOW) == KEY


def expiring(text: str) -> dict[str, str]:
    return {name: value for name, value in V2.items() if name != "Timestamp"} | {"Expires": text}


def test_v2_takes_an_expiry_for_a_timestamp() -> None:
    signed = v2(expiring("2026-01-31T13:00:00Z"))
    assert verify(signed, find, NOW) == KEY
    assert verify(signed, find, NOW + timedelta(minutes=59)) == KEY
    with pytest.raises(errors.RequestExpired):
        verify(signed, find, NOW + timedelta(minutes=61))


def test_v2_takes_not_both() -> None:
    with pytest.raises(errors.InvalidParameterCombination, match="Timestamp cannot be used"):
        verify(v2({**V2, "Expires": "2026-01-31T13:00:00Z"}), find, NOW)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SignatureVersion", "1", r"Value \(1\) for parameter SignatureVersion is invalid"),
        ("SignatureMethod", "HmacMD5", r"Value \(HmacMD5\) for parameter SignatureMethod"),
        ("Timestamp", "soon", r"Value \(soon\) for parameter Timestamp is invalid"),
    ],
)
def test_v2_says_what_it_cannot_read(name: str, value: str, sentence: str) -> None:
    with pytest.raises(errors.InvalidParameterValue, match=sentence):
        verify(v2({**V2, name: value}), find, NOW)


@pytest.mark.parametrize(
    "name", ["AWSAccessKeyId", "SignatureVersion", "SignatureMethod", "Timestamp"]
)
def test_v2_says_what_is_missing(name: str) -> None:
    signed = v2(V2)
    without = b"&".join(
        piece for piece in signed.query_string.split(b"&") if not piece.startswith(name.encode())
    )
    request = SignedRequest("GET", "/", without, signed.headers, b"")
    with pytest.raises(errors.MissingParameter, match=f"the parameter {name}$"):
        verify(request, find, NOW)


def test_two_authorization_headers_are_refused_though_they_are_the_same() -> None:
    signed = v4()
    once = signed.headers["authorization"]
    assert verify(signed, find, NOW) is KEY
    for twice in (f"{once},{once}", f"{once}, {once}", f"{once},Signature={'0' * 64}"):
        again = dataclasses.replace(signed, headers={**signed.headers, "authorization": twice})
        with pytest.raises(errors.IncompleteSignature):
            verify(again, find, NOW)
