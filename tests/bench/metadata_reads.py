# SPDX-License-Identifier: Apache-2.0
"""A guest's reads of its metadata, beside reads of a plain web server on the guests' bridge.

The same guest asks both with the same program, taking turns. What is timed is what passes the
guest's port on the node, so the emulated processor's own time to start a program is not in it:

- answer: from the request to the last packet of the answer, all of it the node's work;
- connection: from the guest's first packet to that last one, the guest's share of it included.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from guest_port import FIN, SYN, Capture, device
from private_cloud import client

from tests.bench.report import Measured
from tests.bench.watching import end, launch, logins, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guest_port import Packet
    from private_cloud import Cloud

ROUNDS = 10
READS = 20
"""Of each server in a round."""
SERVICE = ("169.254.169.254", 80)
PATH = "/latest/meta-data/instance-id"
STEPS = ("metadata_answer", "plain_answer", "metadata_connection", "plain_connection")
SSH = (
    *("ssh", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
    *("-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"),
)


@contextlib.contextmanager
def plain_server(address: str, content: bytes) -> Iterator[tuple[str, int]]:
    """Serve the same bytes from Python's own web server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((address, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield address, server.server_port
        server.shutdown()


def timed(packets: list[Packet], server: tuple[str, int]) -> list[tuple[float, float]]:
    """Return of each connection the seconds of its answer and its own."""
    conversations: dict[tuple[str, int], list[Packet]] = {}
    for packet in packets:
        guest = packet.destination if packet.to_guest else packet.source
        if server in {packet.source, packet.destination}:
            conversations.setdefault(guest, []).append(packet)
    return [_one(said) for said in conversations.values()]


def _one(said: list[Packet]) -> tuple[float, float]:
    first = min(one.seconds for one in said if not one.to_guest and one.flags & SYN)
    asked = max(one.seconds for one in said if not one.to_guest and one.content)
    answered = max(one.seconds for one in said if one.to_guest and (one.content or one.flags & FIN))
    return answered - asked, answered - first


def measure(cloud: Cloud, rounds: int = ROUNDS) -> Measured:
    ec2 = client(cloud)
    series: dict[str, list[float]] = {name: [] for name in STEPS}
    [name] = launch(ec2, cloud.environment["DEMO_AMI"])
    until(lambda: logins(ec2, name), 0.25)
    [reservation] = ec2.describe_instances(InstanceIds=[name])["Reservations"]
    guest = reservation["Instances"][0]["PrivateIpAddress"]
    login = [*SSH, "-i", str(cloud.state / "demo.pem"), f"root@{guest}"]
    bridge = str(IPv4Network(cloud.variables["CONDOR_CLOUD_POOL_NETWORK"])[1])
    with plain_server(bridge, name.encode()) as plain, Capture(device(cloud, name)) as port:
        fetch = [f"wget -q -O - http://{host}:{number}{PATH}" for host, number in (SERVICE, plain)]
        turns = f"for i in $(seq {READS}); do {fetch[0]}; {fetch[1]}; done"
        for number in range(-1, rounds):
            print(f"metadata: round {number + 1} of {rounds}", file=sys.stderr)
            done = subprocess.run([*login, turns], check=True, capture_output=True, text=True)
            if done.stdout != name * READS * 2:
                raise SystemExit(f"the guest read something else: {done.stdout[:200]}")
            packets = port.taken()
            for server, kind in ((SERVICE, "metadata"), (plain, "plain")):
                for answer, connection in timed(packets, server) if number >= 0 else ():
                    series[f"{kind}_answer"].append(answer)
                    series[f"{kind}_connection"].append(connection)
    end(ec2, [name])
    parameters = {"rounds": rounds, "reads": READS, "warm_up": 1, "path": PATH, "type": "small"}
    return Measured(series, parameters, {})
