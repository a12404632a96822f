# SPDX-License-Identifier: Apache-2.0
"""Who signed a request: AWS signatures of version 4 (header or URL) and version 2.

Pure functions over the request as it came from the wire. Clients differ in details that no
server can tell in advance, so each detail has a short list of readings and a signature is good
if it matches one of them; all readings cover the method, every parameter and the whole body:

- the host with and without its port (boto 2 and the Perl clients sign it without);
- the query string re-encoded by RFC 3986 with ``+`` as a blank (libcloud), or as it was sent;
- the path normalised and encoded once more (the AWS SDKs), or as it was sent;
- text beyond ASCII in UTF-8 as it was sent or, in version 2, in Latin-1 (VM::EC2).

The region and service of a version 4 scope are taken from the request itself: HTCondor's client
cuts them out of the host name, so that http://127.0.0.1 is region ``0`` and service ``127``.

Sources: "Signature Version 4 signing process" and "Query requests" in the AWS documentation.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import posixpath
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from gateway.errors import (
    AuthFailure,
    IncompleteSignature,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingAuthenticationToken,
    MissingParameter,
    RequestExpired,
)
from gateway.wire.query import split
from gateway.wire.scalars import read_timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

V4_SKEW = timedelta(minutes=15)
V2_SKEW = timedelta(minutes=5)
MAX_PRESIGNED_SECONDS = 7 * 24 * 3600

_V4 = "AWS4-HMAC-SHA256"
_V2_DIGESTS = {b"HmacSHA256": hashlib.sha256, b"HmacSHA1": hashlib.sha1}
_BASIC_ISO8601 = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)
_SIGNATURE = b"Signature"
_X_AMZ_SIGNATURE = b"X-Amz-Signature"
_V2_NAMES = {_SIGNATURE, b"AWSAccessKeyId"}
_TOKENS = (b"X-Amz-Security-Token", b"SecurityToken")


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as it came from the wire.

    ``path`` is raw (still percent-encoded, without the query string); ``headers`` has names in
    lower case, repeated headers joined with commas; ``body`` is the whole raw body.
    """

    method: str
    path: str
    query_string: bytes
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Credential:
    """An access key that is in force, and the account that it belongs to."""

    access_key_id: str
    secret: str = field(repr=False)
    account_id: str


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a request says about its signer, before any of it is believed."""

    access_key_id: str
    signature: bytes
    signatures: Callable[[bytes], Iterable[bytes]]  # all that the secret could have made
    moment: datetime
    early: timedelta  # how long before the moment the request may arrive,
    late: timedelta  # and how long after it


def verify(
    request: SignedRequest, find_secret: Callable[[str], Credential | None], now: datetime
) -> Credential:
    """Return the credential that signed the request.

    ``find_secret`` maps an access key id to its credential, None if it is unknown or revoked.

    Raises MissingAuthenticationToken (not signed), AuthFailure (key unknown, signature wrong, or
    a session token), RequestExpired, and IncompleteSignature, MissingParameter,
    InvalidParameterValue or InvalidParameterCombination for a signature that cannot be read.
    """
    claim = _claim(request)
    credential = find_secret(claim.access_key_id)
    # An unknown key costs the same time as a wrong signature, and gets the same answer of EC2.
    secret = credential.secret.encode() if credential else b""
    matches = [hmac.compare_digest(claim.signature, made) for made in claim.signatures(secret)]
    if credential is None or not any(matches):
        raise AuthFailure(signature=credential is not None)
    if not -claim.early <= now - claim.moment <= claim.late:
        raise RequestExpired
    return credential


def _claim(request: SignedRequest) -> _Claim:
    query = dict(split(request.query_string))
    parameters = query | dict(split(request.body))
    authorization = request.headers.get("authorization")
    presigned = b"X-Amz-Algorithm" in query or _X_AMZ_SIGNATURE in query
    if authorization is None and not presigned and not _V2_NAMES & parameters.keys():
        raise MissingAuthenticationToken
    # Refused wherever it stands: a token that is not looked at would be one that is believed.
    if request.headers.get("x-amz-security-token") or any(map(parameters.get, _TOKENS)):
        raise AuthFailure("Session tokens are not supported; sign with an access key alone")
    if authorization is not None:
        return _v4_header(request, authorization)
    return _v4_presigned(request, query) if presigned else _v2(request, parameters)


def _v4_header(request: SignedRequest, authorization: str) -> _Claim:
    algorithm, _, rest = authorization.strip().partition(" ")
    if algorithm != _V4:
        raise IncompleteSignature(f"The Authorization header has to begin with {_V4}.")
    pairs = [piece.strip().partition("=") for piece in rest.split(",")]
    parts = {name: value for name, _, value in pairs}
    # A header that comes twice arrives as one, with a comma: two signatures are none.
    if len(parts) < len(pairs) or any(name.startswith(_V4) for name in parts):
        raise IncompleteSignature("The Authorization header is to be given once.")
    for name in ("Credential", "SignedHeaders", "Signature"):
        if not parts.get(name):
            raise IncompleteSignature(f"Authorization header requires '{name}' parameter.")
    moment = _v4_moment(request.headers.get("x-amz-date") or request.headers.get("date") or "")
    return _v4(request, parts, moment, V4_SKEW)


def _v4_presigned(request: SignedRequest, query: Mapping[bytes, bytes]) -> _Claim:
    parts = {}
    for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"):
        value = query.get(f"X-Amz-{name}".encode())
        if not value:
            raise IncompleteSignature(f"The URL requires the parameter X-Amz-{name}.")
        parts[name] = value.decode(errors="replace")
    if parts["Algorithm"] != _V4:
        raise IncompleteSignature(f"X-Amz-Algorithm has to be {_V4}.")
    expires = parts["Expires"]
    if not re.fullmatch("[0-9]{1,6}", expires) or not 0 < int(expires) <= MAX_PRESIGNED_SECONDS:
        raise IncompleteSignature("X-Amz-Expires has to be a number of seconds up to a week.")
    moment = _v4_moment(parts["Date"])
    return _v4(request, parts, moment, timedelta(seconds=int(expires)))


def _v4_moment(text: str) -> datetime:
    """Read the date of a version 4 signature: basic ISO 8601, or an HTTP date."""
    try:
        if _BASIC_ISO8601.fullmatch(text):
            return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return read_timestamp(text)
    except ValueError:
        raise IncompleteSignature(
            "A date in the form 20161115T120000Z is required in X-Amz-Date or Date."
        ) from None


def _v4(
    request: SignedRequest, parts: Mapping[str, str], moment: datetime, late: timedelta
) -> _Claim:
    access_key_id, *scope = parts["Credential"].rsplit("/", 4)
    signed_headers = parts["SignedHeaders"].split(";")
    timestamp = moment.strftime("%Y%m%dT%H%M%SZ")
    if len(scope) != 4 or scope[3] != "aws4_request" or scope[0] != timestamp[:8]:
        raise IncompleteSignature("Credential has to be KEY/YYYYMMDD/REGION/SERVICE/aws4_request.")
    if "host" not in signed_headers:
        raise IncompleteSignature("'Host' must be a 'SignedHeader' in the Authorization header.")
    body_hash = hashlib.sha256(request.body).hexdigest()
    # The body has the parameters: UNSIGNED-PAYLOAD, which S3 knows, is no signature here.
    if request.headers.get("x-amz-content-sha256", body_hash).lower() != body_hash:
        raise AuthFailure(
            "The x-amz-content-sha256 header is not the SHA-256 of the body", signature=True
        )
    hashes = [
        hashlib.sha256(canonical).hexdigest()
        for canonical in _v4_canonical_requests(request, signed_headers, body_hash)
    ]

    def signatures(secret: bytes) -> Iterable[bytes]:
        key = b"AWS4" + secret
        for part in scope:
            key = hmac.digest(key, _raw(part), "sha256")
        for canonical_hash in hashes:
            text = "\n".join((_V4, timestamp, "/".join(scope), canonical_hash))
            yield hmac.digest(key, _raw(text), "sha256").hex().encode()

    return _Claim(access_key_id, _raw(parts["Signature"]), signatures, moment, V4_SKEW, late)


def _v4_canonical_requests(
    request: SignedRequest, signed_headers: Sequence[str], body_hash: str
) -> Iterable[bytes]:
    readings = itertools.product(
        _v4_paths(request.path), _v4_queries(request.query_string), _hosts(request)
    )
    for path, query, host in readings:
        headers = dict(request.headers, host=host)
        lines = [f"{name}:{' '.join(headers.get(name, '').split())}\n" for name in signed_headers]
        yield b"\n".join(
            [
                _raw(request.method),
                path,
                query,
                _raw("".join(lines)),
                _raw(";".join(signed_headers)),
                body_hash.encode(),
            ]
        )


def _v4_paths(path: str) -> set[bytes]:
    sent = _raw(path) or b"/"
    normal = posixpath.normpath(b"/" + sent.lstrip(b"/"))
    if sent.endswith(b"/") and normal != b"/":
        normal += b"/"
    return {sent, normal, quote(normal, safe="/-_.~").encode()}


def _v4_queries(query_string: bytes) -> set[bytes]:
    decoded = [pair for pair in split(query_string) if pair[0] != _X_AMZ_SIGNATURE]
    pieces = (piece.partition(b"=") for piece in query_string.split(b"&") if piece)
    sent = [(name, value) for name, _, value in pieces if name != _X_AMZ_SIGNATURE]
    return {
        _encoded(decoded),
        b"&".join(name + b"=" + value for name, value in sorted(sent)),
    }


def _v2(request: SignedRequest, parameters: Mapping[bytes, bytes]) -> _Claim:
    for name in ("AWSAccessKeyId", "SignatureVersion", "SignatureMethod", "Signature"):
        if not parameters.get(name.encode()):
            raise MissingParameter(name)
    if parameters[b"SignatureVersion"] != b"2":
        version = parameters[b"SignatureVersion"].decode(errors="replace")
        raise InvalidParameterValue.of("SignatureVersion", version, "Versions 2 and 4 are known.")
    digest = _V2_DIGESTS.get(parameters[b"SignatureMethod"])
    if digest is None:
        method = parameters[b"SignatureMethod"].decode(errors="replace")
        raise InvalidParameterValue.of("SignatureMethod", method, "Use HmacSHA256 or HmacSHA1.")
    # Everything that was sent has to be signed, in the URL or in the body.
    sent = split(request.query_string) + split(request.body)
    signed = [pair for pair in sent if pair[0] != _SIGNATURE]
    path = _raw(request.path) or b"/"
    texts = [
        b"\n".join([_raw(request.method), _raw(host.lower()), path, query])
        for host in _hosts(request)
        for query in (_encoded(signed), *_in_latin_1(signed))
    ]

    def signatures(secret: bytes) -> Iterable[bytes]:
        return (base64.b64encode(hmac.digest(secret, text, digest)) for text in texts)

    moment, early, late = _v2_window(parameters)
    return _Claim(
        parameters[b"AWSAccessKeyId"].decode(errors="replace"),
        parameters[_SIGNATURE],
        signatures,
        moment,
        early,
        late,
    )


def _in_latin_1(pairs: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """Return the query as a client encoded it that signs in Latin-1 what it sends in UTF-8.

    There is none where that would be UTF-8 as well: every other client signs UTF-8 only, so that
    no signature that was made for one text can stand for another.
    """
    try:
        recoded = [
            (name.decode().encode("latin-1"), value.decode().encode("latin-1"))
            for name, value in pairs
        ]
    except UnicodeError:
        return []
    if all(_is_utf_8(name) and _is_utf_8(value) for name, value in recoded):
        return []
    return [_encoded(recoded)]


def _is_utf_8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _v2_window(parameters: Mapping[bytes, bytes]) -> tuple[datetime, timedelta, timedelta]:
    timestamp, expires = parameters.get(b"Timestamp"), parameters.get(b"Expires")
    if timestamp and expires:
        raise InvalidParameterCombination.of("Timestamp", "Expires")
    text = (timestamp or expires or b"").decode(errors="replace")
    name = "Expires" if expires else "Timestamp"
    if not text:
        raise MissingParameter(name)
    try:
        moment = read_timestamp(text)
    except ValueError as error:
        raise InvalidParameterValue.of(name, text, str(error)) from None
    if expires:
        return moment, -timedelta.min, timedelta(0)  # from any time before it
    return moment, V2_SKEW, V2_SKEW


def _hosts(request: SignedRequest) -> set[str]:
    host = request.headers.get("host", "")
    return {host, re.sub(r":[0-9]*$", "", host)}


def _encoded(pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Encode by RFC 3986 and sort; both versions do it alike for every name that EC2 has."""
    encoded = [(quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in pairs]
    return "&".join(f"{name}={value}" for name, value in sorted(encoded)).encode()


def _raw(text: str) -> bytes:
    """Return the bytes of a header or path, which WSGI hands over decoded from Latin-1."""
    return text.encode("latin-1", errors="replace")
