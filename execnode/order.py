# SPDX-License-Identifier: Apache-2.0
"""Which run of which instance a job is for, by which configuration, and which job it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from execnode.config import DEFAULT_FILE
from execnode.spec import INSTANCE_ID

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = "usage: condor-cloud-supervisor --instance ID --run N [--config FILE]"


class Order(NamedTuple):
    """What a job is to run."""

    instance: str
    run: int
    config: Path


def read(arguments: Sequence[str]) -> Order | None:
    """Read the command line; None when it is not understood. argparse alone takes 12 ms."""
    options = dict(zip(arguments[::2], arguments[1::2], strict=False))
    instance, run = options.pop("--instance", ""), options.pop("--run", "")
    config = Path(options.pop("--config", DEFAULT_FILE))
    numbered = run.isascii() and run.isdigit() and int(run) > 0
    if options or len(arguments) % 2 or not numbered or not INSTANCE_ID.fullmatch(instance):
        return None
    return Order(instance, int(run), config)


def job_id() -> str:
    """Return the job's ``cluster.proc``, from the ad that the starter left; empty without one."""
    try:
        lines = Path(os.environ["_CONDOR_JOB_AD"]).read_text().splitlines()
    except (KeyError, OSError):
        return ""
    found = dict(line.split(" = ", 1) for line in lines if " = " in line)
    return f"{found.get('ClusterId', '')}.{found.get('ProcId', '')}"
