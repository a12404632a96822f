# SPDX-License-Identifier: Apache-2.0
"""Waits for what a client sees, and looks often: the waiting is in the figures."""

from __future__ import annotations

import time
from typing import Any

POLL = 0.01
LIMIT = 300.0


def until(ready: Any, poll: float = POLL) -> None:
    limit = time.monotonic() + LIMIT
    while not ready():
        if time.monotonic() > limit:
            raise SystemExit("a measured step did not come to its end")
        time.sleep(poll)


def state(ec2: Any, instance_id: str) -> str:
    [reservation] = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    name: str = reservation["Instances"][0]["State"]["Name"]
    return name


def logins(ec2: Any, instance_id: str) -> int:
    """Return how often the guest's console asked who is there: once for each boot."""
    console = ec2.get_console_output(InstanceId=instance_id, Latest=True)
    return int(str(console.get("Output", "")).count("login:"))


def launch(ec2: Any, image: str, count: int = 1) -> list[str]:
    launched = ec2.run_instances(
        ImageId=image, InstanceType="small", MinCount=count, MaxCount=count, KeyName="demo"
    )
    return [instance["InstanceId"] for instance in launched["Instances"]]


def end(ec2: Any, ids: list[str]) -> None:
    ec2.terminate_instances(InstanceIds=ids)
    until(lambda: all(state(ec2, one) == "terminated" for one in ids))
