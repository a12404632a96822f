# SPDX-License-Identifier: Apache-2.0
"""The README's session, with nothing but the AWS CLI and an SSH client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 90.0


@pytest.fixture(scope="session")
def aws(ec2_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run `aws ec2 ...` with no configuration of the user's; return what it prints, as JSON."""
    nobody = tmp_path_factory.mktemp("home")
    variables = {
        **ec2_environment,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(nobody),
        "AWS_CONFIG_FILE": str(nobody / "config"),
        "AWS_PAGER": "",
        "LC_ALL": "C.UTF-8",
    }

    def run(*words: str) -> Any:
        done = subprocess.run(
            [str(Path(sys.executable).parent / "aws"), "ec2", *words, "--output", "json"],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(done.stderr.strip())
        return json.loads(done.stdout) if done.stdout.strip() else None

    return run


def until(what: str, ready: Callable[[], Any]) -> Any:
    limit = time.monotonic() + LIMIT
    while not (value := ready()):
        assert time.monotonic() < limit, f"{what} did not come within {LIMIT} s"
        time.sleep(0.2)
    return value


def test_a_machine_from_key_pair_to_termination(
    aws: Any, ec2_environment: dict[str, str], tmp_path: Path
) -> None:
    name = f"cli-{uuid4()}"
    key_file = tmp_path / "key.pem"
    key_file.touch(mode=0o600)
    key_file.write_text(aws("create-key-pair", "--key-name", name)["KeyMaterial"])
    script = tmp_path / "user-data"
    script.write_text("#!/bin/sh\necho cli-says $((6 * 7))\n")
    launched = aws(
        "run-instances",
        *("--image-id", ec2_environment["DEMO_AMI"]),
        *("--instance-type", "small"),
        *("--key-name", name),
        *("--user-data", f"file://{script}"),
        *("--tag-specifications", "ResourceType=instance,Tags=[{Key=Name,Value=cli}]"),
    )
    instance_id = launched["Instances"][0]["InstanceId"]
    try:
        aws("wait", "instance-running", "--instance-ids", instance_id)
        found = aws("describe-instances", "--filters", "Name=tag:Name,Values=cl?")
        instance = found["Reservations"][0]["Instances"][0]
        assert instance["InstanceId"] == instance_id
        until(
            "the guest's line",
            lambda: (
                "cli-says 42"
                in aws("get-console-output", "--latest", "--instance-id", instance_id).get(
                    "Output", ""
                )
            ),
        )
        said = until(
            "SSH",
            lambda: (
                subprocess.run(
                    [
                        "ssh",
                        *("-q", "-i", str(key_file)),
                        *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
                        f"root@{instance['PrivateIpAddress']}",
                        "hostname",
                    ],
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=60,
                ).stdout
            ),
        )
        assert said.strip() == instance_id
    finally:
        aws("terminate-instances", "--instance-ids", instance_id)
    aws("wait", "instance-terminated", "--instance-ids", instance_id)
    aws("delete-key-pair", "--key-name", name)


def test_the_errors_are_aws_own(aws: Any, ec2_environment: dict[str, str]) -> None:
    image = ec2_environment["DEMO_AMI"]
    cases = {
        "InvalidAMIID.NotFound": ("--image-id", "ami-0123456789abcdef0"),
        "InvalidAMIID.Malformed": ("--image-id", "foobar"),
        "InvalidKeyPair.NotFound": ("--image-id", image, "--key-name", f"no-{uuid4()}"),
        "InvalidParameterValue": ("--image-id", image, "--instance-type", "no.such"),
        "DryRunOperation": ("--image-id", image, "--dry-run"),
    }
    for code, words in cases.items():
        with pytest.raises(AssertionError, match=f"\\({code}\\)"):
            aws("run-instances", *words)
