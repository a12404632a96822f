# SPDX-License-Identifier: Apache-2.0
"""A machine's life and the errors on the way, with the AWS SDK for JavaScript, version 3."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 240.0
SCRIPT = Path(__file__).parent / "session.mjs"
PLACE = Path(sys.prefix) / "clients" / "javascript"


@pytest.fixture
def session(ec2_environment: dict[str, str], tmp_path: Path) -> Callable[..., Any]:
    """Return a function: run session.mjs with some words; what it prints is JSON."""
    if not (PLACE / "recipe").exists():
        pytest.fail("the AWS SDK for JavaScript is not installed: run tools/clients")
    # Node.js looks for packages beside a script and above it.
    shutil.copy(SCRIPT, tmp_path)
    (tmp_path / "node_modules").symlink_to(PLACE / "node_modules")

    def run(*words: str) -> Any:
        done = subprocess.run(
            [str(PLACE / "bin" / "node"), str(tmp_path / SCRIPT.name), *words],
            env={**ec2_environment, "PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT,
        )
        if done.returncode != 0:
            raise AssertionError(done.stderr.strip()[-4000:])
        return json.loads(done.stdout)

    return run


def test_a_machine_from_key_pair_to_termination(
    session: Callable[..., Any], ec2_environment: dict[str, str]
) -> None:
    name = f"javascript-{uuid4()}"
    seen = session("machine", name)
    image_id = ec2_environment["DEMO_AMI"]
    discovered = seen["discovered"]
    assert ec2_environment["AWS_REGION"] in discovered["regions"]
    assert [image[:2] for image in discovered["images"]] == [[image_id, "available"]]
    assert "small" in discovered["types"]["items"]
    assert discovered["types"]["pages"] > 1
    assert len(set(discovered["types"]["items"])) == len(discovered["types"]["items"])
    assert seen["key"]["name"] == name
    assert seen["key"]["id"].startswith("key-")
    assert seen["key"]["material"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    [launched] = seen["launched"]
    instance_id = launched["InstanceId"]
    assert launched["State"] == {"Code": 0, "Name": "pending"}
    assert seen["again"] == [instance_id]
    assert seen["running"] == "SUCCESS"
    [described] = seen["described"]
    assert described["InstanceId"] == instance_id
    assert described["ImageId"] == image_id
    assert described["KeyName"] == name
    assert described["State"] == {"Code": 16, "Name": "running"}
    assert described["PrivateIpAddress"]
    assert seen["launch_time_is_a_date"]
    tags = {"Name": name, "Größe": "1+1 & 2", "Later": ""}
    assert {tag["Key"]: tag["Value"] for tag in described["Tags"]} == tags
    assert dict(seen["tags"]) == tags
    assert "javascript-says 42" in seen["said"]
    [terminating] = seen["terminating"]
    assert terminating["PreviousState"]["Name"] == "running"
    assert terminating["CurrentState"]["Name"] == "shutting-down"
    assert seen["terminated"] == "SUCCESS"
    assert seen["reason"]["Code"] == "Client.UserInitiatedShutdown"


def test_errors_have_the_name_and_the_status_of_ec2s(session: Callable[..., Any]) -> None:
    outcomes = session("errors")
    assert {what: (outcome["name"], outcome["status"]) for what, outcome in outcomes.items()} == {
        "unknown instance": ("InvalidInstanceID.NotFound", 400),
        "malformed instance": ("InvalidInstanceID.Malformed", 400),
        "unknown image": ("InvalidAMIID.NotFound", 400),
        "dry run": ("DryRunOperation", 412),
        "wrong secret": ("AuthFailure", 401),
    }
    assert "i-0123456789abcdef0" in outcomes["unknown instance"]["message"]
    assert "Request would have succeeded" in outcomes["dry run"]["message"]
    assert all(outcome["of_the_service"] for outcome in outcomes.values())
    assert len({outcome["request_id"] for outcome in outcomes.values()}) == len(outcomes)
    assert all(outcome["request_id"] for outcome in outcomes.values())
