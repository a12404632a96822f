# SPDX-License-Identifier: Apache-2.0
"""libvirt as the hypervisor: the only user of libvirt.

A domain is created with AUTODESTROY: libvirtd itself destroys it when the supervisor's connection
closes, however the supervisor died. A libvirtd that is restarted forgets that promise while the
guest lives on, so whoever reconnects must guard the domain and destroy it explicitly.
"""

from __future__ import annotations

import contextlib
import importlib
import socket
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from execnode import backup, display, network
from execnode.domain import METADATA_URI, ROOT_DISK, vnc_port
from execnode.hypervisor import ConnectionLostError, Copied, Event, HypervisorError, NetworkError

if TYPE_CHECKING:
    from pathlib import Path

DHCP_SERVER_PORT = 67


class LibvirtHypervisor:
    """The real one. uri: libvirt's; network_name: a network that libvirt manages."""

    _loop_lock = threading.Lock()
    _loop: threading.Thread | None = None

    def __init__(self, uri: str, network_name: str) -> None:
        self._uri = uri
        self._network_name = network_name
        self._events: SimpleQueue[tuple[int, Event]] = SimpleQueue()
        self._connection: Any = None
        self._watches: list[int] = []
        self._generation = 0
        # Imported here: it takes as long as a claim does, and happens while one is under way.
        self._libvirt: Any = importlib.import_module("libvirt")
        self._libvirt.registerErrorHandler(lambda _context, _error: None, None)
        self._start_loop()

    def _start_loop(self) -> None:
        cls = type(self)
        with cls._loop_lock:
            if cls._loop is None:
                self._libvirt.virEventRegisterDefaultImpl()
                cls._loop = threading.Thread(target=self._run_loop, name="libvirt", daemon=True)
                cls._loop.start()

    def _run_loop(self) -> None:
        while True:
            self._libvirt.virEventRunDefaultImpl()

    def connect(self) -> None:
        """Connect, or connect again after ``connection-lost``."""
        self.close()
        self._generation += 1
        try:
            connection = self._libvirt.open(self._uri)
            connection.registerCloseCallback(self._on_close, self._generation)
            lifecycle = self._libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
            reboot = self._libvirt.VIR_DOMAIN_EVENT_ID_REBOOT
            self._watches = [
                connection.domainEventRegisterAny(None, lifecycle, self._on_lifecycle, None),
                connection.domainEventRegisterAny(None, reboot, self._on_reboot, None),
            ]
        except self._libvirt.libvirtError as error:
            raise ConnectionLostError(_text(error)) from error
        self._connection = connection

    def _on_close(self, _connection: Any, _reason: int, generation: int) -> None:
        self._events.put((generation, Event("connection-lost")))

    def _on_lifecycle(
        self, _connection: Any, domain: Any, event: int, detail: int, _opaque: object
    ) -> None:
        lv = self._libvirt
        if event == lv.VIR_DOMAIN_EVENT_STOPPED:
            kinds = {
                lv.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN: "shutdown",
                lv.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: "destroyed",
                lv.VIR_DOMAIN_EVENT_STOPPED_CRASHED: "crashed",
            }
            self._tell(kinds.get(detail, "failed"), domain)
        stopped = event == lv.VIR_DOMAIN_EVENT_SUSPENDED
        if stopped and detail == lv.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR:
            self._tell("io-error", domain)

    def _on_reboot(self, _connection: Any, domain: Any, _opaque: object) -> None:
        self._tell("reboot", domain)

    def _tell(self, kind: str, domain: Any) -> None:
        self._events.put((self._generation, Event(kind, domain.name())))

    def create(self, xml: str) -> None:
        """Start a domain that dies with this connection."""
        self._call(lambda c: c.createXML(xml, self._libvirt.VIR_DOMAIN_START_AUTODESTROY))

    def is_active(self, name: str) -> bool:
        """Whether the domain is there, running or stopped."""
        return bool(self._while_there(lambda c: c.lookupByName(name).isActive()))

    def is_stopped(self, name: str) -> bool:
        """Whether the domain's CPUs are stopped because a write to its disk failed."""
        lv, domain = self._libvirt, self._domain(name)
        if domain is None:
            return False
        try:
            state = self._call(lambda _: domain.state())
        except ConnectionLostError:
            raise
        except HypervisorError:
            return False  # it ended meanwhile
        return tuple(state) == (lv.VIR_DOMAIN_PAUSED, lv.VIR_DOMAIN_PAUSED_IOERROR)

    def resume(self, name: str) -> None:
        """Let a stopped domain try its write again; one that is gone is no error."""
        domain = self._domain(name)
        if domain is None:
            return
        try:
            self._call(lambda _: domain.resume())
        except ConnectionLostError:
            raise
        except HypervisorError:
            if self.is_stopped(name):
                raise

    def reboot(self, name: str) -> None:
        """Ask the guest to boot anew, as a power button does; a ``reboot`` follows if it does."""
        lv, domain = self._libvirt, self._domain(name)
        if domain is not None:
            self._call(lambda _: domain.reboot(lv.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN))

    def reset(self, name: str) -> None:
        """Boot the guest anew without asking it; a ``reboot`` follows."""
        domain = self._domain(name)
        if domain is not None:
            self._call(lambda _: domain.reset())

    def shut_down(self, name: str) -> None:
        """Press the guest's power button; a ``shutdown`` follows if it obeys."""
        lv, domain = self._libvirt, self._domain(name)
        if domain is not None:
            self._call(lambda _: domain.shutdownFlags(lv.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN))

    def screenshot(self, name: str, most: int, *, wake_up: bool) -> bytes:
        """Return the display as a PNG or PPM; nothing if it is larger or the domain is gone."""
        domain = self._domain(name)
        if domain is not None and wake_up:
            self._call(lambda _: display.press_key(self._libvirt, domain))
        return b"" if domain is None else self._call(lambda c: display.picture(c, domain, most))

    def has_agent(self, name: str) -> bool:
        """Whether a process in the guest listens on the agent's channel."""
        return backup.has_agent(self._call(lambda c: c.lookupByName(name).XMLDesc(0)))

    def freeze(self, name: str) -> None:
        """Have the guest's agent write out and hold its file systems; an error without one."""
        self._call(lambda c: backup.freeze(c.lookupByName(name)))

    def thaw(self, name: str) -> None:
        """Have the agent let go of them again."""
        self._call(lambda c: c.lookupByName(name).fsThaw())

    def disk_size(self, name: str) -> int:
        """Bytes of the disk that the guest sees."""
        return int(self._call(lambda c: c.lookupByName(name).blockInfo(ROOT_DISK))[0])

    def begin_copy(self, name: str, target: Path) -> None:
        """Begin to copy the guest's disk as it is at this instant; the guest goes on meanwhile."""
        lv = self._libvirt
        self._call(lambda c: backup.begin(lv, c.lookupByName(name), ROOT_DISK, target))

    def copied(self, name: str) -> Copied:
        """Tell how far the copy is that was begun last."""
        return Copied(*self._call(lambda c: backup.state(self._libvirt, c.lookupByName(name))))

    def end_copy(self, name: str) -> None:
        """Give a copy up that is under way; none is no error."""
        domain = self._domain(name)
        if domain is not None and self.copied(name) == Copied(whole=False):
            self._call(lambda _: domain.abortJob())

    def wake(self) -> None:
        """Let next_event return ``woken``; from any thread."""
        self._events.put((self._generation, Event("woken")))

    def vnc_port(self, name: str) -> int | None:
        """TCP port of the domain's display."""
        domain = self._domain(name)
        if domain is None:
            return None
        return vnc_port(self._call(lambda _: domain.XMLDesc(0)))

    def destroy(self, name: str) -> None:
        """Stop a domain at once; one that is already gone is no error."""
        domain = self._domain(name)
        if domain is None:
            return
        try:
            self._call(lambda _: domain.destroy())
        except ConnectionLostError:
            raise
        except HypervisorError:
            if self.is_active(name):
                raise

    def domains(self) -> list[str]:
        """Names of the domains that carry our mark."""
        names = []
        for domain in self._call(lambda c: c.listAllDomains(0)):
            with contextlib.suppress(self._libvirt.libvirtError):
                domain.metadata(self._libvirt.VIR_DOMAIN_METADATA_ELEMENT, METADATA_URI, 0)
                names.append(domain.name())
        return names

    def reserve_address(self, mac: str, name: str, wanted: str | None = None) -> str:
        """Reserve a fixed IPv4 address on the network, the wanted one if it is free.

        name is the instance's id.
        """
        net, parsed = self._network()
        for stale in parsed.hosts:
            if name == stale.name or mac == stale.mac:
                self._update(net, "DELETE", stale)
        others = tuple(host for host in parsed.hosts if host.name != name and host.mac != mac)
        parsed = parsed._replace(hosts=others)
        leases = self._call(lambda _: net.DHCPLeases())
        leased = frozenset(lease["ipaddr"] for lease in leases if lease["mac"] != mac)
        for address in network.candidates(parsed, leased, wanted):
            try:
                self._update(net, "ADD_LAST", network.Host(mac, name, address))
            except ConnectionLostError:
                raise
            except HypervisorError:
                # Another supervisor was faster, or the network itself is the trouble.
                if address not in {host.ip for host in self._network()[1].hosts}:
                    raise
            else:
                return address
        raise NetworkError(f"Network {self._network_name} has no free address.")

    def release_address(self, name: str) -> None:
        """Give the address of that name back, its lease too; none is no error."""
        net, parsed = self._network()
        for host in parsed.hosts:
            if host.name == name:
                self._forget_leases(net, parsed, host.mac)
                with contextlib.suppress(NetworkError):  # already gone
                    self._update(net, "DELETE", host)

    def reserved_names(self) -> list[str]:
        """Names that hold a fixed address."""
        return [host.name for host in self._network()[1].hosts]

    def bridge(self) -> str:
        """Name of the network's bridge on the node."""
        return self._network()[1].bridge

    def _forget_leases(self, net: Any, parsed: network.Network, mac: str) -> None:
        """Tell dnsmasq that the guest is gone, else the address stays bound to its MAC."""
        for lease in self._call(lambda _: net.DHCPLeases(mac)):
            client_id = bytes.fromhex((lease.get("clientid") or "").replace(":", ""))
            packet = network.release_packet(mac, lease["ipaddr"], parsed.server, client_id)
            with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as sender:
                # Binding to a device needs no privilege since Linux 5.7.
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, parsed.bridge.encode())
                sender.sendto(packet, (parsed.server, DHCP_SERVER_PORT))

    def next_event(self, timeout: float | None = None) -> Event | None:
        """Wait for an event, at most timeout seconds."""
        try:
            generation, event = self._events.get(timeout=timeout)
        except Empty:
            return None
        if event.kind == "connection-lost" and generation != self._generation:
            # The end of an earlier connection, heard late: to connect again for it would close
            # the good one, and libvirtd would destroy the guest with it.
            return None
        return event

    def close(self) -> None:
        """Drop the connection, and with it every domain created through it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # A callback holds a reference, and only the last one's end closes the connection.
            with contextlib.suppress(self._libvirt.libvirtError):
                connection.unregisterCloseCallback()
            for watch in self._watches:
                with contextlib.suppress(self._libvirt.libvirtError):
                    connection.domainEventDeregisterAny(watch)
            with contextlib.suppress(self._libvirt.libvirtError):
                connection.close()

    def _network(self) -> tuple[Any, network.Network]:
        try:
            net = self._call(lambda c: c.networkLookupByName(self._network_name))
            if not self._call(lambda _: net.isActive()):
                raise NetworkError(f"Network {self._network_name} is not active.")
            return net, network.parse(self._call(lambda _: net.XMLDesc(0)))
        except ConnectionLostError:
            raise
        except HypervisorError as error:
            raise NetworkError(str(error)) from error

    def _update(self, net: Any, command: str, host: network.Host) -> None:
        lv = self._libvirt
        verb = getattr(lv, f"VIR_NETWORK_UPDATE_COMMAND_{command}")
        section = lv.VIR_NETWORK_SECTION_IP_DHCP_HOST
        live = lv.VIR_NETWORK_UPDATE_AFFECT_LIVE
        try:
            self._call(lambda _: net.update(verb, section, -1, host.xml(), live))
        except ConnectionLostError:
            raise
        except HypervisorError as error:
            raise NetworkError(str(error)) from error

    def _domain(self, name: str) -> Any:
        return self._while_there(lambda c: c.lookupByName(name))

    def _while_there(self, work: Any) -> Any:
        """Return what ``work`` does with a domain; None where there is none, or none any more."""
        try:
            return self._call(work)
        except ConnectionLostError:
            raise
        except HypervisorError as error:
            missing = self._libvirt.VIR_ERR_NO_DOMAIN
            if isinstance(error.__cause__, Exception) and _code(error.__cause__) == missing:
                return None
            raise

    def _call(self, work: Any) -> Any:
        connection = self._connection
        if connection is None:
            raise ConnectionLostError("There is no connection to libvirtd.")
        try:
            return work(connection)
        except self._libvirt.libvirtError as error:
            alive = False
            with contextlib.suppress(self._libvirt.libvirtError):
                alive = bool(connection.isAlive())
            kind = HypervisorError if alive else ConnectionLostError
            raise kind(_text(error)) from error


def _text(error: Any) -> str:
    return str(error.get_error_message() or error)


def _code(error: Any) -> int:
    return int(error.get_error_code())
