# SPDX-License-Identifier: Apache-2.0
"""A node link that answers from memory over real TLS, and a starter that collects reports."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socketserver
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INSTANCE = "i-0123456789abcdef0"
MAC = "52:54:00:12:34:56"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHfO somebody"


def specification(image: bytes, image_format: str = "raw", **changes: Any) -> dict[str, Any]:
    """Return a claim's answer for an image of these bytes."""
    sha256 = hashlib.sha256(image).hexdigest()
    document = {
        "v": 1,
        "instance_id": INSTANCE,
        "run": 1,
        "account_id": "123456789012",
        "reservation_id": "r-0123456789abcdef0",
        "launch_index": 0,
        "instance_type": "small",
        "vcpus": 1,
        "memory_mib": 128,
        "disk_bytes": None,
        "architecture": "x86_64",
        "disk": "new",
        "mac": MAC,
        "private_ip": None,
        "hostname": INSTANCE,
        "availability_zone": "condor-a",
        "region": "condor",
        "user_data": None,
        "ssh_keys": [{"name": "k", "key": KEY}],
        "image": {
            "id": "ami-0123456789abcdef0",
            "sha256": sha256,
            "size": len(image),
            "format": image_format,
            "virtual_size": max(len(image), 1024 * 1024),
            "path": f"/v1/images/{sha256}",
        },
    }
    return document | changes


class Gateway:
    """The node link's side of one instance; attributes are what a test changes or looks at."""

    token = "node-token"  # noqa: S105 - a test's own

    def __init__(self, directory: Path) -> None:
        self.spec: dict[str, Any] = {}
        self.image = b""
        self.claim_answers: list[tuple[int, dict[str, Any]]] = []
        self.claims: list[dict[str, Any]] = []
        self.images: dict[str, bytes] = {}
        """further images by their SHA-256"""
        self.downloads = 0
        self.starts: list[int] = []
        """the byte that each download was to begin at"""
        self.cuts: list[int] = []
        """the bytes before which the next downloads are cut"""
        self.honours_range = True
        self.on_download: Callable[[], None] = lambda: None
        self.on_piece: Callable[[], None] = lambda: None
        self.console = b""
        self.console_refusals = 0
        self.ends: list[dict[str, Any]] = []
        self.takes: list[dict[str, Any]] = []
        """the words that a node has a parked disk"""
        self.take_answers: list[tuple[int, dict[str, Any]]] = []
        self.disk_answers: list[tuple[int, dict[str, Any]]] = []
        self.commands: list[dict[str, Any]] = []
        self.taken: list[int] = []
        self.prefetch: list[dict[str, Any]] = []
        """what the node shall have in its cache"""
        self.prefetched: list[dict[str, Any]] = []
        self.prefetching: list[int] = []
        self.errands: list[dict[str, Any]] = []
        """what the node shall do with stopped disks, until it has told the end"""
        self.doing: list[int] = []
        self.captured = b""
        self.capture_reports: list[dict[str, Any]] = []
        self.on_report: Callable[[dict[str, Any]], None] = lambda _: None
        self.capture_troubles: list[int] = []
        """the statuses that the next requests about captures are answered with"""
        self.lost_answers = 0
        """how many of the next requests for commands take effect and are not answered"""
        self.certificate = directory / "gateway.pem"
        key = directory / "gateway.key"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"),
                *("-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=gateway"),
                *("-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", str(key), "-out", str(self.certificate)),
            ],
            check=True,
            capture_output=True,
        )
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, key)
        self._server = self._serve(0)
        self.port = self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def _serve(self, port: int) -> ThreadingHTTPServer:
        server = _Server(("127.0.0.1", port), _handler(self))
        server.daemon_threads = True
        server.block_on_close = False
        server.socket = self._context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, object]:
        """Answer a request: status and document."""
        if path.endswith("/claim"):
            self.claims.append(body)
            return self.claim_answers.pop(0) if self.claim_answers else (200, self.spec)
        if path.endswith(("/disk", "/disk-taken")):
            return self.of_disk(path, body)
        if path.startswith(("/v1/prefetches/", "/v1/captures/", "/v1/parkings/")):
            return self.numbered(path, body)
        if path.endswith("/commands"):
            return self.commanded(body)
        if self.console_refusals:
            self.console_refusals -= 1
            return 503, {"error": "away", "message": "away"}
        data = base64.b64decode(body["data"])
        self.console = self.console.ljust(body["offset"], b"?")[: body["offset"]] + data
        return 204, None

    def of_disk(self, path: str, body: dict[str, Any]) -> tuple[int, object]:
        """Hear that a run ends, or that it has a parked disk."""
        if path.endswith("/disk-taken"):
            self.takes.append(body)
            return self.take_answers.pop(0) if self.take_answers else (200, {})
        self.ends.append(body)
        return self.disk_answers.pop(0) if self.disk_answers else (200, {"disk": "remove"})

    def numbered(self, path: str, body: dict[str, Any]) -> tuple[int, object]:
        """Hear of a prefetch, or of a capture."""
        if path.startswith("/v1/prefetches/"):
            return self.told(int(path.rpartition("/")[2]), body)
        if self.capture_troubles and (status := self.capture_troubles.pop(0)) != 200:
            return status, {}
        if body.get("begins"):
            self.captured = b""
        if body:
            self.capture_reports.append(body)
            self.on_report(body)
        whole = "sha256" in body and body["size"] == len(self.captured)
        if whole or "error" in body or body.get("removes") == "done":
            number = int(path.rpartition("/")[2])
            self.errands = [one for one in self.errands if one["id"] != number]
        return 200, {"bytes": len(self.captured)}

    def put(self, span: str, data: bytes) -> tuple[int, dict[str, Any]]:
        """Take a piece of a capture."""
        self.on_piece()
        if self.capture_troubles and (status := self.capture_troubles.pop(0)) != 200:
            return status, {}
        begin = int(span.removeprefix("bytes ").partition("-")[0])
        if begin <= len(self.captured):
            self.captured = self.captured[:begin] + data
        return 200, {"bytes": len(self.captured)}

    def commanded(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return what one who asks for commands is told; 502 is a proxy that lost the answer."""
        if "after" in body:
            self.prefetching, self.doing = body["prefetching"], body["errands"]
            return 200, self.waiting(body["after"])
        self.taken += body["taken"]
        if self.lost_answers:
            self.lost_answers -= 1
            return 502, {}
        return 200, {"commands": [one for one in self.commands if one["id"] not in self.taken]}

    def waiting(self, after: int) -> dict[str, Any]:
        """What a node's listener is told."""
        last = max([after, *(one["id"] for one in self.commands)])
        wanted = [one for one in self.prefetch if one["id"] not in self.prefetching]
        return {
            "last": last,
            "instances": [INSTANCE] if last > after else [],
            "prefetch": wanted,
            "errands": [one for one in self.errands if one["id"] not in self.doing],
        }

    def told(self, number: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Hear how far an image is; what has ended is wanted no more."""
        if self.lost_answers:
            self.lost_answers -= 1
            return 502, {}
        self.prefetched.append(body)
        if body["state"] != "fetching":
            self.prefetch = [one for one in self.prefetch if one["id"] != number]
        return 200, {}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing: supervisors that are terminated hang up in the middle."""


def _handler(gateway: Gateway) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.headers["Authorization"] == f"Bearer {gateway.token}":
                self.answer(*gateway.post(self.path, body))
            else:
                self.answer(401, {"error": "bad-token", "message": "no"})

        def do_PUT(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(*gateway.put(self.headers["Content-Range"], data))

        def do_GET(self) -> None:
            gateway.downloads += 1
            gateway.on_download()
            if (further := gateway.images.get(self.path.rpartition("/")[2])) is not None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(further)))
                self.end_headers()
                self.wfile.write(further)
                return
            if not self.path.endswith(gateway.spec["image"]["sha256"]):
                self.answer(404, {"error": "no-such-image", "message": "It is gone."})
                return
            start = int(self.headers.get("Range", "bytes=0-")[len("bytes=") : -1])
            gateway.starts.append(start)
            self.send_image(start if gateway.honours_range else 0)

        def send_image(self, start: int) -> None:
            size = gateway.spec["image"]["size"]
            content = gateway.image[start : gateway.cuts.pop(0) if gateway.cuts else None]
            self.send_response(206 if start else 200)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.send_header("Content-Length", str(size - start))
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = len(content) != size - start

        def answer(self, status: int, document: object) -> None:
            content = b"" if document is None else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


class Starter(socketserver.ThreadingTCPServer):
    """HTCondor's starter, as far as Chirp's ulog goes: keeps the lines it was given."""

    daemon_threads = True
    block_on_close = False
    cookie = "c0ffee"

    def __init__(self, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), _ChirpHandler)
        self.lines: list[str] = []
        self.refusals = 0
        self.config = directory / "chirp.config"
        self.config.write_text(f"127.0.0.1 {self.server_address[1]} {self.cookie}\n")
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def reports(self) -> list[dict[str, Any]]:
        return [json.loads(line.removeprefix("condor-cloud ")) for line in self.lines]

    @property
    def events(self) -> list[str]:
        return [report["event"] for report in self.reports]


class _ChirpHandler(socketserver.StreamRequestHandler):
    server: Starter

    def handle(self) -> None:
        known = False
        for raw in self.rfile:
            verb, _, rest = raw.decode().rstrip("\n").partition(" ")
            if verb == "cookie":
                known = rest == self.server.cookie
                answer = 0 if known else -1
            elif verb == "ulog" and known and not self.server.refusals:
                self.server.lines.append(
                    rest.replace("\\\\", "\0").replace("\\", "").replace("\0", "\\")
                )
                answer = 0
            else:
                self.server.refusals = max(0, self.server.refusals - 1)
                answer = -1
            self.wfile.write(b"%d\n" % answer)


PROGRAMS = {
    # What a supervisor runs, as far as its outcome goes, for hosts without it.
    "qemu-img": """case $1 in
        create) shift $(($# - 2)); : > "$1" ;;
        info) echo "{\\"format\\": \\"$4\\"}" ;;
        measure) echo "{\\"required\\": 1000}" ;;
        convert) shift $(($# - 2)); cp "$1" "$2" ;;
        esac""",
}


def install_programs(place: Path) -> str:
    """Write stand-ins for the programs that are not installed; returns a PATH with them last."""
    place.mkdir()
    for name, script in PROGRAMS.items():
        (place / name).write_text(f"#!/bin/sh\n{script}\n")
        (place / name).chmod(0o755)
    return f"{os.environ['PATH']}:{place}"


def eventually(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until the condition holds, or fail."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
