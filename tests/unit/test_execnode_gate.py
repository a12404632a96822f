# SPDX-License-Identifier: Apache-2.0
"""The gate between guests and the services that answer them, with addresses of loopback."""

from __future__ import annotations

import json
import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from execnode_gateway import INSTANCE, MAC, eventually, specification

from execnode import config, gate, metadata, spec
from execnode.fake import FakePorts
from execnode.metadata_facts import Facts
from execnode.ports import Guest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Node:
    """A gate on loopback, and a service behind it for each address."""

    def __init__(self, place: Path) -> None:
        (place / "instances").mkdir()
        given = {"gateway": "https://none", "token_file": "/none", "ca_file": "/none"}
        given |= {"state_dir": str(place), "run_dir": str(place / "run")}
        self.settings = config.from_document(given)
        self.ports = FakePorts()
        self.services: list[metadata.Service] = []
        self.start()

    def start(self) -> None:
        self.gate = gate.Gate(self.settings, self.ports)
        self.gate.open()
        self.thread = threading.Thread(target=self.gate.run)
        self.thread.start()

    def stop(self) -> None:
        self.gate.close()
        self.thread.join()

    def serve(self, address: str, instance: str = INSTANCE) -> metadata.Service:
        document = spec.read(specification(b"", instance_id=instance))
        service = metadata.Service(self.settings, document, address, Facts())
        self.services.append(service)
        return service

    def ask(self, source: str, request: bytes = b"") -> bytes:
        """Ask as the guest with that address; everything that is answered."""
        asked = request or b"GET /latest/meta-data/instance-id HTTP/1.1\r\n\r\n"
        with socket.socket() as guest:
            guest.bind((source, 0))
            guest.settimeout(10)
            guest.connect(self.ports.address)
            answer = b""
            try:
                guest.sendall(asked)
                while data := guest.recv(4096):
                    answer += data
            except ConnectionError:
                pass
            return answer

    def close(self) -> None:
        for service in self.services:
            service.close()
        eventually(lambda: not any(service.thread.is_alive() for service in self.services))
        self.stop()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.close()


def test_each_guest_is_answered_by_its_own_service(node: Node) -> None:
    other = "i-0fedcba9876543210"
    node.serve("127.0.0.11")
    node.serve("127.0.0.12", other)
    assert node.ask("127.0.0.11").endswith(b"\r\n\r\n" + INSTANCE.encode())
    assert node.ask("127.0.0.12").endswith(b"\r\n\r\n" + other.encode())
    assert node.ask("127.0.0.13") == b""


def test_an_answer_has_ec2s_headers(node: Node) -> None:
    node.serve("127.0.0.11")
    head = node.ask("127.0.0.11").partition(b"\r\n\r\n")[0].decode().split("\r\n")
    assert head[0] == "HTTP/1.1 200 OK"
    for line in (
        *("Content-Type: text/plain", f"Content-Length: {len(INSTANCE)}"),
        *("Server: EC2ws", "Connection: close", "Accept-Ranges: none"),
    ):
        assert line in head


def test_a_head_that_never_ends_is_cut_off(node: Node) -> None:
    node.serve("127.0.0.11")
    assert node.ask("127.0.0.11", b"GET /" + b"x" * 20000).startswith(b"HTTP/1.1 400 ")


def test_a_port_lives_as_long_as_its_service(node: Node) -> None:
    service = node.serve("127.0.0.11")
    assert node.ports.admitted == [Guest(INSTANCE, MAC, "127.0.0.11")]
    service.close()
    eventually(lambda: node.ports.admitted == [])
    assert node.ask("127.0.0.11") == b""


def test_the_next_run_of_an_instance_waits_for_the_end_of_the_one_before(node: Node) -> None:
    first = node.serve("127.0.0.11")
    threading.Timer(0.5, first.close).start()
    node.serve("127.0.0.12")
    assert node.ports.admitted == [Guest(INSTANCE, MAC, "127.0.0.12")]
    assert node.ask("127.0.0.12").endswith(INSTANCE.encode())


def test_a_service_outlives_its_gate(node: Node) -> None:
    node.serve("127.0.0.11")
    node.stop()
    node.start()
    eventually(lambda: node.ports.admitted != [])
    assert node.ask("127.0.0.11").endswith(INSTANCE.encode())


@pytest.mark.parametrize(
    "message",
    [
        *(b"{", b"[]", b"{}", b'{"instance": "x", "mac": "x", "ip": "x"}'),
        json.dumps({"instance": INSTANCE, "mac": MAC, "ip": "10.0.0.1 }; flush"}).encode(),
        json.dumps({"instance": INSTANCE, "mac": MAC + "\n", "ip": "10.0.0.1"}).encode(),
        json.dumps({"instance": INSTANCE + '"', "mac": MAC, "ip": "10.0.0.1"}).encode(),
    ],
)
def test_the_gate_takes_no_address_that_is_none(node: Node, message: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as supervisor:
        supervisor.settimeout(10)
        supervisor.connect(str(gate.socket_path(node.settings)))
        supervisor.sendall(message)
        assert "error" in json.loads(supervisor.recv(4096))
    assert node.ports.admitted == []


def test_only_the_supervisors_user_may_enter_the_gate(node: Node) -> None:
    found = gate.socket_path(node.settings).stat()
    assert found.st_mode & 0o777 == 0o600
    assert found.st_uid == os.stat(node.settings.instances_dir).st_uid  # noqa: PTH116
