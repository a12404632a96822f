# SPDX-License-Identifier: Apache-2.0
"""What the starter tells a job of itself and of its slot: two files with an attribute a line."""

from __future__ import annotations

import json
import os
from pathlib import Path

LONGEST_ZONE = 64


def job_id() -> str:
    """Return the job's ``cluster.proc``; empty without an ad."""
    found = _read("_CONDOR_JOB_AD")
    return f"{found.get('ClusterId', '')}.{found.get('ProcId', '')}" if found else ""


def zone() -> str:
    """Return the availability zone that the node's configuration names; empty where it does not."""
    # A ClassAd's string literal without escapes, which no zone's name has, is one of JSON's.
    try:
        found = json.loads(_read("_CONDOR_MACHINE_AD").get("CondorCloudZone", '""'))
    except ValueError:
        return ""
    return found if isinstance(found, str) and len(found) <= LONGEST_ZONE else ""


def _read(variable: str) -> dict[str, str]:
    try:
        lines = Path(os.environ[variable]).read_text().splitlines()
    except (KeyError, OSError, UnicodeDecodeError):
        return {}
    return dict(line.split(" = ", 1) for line in lines if " = " in line)
