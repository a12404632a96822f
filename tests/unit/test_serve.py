# SPDX-License-Identifier: Apache-2.0
"""How answers leave gunicorn."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from gunicorn.config import Config
from served import serving

from gateway.app import MAX_BODY
from gateway.serve import InOnePiece

if TYPE_CHECKING:
    from conftest import Endpoint


class Wire:
    """Keeps what is sent, call by call."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.sent.append(data)


@pytest.fixture
def wire() -> Wire:
    return Wire()


def response(wire: Wire, length: int | None) -> Any:
    request = SimpleNamespace(version=(1, 1), method="POST", should_close=lambda: False)
    made = InOnePiece(request, wire, Config())
    headers = [] if length is None else [("Content-Length", str(length))]
    made.start_response("200 OK", headers)
    return made


def test_an_answer_is_sent_whole_or_not_at_all(wire: Wire) -> None:
    response(wire, 4).write(b"body")
    [sent] = wire.sent
    assert sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert sent.endswith(b"Content-Length: 4\r\n\r\nbody")


def test_a_body_in_parts_follows_its_head(wire: Wire) -> None:
    made = response(wire, 8)
    made.write(b"body")
    made.write(b"body")
    assert b"".join(wire.sent).endswith(b"\r\n\r\nbodybody")


def test_a_body_of_unknown_length_is_chunked(wire: Wire) -> None:
    made = response(wire, None)
    made.write(b"body")
    made.close()
    assert b"".join(wire.sent).endswith(b"\r\n\r\n4\r\nbody\r\n0\r\n\r\n")


def said(url: str, sent: bytes) -> bytes:
    """Send bytes and return what comes back until the server ends the connection."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        found = b""
        while part := connection.recv(65536):
            found += part
        return found


def test_a_body_that_is_not_what_it_claims_is_an_ec2_error(endpoint: Endpoint) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    long = f"{MAX_BODY + 100:x}\r\n".encode() + b"A=" + b"x" * (MAX_BODY + 98) + b"\r\n0\r\n\r\n"
    with serving(endpoint) as url:
        bad = said(url, head + b"zz\r\nfoo\r\n")
        assert bad.startswith(b"HTTP/1.1 400 ")
        assert b"<Code>MalformedQueryString</Code>" in bad
        assert b"<Code>RequestEntityTooLarge</Code>" in said(url, head + long)
        half = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nabc"
        assert b"<Response><Errors><Error><Code>" in said(url, half)
        query = b"GET /?" + b"A" * 30000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert b"<Code>MissingAction</Code>" in said(url, query)
