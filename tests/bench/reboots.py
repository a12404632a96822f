# SPDX-License-Identifier: Apache-2.0
"""From RebootInstances to the guest's reset, beside libvirt's own ways to one.

RebootInstances asks the guest to shut down first, as `virsh reboot` does; `virsh reset` asks
nobody. What the guest takes is in the first two, so what this cloud adds is their difference.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from private_cloud import client

from tests.bench.report import Measured
from tests.bench.watching import end, launch, logins, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from private_cloud import Cloud

ROUNDS = 8
LOOK = 0.25
WARM_UP = 1
SCRIPT = Path(__file__).parent / "resets.py"


class Resets:
    """Tells when libvirt said that a domain was reset, on this process's own clock."""

    def __init__(self, cloud: Cloud, name: str) -> None:
        self._process = subprocess.Popen(
            cloud.entered() + ["python3", "-c", SCRIPT.read_text(), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._next()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def _next(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("libvirt's events cannot be had")
        return line

    def after(self, began: float) -> float:
        """Wait for the first reset after a moment and return the seconds since then."""
        while (told := float(self._next())) < began:
            pass  # libvirt tells some resets twice
        return told - began


def measure(cloud: Cloud, rounds: int = ROUNDS) -> Measured:
    ec2 = client(cloud)
    [name] = launch(ec2, cloud.environment["DEMO_AMI"])
    virsh = cloud.entered() + ["virsh", "-q"]
    ways: dict[str, Callable[[], object]] = {
        "reboot_to_reset": lambda: ec2.reboot_instances(InstanceIds=[name]),
        "virsh_reboot_to_reset": lambda: run(virsh + ["reboot", name, "--mode", "acpi"]),
        "virsh_reset_to_reset": lambda: run(virsh + ["reset", name]),
    }
    series: dict[str, list[float]] = {step: [] for step in ("reboot_call", *ways)}
    boots = 1

    def booted() -> bool:
        return logins(ec2, name) >= boots

    until(booted, LOOK)
    with Resets(cloud, name) as resets:
        for number in range(-WARM_UP, rounds):
            print(f"reboots: round {number + 1} of {rounds}", file=sys.stderr)
            for step, ask in ways.items():
                began = time.monotonic()
                ask()
                answered = time.monotonic() - began
                took = resets.after(began)
                # A guest that still boots does not hear that it shall shut down.
                boots += 1
                until(booted, LOOK)
                if number < 0:
                    continue
                series[step].append(took)
                if step == "reboot_to_reset":
                    series["reboot_call"].append(answered)
    end(ec2, [name])
    return Measured(series, {"rounds": rounds, "warm_up": WARM_UP, "type": "small"}, {})


def run(command: list[str]) -> None:
    subprocess.run(command, check=True)
