# SPDX-License-Identifier: Apache-2.0
"""The metadata service of one instance: its port through the gate, and the answers it gets.

The supervisor holds everything in memory, so a guest is answered while the gateway is away, and
only from what belongs to it: the gate hands over no other guest's connections.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

from execnode import gate, metadata_facts, metadata_http
from execnode.exits import NODE_ERROR, EndedError
from execnode.metadata_tree import Tree

if TYPE_CHECKING:
    from execnode.config import NodeConfig
    from execnode.metadata_facts import Facts
    from execnode.metadata_http import Answer, Request
    from execnode.spec import Spec

GATE_SECONDS = 20.0
PAUSE = 0.1
AT_ONCE = 16
"""Connections of a guest that are served at the same time; more of them wait."""


class GateError(Exception):
    """The gate is not there, or refused; the text says which."""


class Service:
    """Keeps the guest's port open and answers its questions, until it is closed."""

    def __init__(self, settings: NodeConfig, spec: Spec, address: str, facts: Facts) -> None:
        self._path = str(gate.socket_path(settings))
        self._spec = spec
        self._address = address
        self._tokens = metadata_http.Tokens()
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self._closed = False
        self.update(facts)
        self._gate, self.port = self._enter(GATE_SECONDS)
        self.thread = threading.Thread(target=self._serve, name="metadata", daemon=True)
        self.thread.start()

    def update(self, facts: Facts) -> None:
        """Answer from now on by these facts."""
        # One assignment: a request that is being answered sees all of the old or all of the new.
        self._current = facts, Tree(self._spec, self._address, facts)

    def learn(self, document: object) -> None:
        """Read a document of the gateway's; one that is not understood changes nothing."""
        if document is None:
            return  # a gateway that is older than this node
        try:
            facts = metadata_facts.read(document)
        except metadata_facts.FactsError as error:
            sys.stderr.write(f"{self._spec.instance_id} metadata not understood: {error}\n")
            return
        if facts.etag != self._current[0].etag:
            self.update(facts)

    def answer(self, request: Request) -> Answer:
        """Answer one request."""
        facts, tree = self._current
        return metadata_http.answer(request, tree, facts.options, self._tokens)

    def close(self) -> None:
        """Shut the port."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._gate.shutdown(socket.SHUT_RDWR)  # wakes the thread, which closes it

    def _enter(self, seconds: float) -> tuple[socket.socket, str]:
        """Ask for the port, waiting at most so long for the gate to be there."""
        deadline = time.monotonic() + seconds
        while True:
            door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            door.settimeout(GATE_SECONDS)
            try:
                door.connect(self._path)
                return door, self._introduce(door)
            except (OSError, GateError) as error:
                door.close()
                if self._closed or time.monotonic() > deadline:
                    text = f"The node's gate, condor-cloud-gate, does not open: {error}."
                    raise EndedError(NODE_ERROR, text) from error
            time.sleep(PAUSE)

    def _introduce(self, door: socket.socket) -> str:
        who = {"instance": self._spec.instance_id, "mac": self._spec.mac, "ip": self._address}
        door.sendall(json.dumps(who).encode())
        answer = door.recv(gate.LARGEST_MESSAGE)
        if not answer:
            raise GateError("it hung up")
        said = json.loads(answer)
        if "error" in said:
            raise GateError(str(said["error"]).rstrip("."))
        door.settimeout(None)
        return str(said["port"])

    def _serve(self) -> None:
        while not self._closed:
            try:
                message, descriptors, _, _ = socket.recv_fds(self._gate, 1, 1)
            except OSError:
                message, descriptors = b"", []
            for descriptor in descriptors:
                self._slots.acquire()
                connection = socket.socket(fileno=descriptor)
                threading.Thread(target=self._converse, args=[connection], daemon=True).start()
            if not message and not self._closed:
                # The gate was restarted: the guest is cut off until the new one knows it.
                self._gate.close()
                with contextlib.suppress(EndedError):
                    self._gate, self.port = self._enter(PAUSE)
        self._gate.close()

    def _converse(self, connection: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):
                metadata_http.serve(connection, self.answer)
        finally:
            self._slots.release()
