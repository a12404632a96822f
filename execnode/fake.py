# SPDX-License-Identifier: Apache-2.0
"""A hypervisor without machines, for trying the supervisor where there is no libvirt.

It keeps the promises of the Hypervisor protocol (one test class runs over both): a name can be
used once, a domain dies with the connection that made it unless the daemon died first, an address
is given to one name. The methods at the end are what a guest or an administrator would do.
"""

from __future__ import annotations

import socket
import xml.etree.ElementTree as ET
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from execnode.domain import METADATA_URI
from execnode.hypervisor import ConnectionLostError, Copied, Event, HypervisorError, NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from execnode.ports import Guest

DISK = b"what the guest has written" * 100_000
ADDRESSES = tuple(f"192.0.2.{n}" for n in range(2, 10))


class FakeDaemon:
    """What survives a connection: domains, their marks and displays, reserved addresses."""

    def __init__(self) -> None:
        self.domains: dict[str, bool] = {}
        self.stopped: set[str] = set()
        self.xml: dict[str, str] = {}
        self.hosts: dict[str, tuple[str, str]] = {}
        self.boots: dict[str, int] = {}
        self.keys: list[str] = []
        self.has_agent = False
        self.frozen: set[str] = set()
        self.copies: dict[str, tuple[Path, bool]] = {}
        """where each guest's disk is copied to, and whether its file systems were frozen then"""
        self.copying = Copied(whole=True)
        """how far copies are"""
        self.ignores_power_button = False
        self.running = True


class FakeHypervisor:
    """A connection to a FakeDaemon."""

    def __init__(self, daemon: FakeDaemon | None = None) -> None:
        self.daemon = daemon or FakeDaemon()
        self._events: SimpleQueue[tuple[int, Event]] = SimpleQueue()
        self._generation = 0
        self.connected = False
        self.before_create: Callable[[], None] = lambda: None
        """what happens, once, when a domain is about to be made"""
        self._created: set[str] = set()

    def connect(self) -> None:
        """Connect; domains of an earlier connection are no longer bound to this one."""
        if not self.daemon.running:
            raise ConnectionLostError("The fake daemon is not running.")
        self.connected = True
        self._generation += 1
        self._created.clear()

    def create(self, xml: str) -> None:
        """Start a domain that dies with this connection."""
        happening, self.before_create = self.before_create, lambda: None
        happening()
        self._check()
        root = ET.fromstring(xml)  # noqa: S314 - our own text
        name = root.findtext("name", "")
        if name in self.daemon.domains:
            raise HypervisorError(f"domain '{name}' already exists")
        self.daemon.domains[name] = root.find(f"metadata/{{{METADATA_URI}}}instance") is not None
        self.daemon.xml[name] = xml
        self._created.add(name)

    def is_active(self, name: str) -> bool:
        """Whether the domain is there, running or stopped."""
        self._check()
        return name in self.daemon.domains

    def is_stopped(self, name: str) -> bool:
        """Whether the domain's CPUs are stopped because a write to its disk failed."""
        self._check()
        return name in self.daemon.domains and name in self.daemon.stopped

    def resume(self, name: str) -> None:
        """Let a stopped domain try its write again; one that is gone is no error."""
        self._check()
        self.daemon.stopped.discard(name)

    def reboot(self, name: str) -> None:
        """Ask the guest to boot anew; it does unless it ``ignores_power_button``."""
        self._check()
        if name in self.daemon.domains and not self.daemon.ignores_power_button:
            self._boot_anew(name)

    def reset(self, name: str) -> None:
        """Boot the guest anew without asking it."""
        self._check()
        if name in self.daemon.domains:
            self._boot_anew(name)

    def _boot_anew(self, name: str) -> None:
        self.daemon.boots[name] = self.daemon.boots.get(name, 1) + 1
        self._events.put((self._generation, Event("reboot", name)))

    def shut_down(self, name: str) -> None:
        """Press the guest's power button; it powers off unless it ``ignores_power_button``."""
        self._check()
        if not self.daemon.ignores_power_button:
            self._stop(name, "shutdown")

    def screenshot(self, name: str, most: int, *, wake_up: bool) -> bytes:
        """Return a display of one grey pixel as a PPM; note a key that is pressed."""
        self._check()
        if name not in self.daemon.domains:
            return b""
        self.daemon.keys += [name] if wake_up else []
        picture = b"P6 1 1 255\n\x80\x80\x80"
        return picture if len(picture) <= most else b""

    def has_agent(self, name: str) -> bool:  # noqa: ARG002 - every guest is the same
        """Whether the guests have one."""
        self._check()
        return self.daemon.has_agent

    def freeze(self, name: str) -> None:
        """Have the guest's agent hold its file systems; an error unless it ``has_agent``."""
        self._check()
        if not self.daemon.has_agent:
            raise HypervisorError("There is no agent.")
        self.daemon.frozen.add(name)

    def thaw(self, name: str) -> None:
        """Have the agent let go of them again."""
        self._check()
        self.daemon.frozen.discard(name)

    def disk_size(self, name: str) -> int:  # noqa: ARG002 - every disk is the same
        """Bytes of the disk that the guest sees."""
        self._check()
        return len(DISK)

    def begin_copy(self, name: str, target: Path) -> None:
        """Copy the disk; ``copying`` says how far that is."""
        self._check()
        if name not in self.daemon.domains:
            raise HypervisorError("There is no such domain.")
        self.daemon.copies[name] = (target, name in self.daemon.frozen)
        target.write_bytes(DISK)

    def copied(self, name: str) -> Copied:
        """Tell how far the copy is."""
        self._check()
        return (
            self.daemon.copying
            if name in self.daemon.copies
            else Copied(whole=False, trouble="none")
        )

    def end_copy(self, name: str) -> None:
        """Give a copy up that is under way."""
        self._check()
        if not self.daemon.copying.whole:
            self.daemon.copies.pop(name, None)

    def wake(self) -> None:
        """Let next_event return ``woken``; from any thread."""
        self._events.put((self._generation, Event("woken")))

    def vnc_port(self, name: str) -> int | None:
        """TCP port of the domain's display."""
        self._check()
        names = sorted(self.daemon.domains)
        return 5900 + names.index(name) if name in names else None

    def destroy(self, name: str) -> None:
        """Stop a domain at once; one that is already gone is no error."""
        self._check()
        self._stop(name, "destroyed")

    def domains(self) -> list[str]:
        """Names of the domains that carry our mark."""
        self._check()
        return [name for name, marked in self.daemon.domains.items() if marked]

    def reserve_address(self, mac: str, name: str, wanted: str | None = None) -> str:
        """Reserve a fixed IPv4 address on the network, the wanted one if it is free."""
        self._check()
        self.daemon.hosts.pop(name, None)
        taken = {address for _, address in self.daemon.hosts.values()}
        for address in sorted(ADDRESSES, key=lambda address: address != wanted):
            if address not in taken:
                self.daemon.hosts[name] = (mac, address)
                return address
        raise NetworkError("The fake network has no free address.")

    def release_address(self, name: str) -> None:
        """Give the address of that name back; none is no error."""
        self._check()
        self.daemon.hosts.pop(name, None)

    def reserved_names(self) -> list[str]:
        """Names that hold a fixed address."""
        self._check()
        return list(self.daemon.hosts)

    def bridge(self) -> str:
        """Name of the network's bridge on the node."""
        self._check()
        return "fake0"

    def next_event(self, timeout: float | None = None) -> Event | None:
        """Wait for an event, at most timeout seconds."""
        try:
            generation, event = self._events.get(timeout=timeout)
        except Empty:
            return None
        # The end of an earlier connection, heard late, is no news.
        stale = event.kind == "connection-lost" and generation != self._generation
        return None if stale else event

    def close(self) -> None:
        """Drop the connection, and with it every domain created through it."""
        self.connected = False
        for name in self._created:
            self.daemon.domains.pop(name, None)
        self._created.clear()

    def power_off(self, name: str) -> None:
        """Do what a guest's own power-off does."""
        self._stop(name, "shutdown")

    def crash(self, name: str) -> None:
        """Let the domain's QEMU die."""
        self._stop(name, "failed")

    def fill_disk(self, name: str) -> None:
        """Let the domain write while the node's disk is full."""
        self.daemon.stopped.add(name)
        self._events.put((self._generation, Event("io-error", name)))

    def kill_daemon(self) -> None:
        """Let the daemon die: domains live on and are no longer bound to any connection."""
        self.daemon.running = False
        self.connected = False
        self._created.clear()
        self._events.put((self._generation, Event("connection-lost")))

    def _stop(self, name: str, kind: str) -> None:
        self.daemon.stopped.discard(name)
        if self.daemon.domains.pop(name, None) is not None:
            self._events.put((self._generation, Event(kind, name)))

    def _check(self) -> None:
        if not self.connected:
            raise ConnectionLostError("There is no connection to the fake daemon.")


class FakePorts:
    """Ports without a bridge: guests are addresses of this machine's loopback."""

    def __init__(self) -> None:
        self.admitted: list[Guest] = []
        self.address: tuple[str, int] = ("", 0)

    def open(self) -> socket.socket:
        """Prepare; return the socket on which guests' connections arrive."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = listener.getsockname()
        return listener

    def name(self, instance: str) -> str:
        """Return what an instance's network device on the node is to be called."""
        return f"cf{instance[-12:]}"

    def admit(self, guest: Guest) -> None:
        """Let the guest's own traffic through its port."""
        self.admitted.append(guest)

    def withdraw(self, guest: Guest) -> None:
        """Let nothing through any more."""
        self.admitted.remove(guest)

    def repair(self) -> None:
        """Do nothing: there is nothing that others could change."""
