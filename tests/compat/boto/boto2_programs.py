# SPDX-License-Identifier: Apache-2.0
"""Programs for stock boto 2.49, run by its own Python: `boto2_programs.py PROGRAM 2|4`.

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

from boto.ec2.connection import EC2Connection
from boto.ec2.regioninfo import RegionInfo
from boto.exception import EC2ResponseError

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 90.0
SCRIPT = "#!/bin/sh\necho boto-says $((6 * 7))\n"


class SignatureV2Connection(EC2Connection):
    """What boto's releases signed with by default, before version 4 was all that AWS took."""

    def _required_auth_capability(self) -> list[str]:
        return ["sign-v2", "ec2"]


KINDS = {"2": SignatureV2Connection, "4": EC2Connection}


def connect(version: str, secret: str | None = None) -> EC2Connection:
    endpoint = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    return KINDS[version](
        os.environ["AWS_ACCESS_KEY_ID"],
        secret or os.environ["AWS_SECRET_ACCESS_KEY"],
        is_secure=endpoint.scheme == "https",
        port=endpoint.port,
        region=RegionInfo(name=os.environ["AWS_DEFAULT_REGION"], endpoint=endpoint.hostname),
    )


def until(what: str, ready: Callable[[], bool]) -> None:
    limit = time.monotonic() + LIMIT
    while not ready():
        if time.monotonic() > limit:
            sys.exit(f"{what} did not come within {LIMIT} s")
        time.sleep(0.2)


def discover(version: str) -> dict[str, Any]:
    """Look around: regions, zones, images by id, name and owner."""
    ec2 = connect(version)
    [image] = ec2.get_all_images(image_ids=[os.environ["DEMO_AMI"]])
    by_name = ec2.get_all_images(filters={"name": image.name})
    own = ec2.get_all_images(owners=["self"])
    return {
        "regions": [region.name for region in ec2.get_all_regions()],
        "zones": [[zone.name, zone.state] for zone in ec2.get_all_zones()],
        "image": [image.id, image.state, image.type, image.root_device_type],
        "found by name": image.id in [found.id for found in by_name],
        "found by owner": image.id in [found.id for found in own],
    }


def keys(version: str, public_key: str) -> dict[str, Any]:
    """Import a key pair, find it again by its name, delete it."""
    ec2 = connect(version)
    name = f"boto a+b {uuid4()}"
    imported = ec2.import_key_pair(name, public_key.encode())
    found = ec2.get_key_pair(name)
    return {
        "fingerprints": [imported.fingerprint, found.fingerprint],
        "deleted": ec2.delete_key_pair(name),
        "afterwards": ec2.get_key_pair(name),
    }


def machine(version: str) -> dict[str, Any]:
    """Take one machine from its key pair to its end."""
    ec2 = connect(version)
    name = f"boto-{uuid4()}"
    facts = {"material": ec2.create_key_pair(name).material.splitlines()[0]}
    reservation = ec2.run_instances(
        os.environ["DEMO_AMI"],
        instance_type="small",
        key_name=name,
        user_data=SCRIPT,
        client_token=name,
    )
    [instance] = reservation.instances
    try:
        facts["at first"] = instance.state
        facts["tagged"] = ec2.create_tags([instance.id], {"Name": name, "colour": "grün & 0x10"})
        until("running", lambda: instance.update() == "running")
        [found] = ec2.get_only_instances(filters={"tag:Name": f"{name[:-3]}*", "key-name": name})
        facts["found"] = found.id == instance.id
        facts["described"] = [found.instance_type, found.image_id, found.key_name, found.tags]
        facts["expected"] = ["small", os.environ["DEMO_AMI"], name]
        facts["address"] = found.private_ip_address
        facts["on the first page"] = len(ec2.get_all_reservations(max_results=5)) > 0
        until("the console's line", lambda: b"boto-says 42" in console(ec2, instance.id))
        facts["rebooted"] = ec2.reboot_instances([instance.id])
        facts["untagged"] = ec2.delete_tags([instance.id], ["colour"])
        facts["tags left"] = [tag.name for tag in ec2.get_all_tags({"resource-id": instance.id})]
    finally:
        facts["terminating"] = [one.state for one in ec2.terminate_instances([instance.id])]
        facts["deleted"] = ec2.delete_key_pair(name)
    until("terminated", lambda: instance.update() == "terminated")
    facts["reason"] = instance.state_reason["code"]
    return facts


def console(ec2: EC2Connection, instance_id: str) -> bytes:
    return ec2.get_console_output(instance_id).output or b""


def refusals(version: str) -> dict[str, Any]:
    """Ask for what there is not; tell status and code of boto's exception."""
    ec2 = connect(version)
    image = os.environ["DEMO_AMI"]
    stranger = connect(version, secret="not-the-secret")  # noqa: S106 - it is not one
    wrong = {
        "unknown instance": lambda: ec2.get_only_instances(["i-0123456789abcdef0"]),
        "malformed instance": lambda: ec2.terminate_instances(["foobar"]),
        "unknown image": lambda: ec2.run_instances("ami-0123456789abcdef0"),
        "unknown type": lambda: ec2.run_instances(image, instance_type="no.such"),
        "unknown key pair": lambda: ec2.get_all_key_pairs(["no such"]),
        "unknown filter": lambda: ec2.get_only_instances(filters={"no-such": "x"}),
        "unknown action": lambda: ec2.get_status("NoSuchAction", {}),
        "dry run": lambda: ec2.run_instances(image, instance_type="small", dry_run=True),
        "wrong secret": stranger.get_all_zones,
    }
    facts = {}
    for what, ask in wrong.items():
        try:
            facts[what] = repr(ask())
        except EC2ResponseError as error:
            facts[what] = [error.status, error.error_code, bool(error.request_id)]
    return facts


PROGRAMS = {"discover": discover, "keys": keys, "machine": machine, "refusals": refusals}

if __name__ == "__main__":
    print(json.dumps(PROGRAMS[sys.argv[1]](*sys.argv[2:])))  # noqa: T201 - for the test to read
