# SPDX-License-Identifier: Apache-2.0
"""The metadata service's side of HTTP: one request, one answer, for one instance.

Both of EC2's ways of asking: without a token (IMDSv1) and with one (IMDSv2). Statuses are those of
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html#instance-metadata-returns
"""

from __future__ import annotations

import base64
import hmac
import os
import socket
import struct
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from execnode.metadata_tree import TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from execnode.metadata_facts import Options
    from execnode.metadata_tree import Tree

TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path
TTL_HEADER = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
TOKEN_HEADER = "X-Aws-Ec2-Metadata-Token"  # noqa: S105 - a header's name
LONGEST_TTL = 21600
PATIENCE = 10.0
"""Seconds that a guest has for its request, and for taking the answer."""
LARGEST_HEAD = 16384
USUAL_TTL = 64
"""IP's time to live of every answer but a token."""
_WORDS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Not Allowed",
}


class Request(NamedTuple):
    """The head of a request; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


class Answer(NamedTuple):
    """What is sent back; hops is the IP time to live of its packets."""

    status: int
    content: bytes = b""
    kind: str = TEXT
    headers: Mapping[str, str] = {}
    hops: int = USUAL_TTL

    def encode(self, *, head_only: bool) -> bytes:
        """Return the bytes that travel."""
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
        lines = [
            f"HTTP/1.1 {self.status} {_WORDS[self.status]}",
            f"Content-Type: {self.kind}",
            "Accept-Ranges: none",
            f"Content-Length: {len(self.content)}",
            f"Date: {date}",
            "Server: EC2ws",
            "Connection: close",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        return head if head_only else head + self.content


class Tokens:
    """Makes and checks tokens; another instance's, or another run's, are strangers'."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._key = os.urandom(32)

    def make(self, seconds: int) -> str:
        """Return a token that is good for so long."""
        body = struct.pack(">d", self._clock() + seconds) + os.urandom(8)
        return base64.urlsafe_b64encode(body + self._seal(body)).decode()

    def seconds_left(self, token: str) -> int | None:
        """Return how long a token is still good; None for one that is not."""
        try:
            raw = base64.b64decode(token.encode("ascii"), b"-_", validate=True)
        except ValueError:
            return None
        body, seal = raw[:16], raw[16:]
        if len(raw) != 48 or not hmac.compare_digest(seal, self._seal(body)):
            return None
        (until,) = struct.unpack(">d", body[:8])
        left = until - self._clock()
        return int(left) if left > 0 else None

    def _seal(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")


def answer(request: Request, tree: Tree, options: Options, tokens: Tokens) -> Answer:
    """Answer one request of the instance that tree, options and tokens belong to."""
    if not options.enabled:
        return _refusal(403)
    path = unquote(request.path.partition("?")[0])
    if path.rstrip("/") == TOKEN_PATH:
        return _token(request, options, tokens)
    if request.method not in {"GET", "HEAD"}:
        return _refusal(405, {"Allow": "GET, HEAD"})
    token = request.headers.get(TOKEN_HEADER.lower())
    left = None if token is None else tokens.seconds_left(token)
    if left is None and (token is not None or options.tokens_required):
        return _refusal(401)
    found = tree.find(path)
    if found is None:
        return _refusal(404)
    headers = {} if left is None else {TTL_HEADER: str(left)}
    return Answer(200, found.content, found.kind, headers)


def _token(request: Request, options: Options, tokens: Tokens) -> Answer:
    if request.method != "PUT":
        return _refusal(405, {"Allow": "OPTIONS, PUT"})
    if "x-forwarded-for" in request.headers:
        # It came through a proxy, which somebody outside may have talked into asking.
        return _refusal(403)
    asked = request.headers.get(TTL_HEADER.lower(), "")
    if not (asked.isascii() and asked.isdigit() and 0 < int(asked[:9]) <= LONGEST_TTL):
        return _refusal(400)
    content = tokens.make(int(asked)).encode()
    return Answer(200, content, headers={TTL_HEADER: asked}, hops=options.hop_limit)


def _refusal(status: int, headers: Mapping[str, str] | None = None) -> Answer:
    title = f"{status} - {_WORDS[status]}"
    page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return Answer(status, page.encode(), "text/html", headers or {})


def serve(connection: socket.socket, answers: Callable[[Request], Answer]) -> None:
    """Read one request, send its answer, hang up."""
    with connection:
        deadline = time.monotonic() + PATIENCE
        request = _read(connection, deadline)
        given = _refusal(400) if request is None else answers(request)
        # The whole connection has been the instance's own; only the answer may be kept near.
        connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, given.hops)
        connection.settimeout(PATIENCE)
        head_only = request is not None and request.method == "HEAD"
        connection.sendall(given.encode(head_only=head_only))
        connection.shutdown(socket.SHUT_WR)
        # What the guest still sends is taken: a close with unread bytes would be a reset, which
        # can overtake the answer.
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(4096):
                break


def _read(connection: socket.socket, deadline: float) -> Request | None:
    """Return the request; None for what is none. TimeoutError when it does not come."""
    head = b""
    while b"\r\n\r\n" not in head and b"\n\n" not in head:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        data = connection.recv(4096)
        if not data:
            raise ConnectionError("the guest hung up")
        head += data
        if len(head) > LARGEST_HEAD:
            return None
    return parse(head)


def parse(head: bytes) -> Request | None:
    """Read a request's head; None where it is not HTTP/1."""
    lines = head.decode("latin-1").replace("\r\n", "\n").partition("\n\n")[0].split("\n")
    words = lines[0].split(" ")
    if len(words) != 3 or words[2] not in {"HTTP/1.0", "HTTP/1.1"}:
        return None
    method, target, _ = words
    if target.lower().startswith("http://"):
        target = "/" + target[7:].partition("/")[2]
    if not target.startswith("/"):
        return None
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            return None
        headers[name.lower()] = value.strip()
    return Request(method, target, headers)
