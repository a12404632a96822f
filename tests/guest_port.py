# SPDX-License-Identifier: Apache-2.0
"""What passes a guest's port on the node's bridge, read from the wire itself. Needs root."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from private_cloud import Cloud

# Numbers of Linux's that the socket module does not have.
_ETH_P_ALL = 3
_SO_TIMESTAMPNS = 35
_SO_RCVBUFFORCE = 33
_OUTGOING = 4
_BUFFER = 8 * 2**20
SYN = 0x02
FIN = 0x01


class Packet(NamedTuple):
    """One TCP packet; ``seconds`` is the kernel's time of it, ``hops`` its IP time to live."""

    seconds: float
    to_guest: bool
    hops: int
    source: tuple[str, int]
    destination: tuple[str, int]
    flags: int
    content: bytes


def device(cloud: Cloud, instance_id: str) -> str:
    """Return the name, on the node, of an instance's network device."""
    listed = cloud.inside("virsh", "-q", "domiflist", instance_id)
    assert listed.returncode == 0, listed.stderr
    return listed.stdout.split()[0]


class Capture:
    """Hears what passes a device from the beginning of the ``with`` on."""

    def __init__(self, name: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        # Only the kind that means all hears what goes out as well.
        self._socket.bind((name, _ETH_P_ALL))
        self._socket.settimeout(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def taken(self) -> list[Packet]:
        """Return the TCP packets that passed since the last call, in order."""
        found: list[Packet] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, about, _, origin = self._socket.recvmsg(65536, 256)
                packet = _read(frame, about, to_guest=origin[2] == _OUTGOING)
                if packet is not None:
                    found.append(packet)
        return found


def _read(frame: bytes, about: list[tuple[int, int, bytes]], *, to_guest: bool) -> Packet | None:
    """Read a frame; None for what is not TCP over IPv4."""
    ip = frame[14:]
    if frame[12:14] != b"\x08\x00" or ip[9] != socket.IPPROTO_TCP:
        return None
    # The frame may have been filled up to Ethernet's smallest.
    tcp = ip[4 * (ip[0] & 15) : int.from_bytes(ip[2:4])]
    [(_, _, stamp)] = about
    seconds, nanoseconds = struct.unpack_from("@ll", stamp)
    ports = struct.unpack_from(">HH", tcp)
    return Packet(
        seconds + nanoseconds / 1e9,
        to_guest,
        ip[8],
        (socket.inet_ntoa(ip[12:16]), ports[0]),
        (socket.inet_ntoa(ip[16:20]), ports[1]),
        tcp[13],
        tcp[4 * (tcp[12] >> 4) :],
    )
