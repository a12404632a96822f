# SPDX-License-Identifier: Apache-2.0
"""Programs for stock Apache Libcloud, run by its own Python: `libcloud_programs.py PROGRAM 2|4`.

The number is the version of the signature. What a program found out is printed as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

from libcloud.common.exceptions import BaseHTTPError
from libcloud.common.types import InvalidCredsError
from libcloud.compute.base import Node, NodeSize
from libcloud.compute.providers import get_driver
from libcloud.compute.types import KeyPairDoesNotExistError, NodeState, Provider

if TYPE_CHECKING:
    from collections.abc import Callable

    from libcloud.compute.drivers.ec2 import EC2NodeDriver

LIMIT = 90.0
SCRIPT = "#!/bin/sh\necho libcloud-says $((6 * 7))\n"


def connect(version: str, secret: str | None = None) -> EC2NodeDriver:
    endpoint = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    ec2 = get_driver(Provider.EC2)(
        os.environ["AWS_ACCESS_KEY_ID"],
        secret or os.environ["AWS_SECRET_ACCESS_KEY"],
        secure=endpoint.scheme == "https",
        host=endpoint.hostname,
        port=endpoint.port,
        region="us-east-1",
        signature_version=version,
    )
    # It has to begin with one of AWS's regions; list_locations filters by this attribute.
    ec2.region_name = os.environ["AWS_DEFAULT_REGION"]
    return ec2


def size(name: str, ec2: EC2NodeDriver) -> NodeSize:
    """Return an instance type; libcloud's own list is AWS's, from its source."""
    return NodeSize(id=name, name=name, ram=0, disk=0, bandwidth=0, price=0, driver=ec2)


def until(what: str, ready: Callable[[], bool]) -> None:
    limit = time.monotonic() + LIMIT
    while not ready():
        if time.monotonic() > limit:
            sys.exit(f"{what} did not come within {LIMIT} s")
        time.sleep(0.2)


def discover(version: str) -> dict[str, Any]:
    """Look around: zones, images by id, by owner and by filter."""
    ec2 = connect(version)
    image = ec2.get_image(os.environ["DEMO_AMI"])
    by_name = ec2.list_images(ex_filters={"name": image.name})
    own = ec2.list_images(ex_owner="self")
    return {
        "zones": [
            [zone.availability_zone.name, zone.availability_zone.zone_state]
            for zone in ec2.list_locations()
        ],
        "image": [image.id, image.extra["state"], image.extra["architecture"]],
        "found by name": image.id in [found.id for found in by_name],
        "found by owner": image.id in [found.id for found in own],
        "limits": sorted(ec2.ex_get_limits()["resource"]),
    }


def keys(version: str, public_key: str) -> dict[str, Any]:
    """Import a key pair, find it again by its name, delete it."""
    ec2 = connect(version)
    name = f"libcloud a+b {uuid4()}"
    imported = ec2.import_key_pair_from_string(name, public_key)
    facts = {
        "fingerprints": [imported.fingerprint, ec2.get_key_pair(name).fingerprint],
        "listed": name in [pair.name for pair in ec2.list_key_pairs()],
        "deleted": ec2.delete_key_pair(imported),
    }
    try:
        ec2.get_key_pair(name)
    except KeyPairDoesNotExistError as error:
        facts["missing"] = error.name == name
    return facts


def machine(version: str) -> dict[str, Any]:
    """Take one machine from its key pair to its end."""
    ec2 = connect(version)
    name = f"libcloud-{uuid4()}"
    pair = ec2.create_key_pair(name)
    facts: dict[str, Any] = {"material": pair.private_key.splitlines()[0]}
    node = ec2.create_node(
        name=name,
        image=ec2.get_image(os.environ["DEMO_AMI"]),
        size=size("small", ec2),
        ex_keyname=name,
        ex_userdata=SCRIPT,
        ex_metadata={"colour": "grün & 0x10"},
        location=ec2.list_locations()[0],
        ex_clienttoken=name,
        ex_terminate_on_shutdown=True,
    )
    try:
        facts["at first"] = node.state
        [(_, addresses)] = ec2.wait_until_running(
            [node], wait_period=0.2, timeout=LIMIT, ssh_interface="private_ips"
        )
        facts["addresses"] = len(addresses)
        [found] = ec2.list_nodes(ex_filters={"tag:Name": f"{name[:-3]}*", "key-name": name})
        facts["found"] = [found.id == node.id, found.state]
        facts["described"] = [found.extra["instance_type"], found.extra["image_id"]]
        facts["tagged"] = ec2.ex_create_tags(found, {"size": "007"})
        facts["tags"] = ec2.ex_describe_tags(found)
        facts["named"] = facts["tags"].pop("Name") == name == found.name
        facts["untagged"] = ec2.ex_delete_tags(found, {"colour": None})
        facts["tags left"] = sorted(ec2.ex_describe_tags(found))
        until("the console's line", lambda: "libcloud-says 42" in console(ec2, found))
        facts["rebooted"] = ec2.reboot_node(found)
    finally:
        facts["terminating"] = ec2.destroy_node(node)
        facts["deleted"] = ec2.delete_key_pair(pair)
    until("terminated", lambda: listed(ec2, node).state == NodeState.TERMINATED)
    facts["reason"] = listed(ec2, node).extra["reason"]
    return facts


def listed(ec2: EC2NodeDriver, node: Node) -> Node:
    [found] = ec2.list_nodes(ex_node_ids=[node.id])
    return found


def console(ec2: EC2NodeDriver, node: Node) -> str:
    return ec2.ex_get_console_output(node)["output"] or ""


def refusals(version: str) -> dict[str, Any]:
    """Ask for what there is not; tell type and code of libcloud's exception."""
    ec2 = connect(version)
    stranger = connect(version, secret="not-the-secret")  # noqa: S106 - it is not one
    image = ec2.get_image(os.environ["DEMO_AMI"])
    wrong = {
        "unknown instance": lambda: ec2.list_nodes(ex_node_ids=["i-0123456789abcdef0"]),
        "malformed image": lambda: ec2.get_image("foobar"),
        "unknown image": lambda: ec2.get_image("ami-0123456789abcdef0"),
        "unknown type": lambda: ec2.create_node(name="x", image=image, size=size("no.such", ec2)),
        "unknown filter": lambda: ec2.list_nodes(ex_filters={"no-such": "x"}),
        "unknown key pair": lambda: ec2.get_key_pair("no such"),
        "wrong secret": stranger.list_locations,
    }
    facts = {}
    for what, ask in wrong.items():
        try:
            facts[what] = [repr(ask())]
        except KeyPairDoesNotExistError as error:
            facts[what] = ["KeyPairDoesNotExistError", error.name]
        except (InvalidCredsError, BaseHTTPError) as error:
            facts[what] = [type(error).__name__, str(error).partition(":")[0]]
    return facts


PROGRAMS = {"discover": discover, "keys": keys, "machine": machine, "refusals": refusals}

if __name__ == "__main__":
    print(json.dumps(PROGRAMS[sys.argv[1]](*sys.argv[2:])))  # noqa: T201 - for the test to read
