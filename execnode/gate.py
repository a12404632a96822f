# SPDX-License-Identifier: Apache-2.0
"""``condor-cloud-gate``: who may use a port on the node's bridge, and whose metadata it may read.

The node's one daemon of its own that runs as root. A supervisor connects to its socket, says which
addresses its guest has, and stays connected: as long as it does, the guest's port is open. A
connection that a guest makes to the metadata service is accepted here and handed, as it is, to the
supervisor of the guest whose address it came from; no byte of it is read here. When a supervisor
dies, however it dies, the kernel closes its connection and the port is shut.

A message is one packet of JSON each way; then only descriptors of connections follow.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import json
import os
import re
import selectors
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from execnode import config, spec
from execnode.hypervisor import HypervisorError
from execnode.libvirtd import LibvirtHypervisor
from execnode.ports import Guest, LinuxPorts, PortsError

if TYPE_CHECKING:
    from pathlib import Path

    from execnode.config import NodeConfig
    from execnode.ports import Ports

REPAIR_SECONDS = 2.0
NETWORK_SECONDS = 0.2
LARGEST_MESSAGE = 1024
CONNECTION = b"c"
"""The byte that carries the descriptor of a guest's connection."""
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_PDEATHSIG = 1


def socket_path(settings: NodeConfig) -> Path:
    """Return where supervisors find the gate."""
    return settings.run_dir / "gate.sock"


class Gate:
    """Supervisors' connections on the one side, guests' on the other."""

    def __init__(self, settings: NodeConfig, ports: Ports) -> None:
        self._settings = settings
        self._ports = ports
        self._guests: dict[socket.socket, Guest | None] = {}
        self._by_address: dict[str, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._closed = False

    def open(self) -> None:
        """Make the service's place, then the socket; supervisors find it when all is ready."""
        self._arrivals = self._ports.open()
        self._arrivals.settimeout(0)
        path = socket_path(self._settings)
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = path.with_name(".gate.sock")
        hidden.unlink(missing_ok=True)
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._door.settimeout(0)
        self._door.bind(str(hidden))
        hidden.chmod(0o600)
        owner = self._settings.instances_dir.stat()
        if os.geteuid() == 0:
            os.chown(hidden, owner.st_uid, -1)  # the supervisors' user, and nobody else
        self._door.listen(64)
        hidden.rename(path)
        self._selector.register(self._arrivals, selectors.EVENT_READ)
        self._selector.register(self._door, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until :meth:`close` was called, at most half a second longer."""
        repaired = time.monotonic()
        while not self._closed:
            for key, _ in self._selector.select(0.5):
                if key.fileobj is self._arrivals:
                    self._hand_over()
                elif key.fileobj is self._door:
                    self._welcome()
                elif isinstance(key.fileobj, socket.socket):
                    self._hear(key.fileobj)
            if time.monotonic() - repaired > REPAIR_SECONDS:
                with contextlib.suppress(PortsError):  # a bridge that is away may come again
                    self._ports.repair()
                repaired = time.monotonic()
        for supervisor in list(self._guests):
            self._part(supervisor)
        socket_path(self._settings).unlink(missing_ok=True)
        self._door.close()
        self._arrivals.close()
        self._selector.close()

    def close(self) -> None:
        """Let :meth:`run` return."""
        self._closed = True

    def _welcome(self) -> None:
        with contextlib.suppress(OSError):
            supervisor, _ = self._door.accept()
            supervisor.settimeout(0)
            self._guests[supervisor] = None
            self._selector.register(supervisor, selectors.EVENT_READ)

    def _hear(self, supervisor: socket.socket) -> None:
        if supervisor not in self._guests:
            return  # it was parted from in the same turn
        try:
            message = supervisor.recv(LARGEST_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message or self._guests[supervisor] is not None:
            self._part(supervisor)
            return
        try:
            answer: dict[str, Any] = {"port": self._admit(supervisor, read(message))}
        except (ValueError, PortsError) as error:
            answer = {"error": str(error)}
        with contextlib.suppress(OSError):
            supervisor.send(json.dumps(answer).encode())

    def _admit(self, supervisor: socket.socket, guest: Guest) -> str:
        for known in self._guests.values():
            if known is not None and (known.instance == guest.instance or known.ip == guest.ip):
                # Whoever has the instance's lock tries again until the one before it is dead.
                raise ValueError(f"{known.instance} has a port with {known.ip} already.")
        self._ports.admit(guest)
        self._guests[supervisor] = guest
        self._by_address[guest.ip] = supervisor
        return self._ports.name(guest.instance)

    def _part(self, supervisor: socket.socket) -> None:
        guest = self._guests.pop(supervisor)
        self._selector.unregister(supervisor)
        supervisor.close()
        if guest is not None:
            del self._by_address[guest.ip]
            try:
                self._ports.withdraw(guest)
            except PortsError as error:
                sys.stderr.write(f"condor-cloud-gate: {guest.instance}: {error}\n")

    def _hand_over(self) -> None:
        try:
            connection, address = self._arrivals.accept()
        except OSError:
            return
        with connection:
            supervisor = self._by_address.get(address[0])
            if supervisor is not None:
                # A supervisor that takes none for a while loses this one, and nobody waits for it.
                with contextlib.suppress(OSError):
                    socket.send_fds(supervisor, [CONNECTION], [connection.fileno()])


def read(message: bytes) -> Guest:
    """Read what a supervisor says of its guest; a ValueError says what is wrong."""
    document = json.loads(message)
    if not isinstance(document, dict):
        raise ValueError("The message is not an object.")  # noqa: TRY004 - one kind for all
    instance, mac, ip = (str(document.get(name, "")) for name in Guest._fields)
    if not spec.INSTANCE_ID.fullmatch(instance) or not _MAC.fullmatch(mac):
        raise ValueError("The instance or its MAC address is not one.")
    return Guest(instance, mac, str(ipaddress.IPv4Address(ip)))


def main() -> int:
    """Serve until a signal; to be run as root by the node's condor_master."""
    if sys.argv[1:]:
        sys.stderr.write("usage: condor-cloud-gate\n")
        return 2
    try:
        settings = config.load()
        # The master's end, however it comes, is this daemon's: two of them cannot be.
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGTERM)
        gate = Gate(settings, LinuxPorts(_bridge(settings)))
        for number in (signal.SIGQUIT, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: gate.close())
        gate.open()
    except (config.ConfigError, PortsError, OSError) as error:
        sys.stderr.write(f"condor-cloud-gate: {error}\n")
        return 1
    gate.run()
    return 0


def _bridge(settings: NodeConfig) -> str:
    """Return the name of the guests' network's bridge; waits until there is one."""
    said = ""
    while True:
        hypervisor = LibvirtHypervisor(settings.libvirt_uri, settings.network)
        try:
            hypervisor.connect()
            return hypervisor.bridge()
        except HypervisorError as error:
            if str(error) != said:
                said = str(error)
                sys.stderr.write(f"condor-cloud-gate: waiting: {said}\n")
                sys.stderr.flush()
        finally:
            hypervisor.close()
        time.sleep(NETWORK_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
