# SPDX-License-Identifier: Apache-2.0
"""Ports of a bridge that belong to guests: what passes them and who is answered.

The guests are network namespaces on the ends of veth pairs, which a bridge cannot tell from the
network devices of machines. To be run as root on a node of its own.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS / "unit")]

from execnode_gateway import eventually, specification  # noqa: E402 - beside the unit tests

from execnode import config, gate, metadata, metadata_facts, spec  # noqa: E402 - after the others
from execnode.ports import ADDRESS, MAC, LinuxPorts  # noqa: E402 - after the others

ALICE, BOB = "i-0000000000000000a", "i-0000000000000000b"
MACS = {ALICE: "52:54:00:00:00:0a", BOB: "52:54:00:00:00:0b"}
ADDRESSES = {ALICE: "10.99.0.10", BOB: "10.99.0.11"}
GATEWAY = "10.99.0.1"
ASK = b"GET /latest/meta-data/instance-id HTTP/1.0\r\n\r\n"
PATIENCE = 5.0
SILENCE = 1.0
"""Seconds after which an answer that must not come has not come."""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Guest:
    """A namespace whose one card is plugged into a guest's port."""

    def __init__(self, ports: LinuxPorts, bridge: str, instance: str) -> None:
        self.instance = instance
        self.port = ports.name(instance)
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        pid = str(self.holder.pid)
        mine = os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116
        eventually(lambda: os.stat(f"/proc/{pid}/ns/net").st_ino != mine)  # noqa: PTH116
        ip("link", "add", self.port, "type", "veth", "peer", "name", "eth0", "netns", pid)
        ip("link", "set", self.port, "master", bridge, "up")
        self.run("ip", "link", "set", "eth0", "address", MACS[instance], "up")
        self.run("ip", "address", "add", f"{ADDRESSES[instance]}/24", "dev", "eth0")
        self.run("ip", "route", "add", "default", "via", GATEWAY)

    def run(self, *command: str) -> str:
        entered = ["nsenter", "--net", "--target", str(self.holder.pid), *command]
        done = subprocess.run(entered, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, *, source: str = "", limit: float = PATIENCE) -> str:
        """Ask who the guest is; the answer, or nothing."""
        return self._python(
            "import socket, sys\n"
            f"s = socket.socket(); s.settimeout({limit}); s.bind(({source!r}, 0))\n"
            "try:\n"
            f"    s.connect(({ADDRESS!r}, 80)); s.sendall({ASK!r})\n"
            "    while data := s.recv(4096): sys.stdout.write(data.decode())\n"
            "except OSError: pass\n"
        ).rpartition("\n\n")[2]

    def send(self, frame: bytes) -> None:
        """Put a frame onto the wire as it is."""
        self._python(
            "import socket\n"
            "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))\n"
            f"s.send(bytes.fromhex({frame.hex()!r}))\n"
        )

    @contextlib.contextmanager
    def listening(self) -> Iterator[bytearray]:
        """Collect the frames that come to its card, until one says that it is for bob."""
        heard = bytearray()
        listener = subprocess.Popen(
            [
                *("nsenter", "--net", "--target", str(self.holder.pid), sys.executable, "-c"),
                (
                    "import os, socket\n"
                    "tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))\n"
                    "tap.bind(('eth0', 3)); tap.settimeout(5); os.write(1, b'ready'); seen = b''\n"
                    "while b'for bob' not in seen: seen += tap.recv(65536)\n"
                    "os.write(1, seen)\n"
                ),
            ],
            stdout=subprocess.PIPE,
        )
        assert listener.stdout is not None
        assert os.read(listener.stdout.fileno(), 5) == b"ready"
        yield heard
        heard += listener.communicate(timeout=PATIENCE)[0]

    def _python(self, text: str) -> str:
        return self.run(sys.executable, "-c", text)

    def end(self) -> None:
        self.holder.kill()
        self.holder.wait()


class World:
    """A bridge, a gate, two guests, and their metadata services."""

    def __init__(self, place: Path) -> None:
        self.bridge = f"cctp{os.getpid() % 100000}"
        ip("link", "add", self.bridge, "type", "bridge")
        ip("address", "add", f"{GATEWAY}/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        (place / "instances").mkdir()
        given = {"gateway": "https://none", "token_file": "/none", "ca_file": "/none"}
        given |= {"state_dir": str(place), "run_dir": str(place / "run")}
        self.settings = config.from_document(given)
        self.ports = LinuxPorts(self.bridge)
        self.gate = gate.Gate(self.settings, self.ports)
        self.gate.open()
        self.thread = threading.Thread(target=self.gate.run)
        self.thread.start()
        self.services = {name: self.serve(name) for name in (ALICE, BOB)}
        self.guests = {name: Guest(self.ports, self.bridge, name) for name in (ALICE, BOB)}

    def serve(self, instance: str) -> metadata.Service:
        document = specification(b"", instance_id=instance, mac=MACS[instance])
        address = ADDRESSES[instance]
        return metadata.Service(self.settings, spec.read(document), address, metadata_facts.Facts())

    def end(self) -> None:
        for service in self.services.values():
            service.close()
        self.gate.close()
        self.thread.join()
        for guest in self.guests.values():
            guest.end()
        subprocess.run(["ip", "link", "delete", self.bridge], check=False)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("ports"))
    try:
        yield world
    finally:
        world.end()


@pytest.fixture
def alice(world: World) -> Guest:
    return world.guests[ALICE]


@pytest.fixture
def bob(world: World) -> Guest:
    return world.guests[BOB]


def test_each_guest_learns_its_own_identity_by_way_of_its_gateway(alice: Guest, bob: Guest) -> None:
    assert (alice.ask(), bob.ask()) == (ALICE, BOB)


def test_a_guest_that_looks_for_the_service_on_its_own_link_finds_it(alice: Guest) -> None:
    alice.run("ip", "route", "add", "169.254.0.0/16", "dev", "eth0", "scope", "link")
    try:
        assert alice.ask() == ALICE
        assert MAC in alice.run("ip", "neigh", "show", ADDRESS)
    finally:
        alice.run("ip", "route", "delete", "169.254.0.0/16", "dev", "eth0")


def test_a_guest_that_takes_anothers_address_is_not_answered(alice: Guest, bob: Guest) -> None:
    bob.run("ip", "address", "add", f"{ADDRESSES[ALICE]}/24", "dev", "eth0")
    try:
        assert bob.ask(source=ADDRESSES[ALICE], limit=SILENCE) == ""
        assert (alice.ask(), bob.ask()) == (ALICE, BOB)
    finally:
        bob.run("ip", "address", "delete", f"{ADDRESSES[ALICE]}/24", "dev", "eth0")


def test_a_guest_that_takes_anothers_card_and_address_gets_nothing(
    alice: Guest, bob: Guest
) -> None:
    bob.run("ip", "address", "add", f"{ADDRESSES[ALICE]}/24", "dev", "eth0")
    bob.run("ip", "link", "set", "eth0", "address", MACS[ALICE])
    try:
        assert bob.ask(source=ADDRESSES[ALICE], limit=SILENCE) == ""
        assert bob.ask(source=ADDRESSES[BOB], limit=SILENCE) == ""
        assert alice.ask() == ALICE
    finally:
        bob.run("ip", "link", "set", "eth0", "address", MACS[BOB])
        bob.run("ip", "address", "delete", f"{ADDRESSES[ALICE]}/24", "dev", "eth0")
    assert bob.ask() == BOB


def test_forged_frames_of_any_kind_teach_the_bridge_nothing(
    world: World, alice: Guest, bob: Guest
) -> None:
    victim = bytes.fromhex(MACS[ALICE].replace(":", ""))
    own = bytes.fromhex(MACS[BOB].replace(":", ""))
    theirs, mine = (socket.inet_aton(ADDRESSES[name]) for name in (ALICE, BOB))
    announced = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 2)
    alice.ask()
    for guest in (alice, bob):
        taught(guest, learning=False)
    before = places(world, MACS[ALICE])
    assert before == {alice.port}
    service = bytes.fromhex(MAC.replace(":", ""))
    for frame in (
        bytes.fromhex("0180c2000000") + victim + b"\0\x26BBB" + bytes(60),  # spanning tree
        bytes.fromhex("0180c200000e") + victim + b"\x88\xcc" + bytes(60),  # link discovery
        bytes.fromhex("0180c2000003") + victim + b"\x88\x8e" + bytes(60),  # port access
        b"\xff" * 6 + victim + b"\x08\x06" + announced + victim + theirs + b"\xff" * 6 + theirs,
        b"\xff" * 6 + victim + b"\x86\xdd" + bytes(60),  # IPv6
        b"\xff" * 6 + service + b"\x88\xb5" + bytes(60),
        # The card is its own, what it announces is not.
        b"\xff" * 6 + own + b"\x08\x06" + announced + own + theirs + b"\xff" * 6 + theirs,
        b"\xff" * 6 + own + b"\x08\x06" + announced + victim + mine + b"\xff" * 6 + mine,
        b"\xff" * 6 + own + b"\x81\x00\x00\x05\x08\x00" + bytes(60),  # another VLAN
    ):
        bob.send(frame)
        assert places(world, MACS[ALICE]) == before
        assert places(world, MAC) <= {world.ports._veth}
    assert (alice.ask(), bob.ask()) == (ALICE, BOB)


def test_a_guest_does_not_get_what_the_bridge_was_talked_into_sending_it(
    world: World, alice: Guest, bob: Guest
) -> None:
    # The bridge learns from frames of link discovery before any rule sees them.
    victim = bytes.fromhex(MACS[ALICE].replace(":", ""))
    ip("neigh", "replace", ADDRESSES[ALICE], "lladdr", MACS[ALICE], "dev", world.bridge)
    alice.ask()
    for guest in (alice, bob):
        taught(guest, learning=True)
    with bob.listening() as heard, socket.socket(type=socket.SOCK_DGRAM) as node:
        node.sendto(b"for alice before", (ADDRESSES[ALICE], 9))
        bob.send(bytes.fromhex("0180c200000e") + victim + b"\x88\xcc" + bytes(60))
        assert places(world, MACS[ALICE]) == {bob.port}
        node.sendto(b"for alice after", (ADDRESSES[ALICE], 9))
        node.sendto(b"for bob", (ADDRESSES[BOB], 9))
    assert b"for bob" in heard
    assert b"for alice" not in heard


def taught(guest: Guest, *, learning: bool) -> None:
    """Let the bridge learn from a guest's port, or wait until the gate has ended that."""
    switch = Path("/sys/class/net") / guest.port / "brport" / "learning"
    if learning:
        switch.write_text("1\n")
    else:
        eventually(lambda: switch.read_text() == "0\n")


def places(world: World, mac: str) -> set[str]:
    """Return the ports behind which the bridge thinks that a card is."""
    shown = subprocess.run(
        ["bridge", "fdb", "show", "br", world.bridge], capture_output=True, text=True, check=True
    ).stdout
    lines = [line.split() for line in shown.splitlines() if line.startswith(mac)]
    return {words[words.index("dev") + 1] for words in lines if "permanent" not in words}


def test_guests_reach_each_other_and_the_gateway(alice: Guest) -> None:
    for address in (ADDRESSES[BOB], GATEWAY):
        # Refused: the way there and back is open.
        said = alice._python(
            "import socket\n"
            f"try: socket.create_connection(({address!r}, 9), {PATIENCE})\n"
            "except OSError as error: print(type(error).__name__)\n"
        )
        assert said == "ConnectionRefusedError\n"


def test_a_port_is_shut_when_its_supervisor_ends_and_open_with_the_next(
    world: World, bob: Guest
) -> None:
    world.services[BOB].close()
    try:
        assert bob.ask(limit=SILENCE) == ""
    finally:
        world.services[BOB] = world.serve(BOB)
    assert bob.ask() == BOB


def test_a_bridge_that_is_made_anew_gets_the_service_again(world: World, alice: Guest) -> None:
    ip("link", "set", world.ports._veth, "nomaster")
    eventually(lambda: alice.ask(limit=SILENCE) == ALICE, 15)


def test_others_cannot_flush_the_rules(world: World, bob: Guest) -> None:
    subprocess.run(["nft", "flush", "table", "bridge", world.ports._table], check=False)
    bob.run("ip", "address", "add", f"{ADDRESSES[ALICE]}/24", "dev", "eth0")
    try:
        assert bob.ask(source=ADDRESSES[ALICE], limit=SILENCE) == ""
    finally:
        bob.run("ip", "address", "delete", f"{ADDRESSES[ALICE]}/24", "dev", "eth0")


@pytest.mark.parametrize("hops", [1, 3])
def test_only_a_token_s_answer_has_the_hop_limit(world: World, alice: Guest, hops: int) -> None:
    options = metadata_facts.Options(hop_limit=hops)
    world.services[ALICE].update(metadata_facts.Facts(options=options))
    put = b"PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n"
    try:
        assert times_to_live(alice, put) == {hops}
        assert times_to_live(alice, ASK) == {64}
    finally:
        world.services[ALICE].update(metadata_facts.Facts())


def times_to_live(guest: Guest, request: bytes) -> set[int]:
    """Return the times to live of the packets that the answer's bytes come in."""
    told = guest._python(
        "import socket\n"
        "tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))\n"
        f"tap.bind(('eth0', 0x0800)); s = socket.create_connection(({ADDRESS!r}, 80), {PATIENCE})\n"
        f"s.sendall({request!r})\n"
        "while s.recv(4096): pass\n"
        "tap.settimeout(0.2); seen = set()\n"
        "try:\n"
        "    while True:\n"
        "        p = tap.recv(65536)[14:]\n"
        f"        if p[12:16] == socket.inet_aton({ADDRESS!r}) and b'HTTP/1.1 ' in p:\n"
        "            seen.add(p[8])\n"
        "except TimeoutError: print(seen)\n"
    )
    return {int(word) for word in told.strip("{}\n").split(", ")}


def test_nothing_is_left_of_a_gate_that_was_killed(tmp_path: Path) -> None:
    bridge = f"cctq{os.getpid() % 100000}"
    ip("link", "add", bridge, "type", "bridge")
    try:
        child = subprocess.Popen(
            [
                sys.executable,
                "-c",
                (
                    "import sys, time; from execnode.ports import LinuxPorts\n"
                    f"kept = LinuxPorts({bridge!r}); kept.open(); print(1, flush=True)\n"
                    "time.sleep(600)"
                ),
            ],
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"1\n"
        ports = LinuxPorts(bridge)
        assert ports._table in tables()
        child.kill()
        child.wait()
        child.stdout.close()
        gone = Path("/sys/class/net") / ports._veth
        eventually(lambda: ports._table not in tables() and not gone.exists())
        with contextlib.closing(ports.open()):
            assert ports._table in tables()
        eventually(lambda: not gone.exists())
    finally:
        ip("link", "delete", bridge)


def tables() -> str:
    shown = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True)
    return shown.stdout
