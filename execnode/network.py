# SPDX-License-Identifier: Apache-2.0
"""Addresses on a libvirt network: which are free, and how a lease is given back. Pure.

libvirt writes a fixed address as ``<host mac name ip/>`` in the network's ``<dhcp>`` and refuses a
second entry with the same mac, name or address; that refusal is what makes the choice safe.
"""

from __future__ import annotations

import ipaddress
import os
import random
import xml.etree.ElementTree as ET
from typing import NamedTuple


class Host(NamedTuple):
    """A fixed address."""

    mac: str
    name: str
    ip: str

    def xml(self) -> str:
        """Return the entry as virNetworkUpdate takes it."""
        return ET.tostring(ET.Element("host", **self._asdict()), encoding="unicode")


class Network(NamedTuple):
    """What matters of a network's XML; addresses and hosts are IPv4's."""

    bridge: str
    server: str
    addresses: tuple[str, ...]
    hosts: tuple[Host, ...]


def parse(xml: str) -> Network:
    """Read a network's XML as libvirt prints it."""
    root = ET.fromstring(xml)  # noqa: S314 - libvirtd's own text
    bridge = root.find("bridge")
    name = "" if bridge is None else bridge.get("name", "")
    for ip in root.findall("ip"):
        if ip.get("family", "ipv4") == "ipv4" and ip.get("address"):
            hosts = tuple(
                Host(h.get("mac", ""), h.get("name", ""), h.get("ip", ""))
                for h in ip.findall("dhcp/host")
            )
            return Network(name, ip.get("address", ""), _addresses(ip), hosts)
    return Network(name, "", (), ())


def _addresses(ip: ET.Element) -> tuple[str, ...]:
    """Return the addresses of the dhcp ranges without the network's own."""
    server = ip.get("address", "")
    chosen: list[str] = []
    for span in ip.findall("dhcp/range"):
        first = ipaddress.IPv4Address(span.get("start", ""))
        last = min(ipaddress.IPv4Address(span.get("end", "")), first + 65535)
        chosen.extend(str(first + i) for i in range(int(last) - int(first) + 1))
    return tuple(address for address in chosen if address != server)


def candidates(network: Network, leased: frozenset[str], wanted: str | None = None) -> list[str]:
    """List the free addresses, those without somebody's lease first, from a random start.

    The wanted one, if it is free, is the very first. Supervisors that choose at the same moment
    begin at different places.
    """
    taken = {host.ip for host in network.hosts}
    free = [address for address in network.addresses if address not in taken]
    if not free:
        return []
    start = random.randrange(len(free))  # noqa: S311 - spreads, does not protect
    turned = free[start:] + free[:start]
    return sorted(turned, key=lambda address: (address != wanted, address in leased))


def release_packet(mac: str, ip: str, server: str, client_id: bytes) -> bytes:
    """Return a DHCPRELEASE (RFC 2131): the guest is gone and cannot send it itself.

    client_id is the option that the lease was made with, or empty.
    """
    head = bytes([1, 1, 6, 0]) + os.urandom(4)  # boot request, ethernet, transaction id
    packed = ipaddress.IPv4Address(ip).packed
    fixed = head + bytes(4) + packed + bytes(12) + bytes.fromhex(mac.replace(":", ""))
    options = b"\x63\x82\x53\x63" + b"\x35\x01\x07"  # cookie, message type: release
    options += b"\x36\x04" + ipaddress.IPv4Address(server).packed
    if client_id:
        options += bytes([61, len(client_id)]) + client_id
    return fixed.ljust(236, b"\0") + options + b"\xff"
