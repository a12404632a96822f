# SPDX-License-Identifier: Apache-2.0
"""A machine's life over the Deltacloud API, with the PyPI client and with curl."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import deltacloud
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIMIT = 90.0
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


@pytest.fixture
def url(ec2_environment: dict[str, str]) -> str:
    if "DELTACLOUD_URL" not in ec2_environment:
        pytest.skip("$EC2_ENDPOINT names an EC2 endpoint alone; DELTACLOUD_URL names this API's")
    return ec2_environment["DELTACLOUD_URL"]


@pytest.fixture
def client(url: str, ec2_environment: dict[str, str]) -> Any:
    key_id = ec2_environment["AWS_ACCESS_KEY_ID"]
    return deltacloud.Deltacloud(url, key_id, ec2_environment["AWS_SECRET_ACCESS_KEY"])


@pytest.fixture
def curl(url: str, ec2_environment: dict[str, str]) -> Callable[..., str]:
    def run(method: str, path: str, *words: str) -> str:
        # The secret comes on standard input: process arguments are everybody's to read.
        done = subprocess.run(
            ["curl", "-sS", "--fail-with-body", "-X", method, "-K", "-", *words, f"{url}{path}"],
            input="user = {AWS_ACCESS_KEY_ID}:{AWS_SECRET_ACCESS_KEY}\n".format(**ec2_environment),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in {0, 22}, done.stderr
        return done.stdout

    return run


def until(what: str, ready: Callable[[], Any]) -> Any:
    limit = time.monotonic() + LIMIT
    while not (value := ready()):
        assert time.monotonic() < limit, f"{what} did not come within {LIMIT} s"
        time.sleep(0.2)
    return value


def state(instance: Any) -> str:
    instance.refresh()
    return str(instance.state)


def ssh(key_file: Path, address: str, command: str) -> str:
    done = subprocess.run(
        [
            "ssh",
            *("-q", "-i", str(key_file), "-o", "ConnectTimeout=5"),
            *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
            f"root@{address}",
            command,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout.strip()


def assert_same_on_both(instance: Any, ec2: Any) -> None:
    """What both APIs say of an instance that is at rest."""
    instance.refresh()
    [reservation] = ec2.describe_instances(InstanceIds=[instance.id])["Reservations"]
    [there] = reservation["Instances"]
    here = instance.instance
    assert here["state"] == there["State"]["Name"].upper()
    assert here["private_addresses"][0]["address"] == there["PrivateIpAddress"]
    assert here["image"]["id"] == there["ImageId"]
    assert here["hardware_profile"]["id"] == there["InstanceType"]
    assert here["realm"]["id"] == there["Placement"]["AvailabilityZone"]
    assert here["authentication"]["keyname"] == there["KeyName"]
    assert {"Key": "Name", "Value": here["name"]} in there["Tags"]
    assert here["launch_time"] == f"{there['LaunchTime']:%Y-%m-%dT%H:%M:%SZ}"
    assert here["owner_id"] == reservation["OwnerId"]


def test_a_machines_life(
    client: Any,
    ec2: Any,
    curl: Callable[..., str],
    ec2_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    image_id = ec2_environment["DEMO_AMI"]
    assert client.valid_credentials()
    assert [realm.state for realm in client.realms()] == ["AVAILABLE"]
    assert "small" in [profile.id for profile in client.hardware_profiles()]
    assert image_id in [image.id for image in client.images()]

    name = f"dc {uuid4()}"
    made = json.loads(curl("POST", "/keys?format=json", "--data-urlencode", f"name={name}"))["key"]
    assert name in {key.id for key in client.keys()}  # noqa: SIM118 - a method of the client's
    key_file = tmp_path / "key.pem"
    key_file.touch(mode=0o600)
    key_file.write_text(made["pem_rsa_key"])

    script = b"#!/bin/sh\necho deltacloud-says $((6 * 7))\n"
    instance = client.create_instance(
        image_id,
        {
            "name": name,
            "hwp_id": "small",
            "keyname": name,
            "user_data": base64.encodebytes(script).decode(),
        },
    )
    try:
        assert instance.name == name
        until("RUNNING", lambda: state(instance) == "RUNNING")
        [address] = instance.private_addresses
        assert address["type"] == "ipv4"
        until("the login", lambda: ssh(key_file, address["address"], "hostname") == instance.id)
        assert instance.id in [one.id for one in client.instances()]
        before = ssh(key_file, address["address"], BOOT_ID)
        assert instance.reboot()
        until(
            "another boot", lambda: ssh(key_file, address["address"], BOOT_ID) not in {"", before}
        )
        assert f"<name>{name}</name>" in curl("GET", f"/instances/{instance.id}")
        assert_same_on_both(instance, ec2)

        href = f"/images;instance_id={instance.id}"
        image = json.loads(curl("POST", f"{href}?format=json"))["image"]["id"]
        until("its image", lambda: "<state>PENDING" not in curl("GET", f"/images/{image}"))
        assert "<state>AVAILABLE" in curl("GET", f"/images/{image}")
        [described] = ec2.describe_images(ImageIds=[image])["Images"]
        assert described["SourceInstanceId"] == instance.id
        curl("DELETE", f"/images/{image}")

        assert ssh(key_file, address["address"], "touch /data/kept && sync && echo done") == "done"
        assert instance.stop()
        until("STOPPED", lambda: state(instance) == "STOPPED")
        assert_same_on_both(instance, ec2)
        assert set(instance.actions()) == {"start", "destroy"}
        assert "is STOPPED" in curl("POST", f"/instances/{instance.id}/reboot")
        assert instance.start()
        until("RUNNING", lambda: state(instance) == "RUNNING")
        assert instance.private_addresses == [address]
        until(
            "the file that it kept",
            lambda: ssh(key_file, address["address"], "ls /data/kept") == "/data/kept",
        )
        assert_same_on_both(instance, ec2)
    finally:
        instance.destroy()
    until("its end", lambda: state(instance) == "FINISH")
    assert instance.id not in [one.id for one in client.instances()]
    curl("DELETE", f"/keys/{name.replace(' ', '%20')}")
    assert name not in {key.id for key in client.keys()}  # noqa: SIM118 - as above


def test_a_machine_of_deltacloud_is_ended_over_ec2(
    client: Any, ec2: Any, ec2_environment: dict[str, str]
) -> None:
    instance = client.create_instance(ec2_environment["DEMO_AMI"])
    ec2.terminate_instances(InstanceIds=[instance.id])
    until("its end", lambda: state(instance) == "FINISH")


def test_curl_gets_xml_and_sentences(curl: Callable[..., str]) -> None:
    assert curl("GET", "").startswith("<?xml")
    assert "There is no instance" in curl("GET", "/instances/i-00000000000000000")
    assert "Required parameter 'image_id'" in curl("POST", "/instances")
