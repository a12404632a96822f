# SPDX-License-Identifier: Apache-2.0
"""What a benchmark hands over, and the file of it: raw series that say how they were made."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple


class Measured(NamedTuple):
    """Series of seconds by step, what they were measured with, and what was counted."""

    seconds: dict[str, list[float]]
    parameters: dict[str, Any]
    counts: dict[str, list[int]]


def write(found: dict[str, Measured], *, part: bool) -> Path:
    """Write bench/<commit>.json, or a file named after the benchmarks where some were chosen."""
    commit = _git("rev-parse", "HEAD")
    report = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "machine": _machine(),
        "parameters": {name: one.parameters for name, one in found.items()},
        "seconds": {step: series for one in found.values() for step, series in one.seconds.items()},
        "counts": {what: series for one in found.values() for what, series in one.counts.items()},
    }
    chosen = "-".join(["", *found]) if part else ""
    target = Path("bench") / f"{commit[:12] or 'no-commit'}{chosen}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(report, indent=1) + "\n")
    return target


def show(one: Measured) -> None:
    """Print each series' median and span, and what the budgets compare."""
    for name, values in one.seconds.items():
        median = statistics.median(values) * 1000
        span = f"{min(values) * 1000:.1f} to {max(values) * 1000:.1f}"
        print(f"{name:30} median of {len(values):3} {median:8.1f} ms   {span}")
    for name, counted in one.counts.items():
        print(f"{name:30} {' '.join(map(str, counted))}")


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = [line for line in lines if "model name" in line]
    return {
        "cpus": os.cpu_count(),
        "model": model[0].partition(":")[2].strip() if model else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        # Others' work shows: a figure of a busy machine is none.
        "load": os.getloadavg()[0],
    }


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()
