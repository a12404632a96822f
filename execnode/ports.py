# SPDX-License-Identifier: Apache-2.0
"""A guest's port on the node's bridge: what may pass it, and the metadata service behind it.

Rules in nftables' bridge family let through a port only what its guest has as its own, MAC and
IPv4 address, in Ethernet, ARP and IP alike. So a packet's source address proves which port it came
from. What goes to 169.254.169.254 is steered, on the bridge, to a veth whose other end is alone in
a network namespace of this process. Neither the node's own addresses nor its firewall have a part
in it.

Everything belongs to this process: the tables have nftables' flag ``owner`` (nobody else can
flush them, and the kernel removes them with the process), and the namespace lives as long as the
socket in it.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import re
import socket
import subprocess
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

ADDRESS = "169.254.169.254"
PORT = 80
MAC = "02:00:a9:fe:a9:fe"  # locally administered; guests' begin with 52:54:00
_CLONE_NEWNET = 0x40000000
_BACKLOG = 256
_NET = Path("/sys/class/net")


class PortsError(Exception):
    """The kernel refused; the text is its or nft's own."""


class Guest(NamedTuple):
    """Who is behind a port; addresses as text, the MAC in lower case."""

    instance: str
    mac: str
    ip: str


class Ports(Protocol):
    """What the gate asks of the node's network."""

    def open(self) -> socket.socket:
        """Prepare; return the socket on which guests' connections arrive."""

    def name(self, instance: str) -> str:
        """Return what an instance's network device on the node is to be called."""

    def admit(self, guest: Guest) -> None:
        """Let the guest's own traffic through its port."""

    def withdraw(self, guest: Guest) -> None:
        """Let nothing through any more."""

    def repair(self) -> None:
        """Put right what others changed, for example a bridge that was made anew."""


class LinuxPorts:
    """The real ones, on one bridge. Needs root."""

    def __init__(self, bridge: str) -> None:
        self._bridge = bridge
        # Devices are told apart by their names' beginning, so that several bridges get along.
        mark = hashlib.sha256(bridge.encode()).hexdigest()[:4]
        self._prefix = f"cc{mark}"
        self._veth = f"cm{mark}"
        self._table = "condor_cloud_ports_" + re.sub(r"\W", "_", bridge, flags=re.ASCII)
        self._nft = _Nft()
        self._guests: dict[str, Guest] = {}

    def open(self) -> socket.socket:
        """Lay the rules, then make the service's place on the bridge."""
        self._nft.run(self._rules())
        namespace = _Namespace()
        try:
            peer = f"peer name eth0 address {MAC} netns {namespace.thread}"
            _run(["ip", "-batch", "-"], f"link add {self._veth} type veth {peer}\n")
            listener = namespace.enter(_listen)
        finally:
            namespace.leave()
        self.repair()
        return listener

    def name(self, instance: str) -> str:
        """Return a name of 15 characters, the most that Linux takes."""
        return self._prefix + hashlib.sha256(instance.encode()).hexdigest()[:9]

    def admit(self, guest: Guest) -> None:
        """Let the guest's own traffic through its port."""
        self._change("add", guest)
        self._guests[self.name(guest.instance)] = guest

    def withdraw(self, guest: Guest) -> None:
        """Let nothing through any more."""
        self._guests.pop(self.name(guest.instance), None)
        self._change("delete", guest)

    def repair(self) -> None:
        """Plug the service into the bridge where it is not; tell the bridge where guests are.

        It learns nothing from guests' frames then. Until it is told, a guest can disturb another's
        traffic but not have it: what comes out of a port is looked at too.
        """
        master = _NET / self._veth / "master"
        if not master.exists() or master.resolve().name != self._bridge:
            _run(["ip", "-batch", "-"], f"link set {self._veth} master {self._bridge} up\n")
        for port, guest in list(self._guests.items()):
            learning = _NET / port / "brport" / "learning"
            with contextlib.suppress(OSError):  # the guest is not there yet, or no more
                if learning.read_text() != "0\n":
                    place = [guest.mac, "dev", port, "master", "static"]
                    _run(["bridge", "fdb", "replace", *place])
                    learning.write_text("0\n")

    def _change(self, verb: str, guest: Guest) -> None:
        port = self.name(guest.instance)
        self._nft.run(
            f'{verb} element bridge {self._table} cards {{ "{port}" . {guest.mac} }}\n'
            f"{verb} element bridge {self._table} guests"
            f' {{ "{port}" . {guest.mac} . {guest.ip} }}\n'
        )

    def _rules(self) -> str:
        port, veth, bridge = f'"{self._prefix}*"', f'"{self._veth}"', f'"{self._bridge}"'
        return f"""
table bridge {self._table} {{
    flags owner;
    set cards {{
        typeof meta iifname . ether saddr
    }}
    set guests {{
        typeof meta iifname . ether saddr . ip saddr
    }}
    chain from_guest {{
        meta iifname . ether saddr != @cards drop
        arp saddr ip 0.0.0.0 meta iifname . arp saddr ether @cards accept
        meta iifname . arp saddr ether . arp saddr ip @guests accept
        ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept
        ip protocol udp udp sport 67 drop
        meta iifname . ether saddr . ip saddr != @guests drop
        ip daddr {ADDRESS} tcp dport {PORT} ether daddr set {MAC} accept
        ip daddr 169.254.0.0/16 drop
        ether type ip accept
        drop
    }}
    chain prerouting {{
        type filter hook prerouting priority -300; policy accept;
        meta iifname {port} goto from_guest
    }}
    # Frames to bridges themselves, such as spanning tree's, pass here without passing there, and
    # would teach the bridge a MAC.
    chain input {{
        type filter hook input priority -300; policy accept;
        meta iifname {port} ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop
    }}
    # A bridge that was taught something wrong, or nothing, sends a guest what is another's.
    chain to_guest {{
        ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00 return
        meta oifname . ether daddr != @cards drop
    }}
    chain forward {{
        type filter hook forward priority -300; policy accept;
        meta oifname {port} jump to_guest
        meta oifname {veth} meta iifname {port} ether type arp accept
        meta oifname {veth} meta iifname {port} ip daddr {ADDRESS} tcp dport {PORT} accept
        meta oifname {veth} drop
        meta iifname {veth} meta oifname != {port} drop
    }}
    chain output {{
        type filter hook output priority -300; policy accept;
        meta oifname {port} jump to_guest
        meta oifname {veth} drop
    }}
}}
# Where br_netfilter shows bridged packets to the node's own rules, no masquerading takes them.
table ip {self._table} {{
    flags owner;
    chain prerouting {{
        type filter hook prerouting priority -300; policy accept;
        meta iifname {bridge} ip daddr {ADDRESS} notrack
        meta iifname {bridge} ip saddr {ADDRESS} notrack
    }}
}}
"""


class _Nft:
    """nftables in this process, because an owner's tables go with the socket that made them."""

    def __init__(self) -> None:
        try:
            lib = ctypes.CDLL("libnftables.so.1")
        except OSError as error:
            raise PortsError(f"libnftables is missing: {error}") from error
        lib.nft_ctx_new.restype = ctypes.c_void_p
        lib.nft_ctx_new.argtypes = [ctypes.c_uint32]
        for name in ("nft_ctx_buffer_error", "nft_ctx_get_error_buffer"):
            getattr(lib, name).argtypes = [ctypes.c_void_p]
        lib.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        lib.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self._lib = lib
        self._context = lib.nft_ctx_new(0)
        lib.nft_ctx_buffer_error(self._context)

    def run(self, text: str) -> None:
        """Run commands, all or none."""
        if self._lib.nft_run_cmd_from_buffer(self._context, text.encode()) != 0:
            said = self._lib.nft_ctx_get_error_buffer(self._context).decode(errors="replace")
            raise PortsError(f"nftables: {(said.strip().splitlines() or ['no message'])[0]}")


class _Namespace:
    """A new network namespace, and a thread in it; it goes with the last socket made there."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], socket.socket] | None] = SimpleQueue()
        self._done: SimpleQueue[socket.socket | Exception] = SimpleQueue()
        self._made: SimpleQueue[int | Exception] = SimpleQueue()
        threading.Thread(target=self._live, daemon=True).start()
        made = self._made.get()
        if isinstance(made, Exception):
            raise made
        self.thread = made

    def enter(self, work: Callable[[], socket.socket]) -> socket.socket:
        """Do the work in there."""
        self._work.put(work)
        done = self._done.get()
        if isinstance(done, Exception):
            raise done
        return done

    def leave(self) -> None:
        """End the thread."""
        self._work.put(None)

    def _live(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET) != 0:
            reason = os.strerror(ctypes.get_errno())
            self._made.put(PortsError(f"no new network namespace: {reason}"))
            return
        self._made.put(threading.get_native_id())
        while (work := self._work.get()) is not None:
            try:
                self._done.put(work())
            except Exception as error:  # noqa: BLE001 - raised again where it is waited for
                self._done.put(error)


def _listen() -> socket.socket:
    commands = "link set lo up\nlink set eth0 up\n"
    commands += f"address add {ADDRESS}/32 dev eth0\nroute add default dev eth0 src {ADDRESS}\n"
    _run(["ip", "-batch", "-"], commands)
    return socket.create_server((ADDRESS, PORT), backlog=_BACKLOG)


def _run(command: list[str], given: str = "") -> None:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no message"])[0]
        raise PortsError(f"{command[0]}: {said}")
