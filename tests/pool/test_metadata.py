# SPDX-License-Identifier: Apache-2.0
"""The metadata service as real guests see it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from guest_port import Capture, device
from private_cloud import Cloud, client, until, wait_until_nothing_is_left

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESS = "169.254.169.254"
USER_DATA = b"#!/bin/sh\necho \xff\x00\xfe | wc -c >/run/user-data-ran\n"
TTL = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "X-aws-ec2-metadata-token"  # noqa: S105 - a header's name


class Guest:
    """A running demo guest, with SSH into it."""

    def __init__(self, cloud: Cloud, described: dict[str, Any]) -> None:
        self.id: str = described["InstanceId"]
        self.described = described
        self.address: str = described["PrivateIpAddress"]
        self._key = cloud.state / "demo.pem"

    def run(self, command: str, *, limit: float = 60) -> bytes:
        """Run a command; its output, whatever its exit status."""
        options = ["-F", "none", "-i", str(self._key)]
        for option in (
            *("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"),
            *("BatchMode=yes", "ConnectTimeout=10"),
        ):
            options += ["-o", option]
        done = subprocess.run(
            ["ssh", *options, f"root@{self.address}", command],
            capture_output=True,
            timeout=limit,
            check=False,
        )
        assert done.returncode != 255, done.stderr
        return done.stdout

    def request(self, head: str) -> tuple[int, dict[str, str], bytes]:
        """Send a request's head; status, headers (lower case) and content, or 0 for silence."""
        lines = "".join(f"{line}\\r\\n" for line in (*head.split("\n"), ""))
        raw = self.run(f"printf {shlex.quote(lines)} | timeout 5 nc {ADDRESS} 80")
        if not raw:
            return 0, {}, b""
        top, _, content = raw.partition(b"\r\n\r\n")
        first, *rest = top.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in rest)
        return int(first.split()[1]), headers, content

    def get(self, path: str, *headers: str) -> tuple[int, bytes]:
        """Ask for a path; status and content."""
        status, _, content = self.request("\n".join([f"GET {path} HTTP/1.1", *headers]))
        return status, content

    def token(self, seconds: int = 60) -> str:
        """Ask for a token."""
        put = f"PUT /latest/api/token HTTP/1.1\n{TTL}: {seconds}"
        status, headers, content = self.request(put)
        assert status == 200
        assert headers[TTL.lower()] == str(seconds)
        return content.decode()


@pytest.fixture(scope="module")
def guests(cloud: Cloud) -> Iterator[list[Guest]]:
    """Two guests of one launch, with user data and a key."""
    ec2 = client(cloud)
    launched = ec2.run_instances(
        ImageId=cloud.environment["DEMO_AMI"],
        InstanceType="small",
        MinCount=2,
        MaxCount=2,
        KeyName="demo",
        UserData=USER_DATA,
    )
    ids = [instance["InstanceId"] for instance in launched["Instances"]]

    def booted(name: str) -> bool:
        return "login:" in ec2.get_console_output(InstanceId=name, Latest=True).get("Output", "")

    try:
        for name in ids:
            until(f"the login line of {name}", lambda name=name: booted(name))
        [launch] = ec2.describe_instances(InstanceIds=ids)["Reservations"]
        yield [Guest(cloud, instance) for instance in launch["Instances"]]
    finally:
        ec2.terminate_instances(InstanceIds=ids)
        wait_until_nothing_is_left(cloud)


def test_a_guest_reads_what_the_api_says_of_it(guests: list[Guest], cloud: Cloud) -> None:
    for index, guest in enumerate(guests):
        told = {
            "instance-id": guest.id,
            "ami-id": cloud.environment["DEMO_AMI"],
            "ami-launch-index": str(index),
            "instance-type": "small",
            "local-ipv4": guest.address,
            "placement/availability-zone": guest.described["Placement"]["AvailabilityZone"],
            "public-keys/": "0=demo",
        }
        for path, text in told.items():
            assert guest.get(f"/latest/meta-data/{path}") == (200, text.encode())
        mac = guest.get("/latest/meta-data/mac")[1].decode()
        assert mac in guest.run("cat /sys/class/net/eth0/address").decode()
        status, document = guest.get("/latest/dynamic/instance-identity/document")
        assert status == 200
        assert json.loads(document)["instanceId"] == guest.id


def test_the_demo_guest_starts_by_what_the_service_tells_it(guests: list[Guest]) -> None:
    for guest in guests:
        # There is no second disk that could have said the same.
        assert guest.run("cd /sys/class/block && ls -d vd? sr?").split() == [b"vda"]
        assert guest.run("hostname") == guest.id.encode() + b"\n"
        assert guest.run("cat /run/user-data-ran").strip()


def test_options_and_tags_reach_a_running_guest_in_moments(
    guests: list[Guest], cloud: Cloud
) -> None:
    ec2 = client(cloud)
    alice, bob = guests
    path, tag = "/latest/meta-data/instance-id", "/latest/meta-data/tags/instance/Name"
    assert alice.get(tag)[0] == 404
    ec2.create_tags(Resources=[alice.id], Tags=[{"Key": "Name", "Value": "web 1"}])
    ec2.modify_instance_metadata_options(
        InstanceId=alice.id, HttpTokens="required", InstanceMetadataTags="enabled"
    )
    until("the token's need", lambda: alice.get(path)[0] == 401, 20)
    assert alice.get(tag, f"{TOKEN}: {alice.token()}") == (200, b"web 1")
    [launch] = ec2.describe_instances(InstanceIds=[alice.id])["Reservations"]
    assert launch["Instances"][0]["MetadataOptions"]["HttpTokens"] == "required"
    ec2.create_tags(Resources=[alice.id], Tags=[{"Key": "Name", "Value": "web 2"}])
    until(
        "the tag's new value",
        lambda: alice.get(tag, f"{TOKEN}: {alice.token()}") == (200, b"web 2"),
        20,
    )
    ec2.modify_instance_metadata_options(InstanceId=alice.id, HttpEndpoint="disabled")
    until("the end of the service", lambda: alice.get(path)[0] == 403, 20)
    ec2.modify_instance_metadata_options(
        InstanceId=alice.id, HttpEndpoint="enabled", HttpTokens="optional"
    )
    until("the service again", lambda: alice.get(path) == (200, alice.id.encode()), 20)
    assert bob.get(path)[0] == 200

    def applied() -> bool:
        [launch] = ec2.describe_instances(InstanceIds=[alice.id])["Reservations"]
        return bool(launch["Instances"][0]["MetadataOptions"]["State"] == "applied")

    until("the state applied", applied, 20)


def test_a_token_leaves_for_the_guest_with_no_more_hops_than_its_limit(
    guests: list[Guest], cloud: Cloud
) -> None:
    ec2 = client(cloud)
    alice, bob = guests

    def hops(guest: Guest) -> tuple[set[int], set[int]]:
        """Return the IP times to live of a token's packets and of another answer's."""
        found = []
        with Capture(device(cloud, guest.id)) as port:
            for ask in (guest.token, lambda: guest.get("/latest/meta-data/instance-id")):
                ask()
                passed = [one for one in port.taken() if one.source == (ADDRESS, 80)]
                found.append({one.hops for one in passed if one.content})
        return found[0], found[1]

    def limit(hop_limit: int) -> None:
        ec2.modify_instance_metadata_options(InstanceId=alice.id, HttpPutResponseHopLimit=hop_limit)
        until(f"the limit {hop_limit}", lambda: hops(alice) == ({hop_limit}, {64}), 20)

    assert hops(alice) == ({1}, {64}), "without an option it is 1"
    limit(7)
    assert hops(bob) == ({1}, {64}), "another's limit is its own"
    limit(1)


def test_user_data_is_read_byte_for_byte(guests: list[Guest]) -> None:
    assert guests[0].run(f"wget -q -O - http://{ADDRESS}/latest/user-data") == USER_DATA


def test_a_token_opens_what_a_wrong_one_does_not(guests: list[Guest]) -> None:
    alice, bob = guests
    path = "/2021-03-23/meta-data/instance-id"
    token = alice.token()
    assert alice.get(path, f"{TOKEN}: {token}") == (200, alice.id.encode())
    assert bob.get(path, f"{TOKEN}: {token}")[0] == 401
    assert alice.get(path, f"{TOKEN}: nonsense")[0] == 401


def test_a_guest_under_anothers_address_gets_nothing(guests: list[Guest]) -> None:
    alice, bob = guests
    ask = "GET /latest/user-data HTTP/1.0"
    way = f"{ADDRESS} via $(ip route | awk '/^default/ {{print $3}}') dev eth0 src"
    bob.run(f"ip address add {alice.address}/32 dev eth0; ip route add {way} {alice.address}")
    try:
        assert bob.request(ask) == (0, {}, b"")
        bob.run(f"ip route replace {way} {bob.address}")
        assert bob.request(ask)[0] == 200
    finally:
        bob.run(f"ip route delete {ADDRESS}; ip address delete {alice.address}/32 dev eth0")


def test_guests_are_answered_while_the_gateway_does_not_answer(
    guests: list[Guest], cloud: Cloud
) -> None:
    stopped = [cloud.service("nodelink")]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert guests[0].get("/latest/meta-data/instance-id") == (200, guests[0].id.encode())
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def test_guests_are_answered_again_after_the_gate_was_killed(
    guests: list[Guest], cloud: Cloud
) -> None:
    [gate] = cloud.pool_processes("condor-cloud-gate")
    os.kill(gate, signal.SIGKILL)
    until("another gate", lambda: cloud.pool_processes("condor-cloud-gate") not in ([], [gate]))
    for guest in guests:
        until(
            "an answer",
            lambda guest=guest: (
                guest.get("/latest/meta-data/instance-id") == (200, guest.id.encode())
            ),
        )
