# SPDX-License-Identifier: Apache-2.0
"""From which addresses an image may be fetched for a tenant (docs/adr/0009).

The gateway reaches places that its tenants do not: its own loopback, the private network, a
cloud's metadata service. An address that only the gateway can reach is fetched from for none.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    Address = IPv4Address | IPv6Address

# Never, whatever the setting says: a metadata service gives away the credentials of the machine.
# Its IPv6 address at AWS: EC2 user guide, "Access instance metadata for an EC2 instance".
_NEVER = (
    ipaddress.ip_network("169.254.0.0/16"),
    ipaddress.ip_network("fe80::/10"),
    ipaddress.ip_network("fec0::/10"),
    ipaddress.ip_network("fd00:ec2::/32"),
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052

log = logging.getLogger(__name__)


class ForbiddenError(Exception):
    """Nothing is fetched from there for a tenant. It says no more, and neither should others."""


class Networks(NamedTuple):
    """The rule: public addresses, and those in the networks that the administrator names."""

    allowed: tuple[IPv4Network | IPv6Network, ...]

    def allows(self, address: Address) -> bool:
        """Return whether an address may be connected to."""
        meant = _meant(address)
        if any(meant in network for network in _NEVER):
            return False
        if any(meant in network for network in self.allowed):
            return True
        return meant.is_global and not (meant.is_multicast or meant.is_reserved)

    def check(self, host: str) -> None:
        """Refuse what another machine, a proxy, is asked to fetch from.

        It looks names up itself, so that only what this machine knows of them can be checked.
        Raises :class:`ForbiddenError`.
        """
        with contextlib.suppress(OSError):
            self._usable(host, socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))

    def connect(self, host: str, port: int, timeout: float) -> socket.socket:
        """Connect to the first address of `host` that is allowed and answers.

        The name is looked up once: what is checked is what is connected to. Raises
        :class:`ForbiddenError`, also for a name that does not exist (a tenant learns nothing
        about names that only the gateway can look up), and OSError.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise
            log.warning("the name %s cannot be looked up: %s", host, error)
            raise ForbiddenError from None
        except UnicodeError:
            raise ForbiddenError from None
        failure = OSError()
        for address in self._usable(host, found):
            try:
                return socket.create_connection((address, port), timeout)
            except OSError as error:
                failure = error
        raise failure

    def _usable(self, host: str, found: Sequence[tuple[Any, ...]]) -> list[str]:
        """Return the addresses of getaddrinfo's answer that are allowed: one at least."""
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        usable = [one for one in addresses if self.allows(ipaddress.ip_address(one))]
        if not usable:
            log.warning(
                "%s is not fetched from: %s is neither public nor in image_source_networks",
                host,
                ", ".join(addresses),
            )
            raise ForbiddenError
        return usable


def _meant(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
