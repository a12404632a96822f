# SPDX-License-Identifier: Apache-2.0
"""Counts the EC2 endpoint's requests, however many processes serve them."""

from __future__ import annotations

import os
import shutil
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client import Counter

    from gateway.config import Settings

OK = "OK"
OTHER = "other"
"""The code of what succeeds, and the action that nobody has."""


def directory(settings: Settings) -> Path:
    """Return where the processes of the EC2 endpoint keep their counts."""
    return settings.run_dir / "metrics"


def begin(settings: Settings) -> None:
    """Count from zero, in files; to be called by a server before :func:`counter` and the fork."""
    place = directory(settings)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700, parents=True)
    # The library decides at its import whether to count in memory or in files.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(place)


@cache
def counter() -> Counter:
    """Return the process's one counter; made before there are threads."""
    from prometheus_client import Counter  # noqa: PLC0415 - see begin

    return Counter(
        "condor_cloud_ec2_requests",
        "Requests to the EC2 endpoint, by action and by the answer's error code.",
        ["action", "code"],
    )


def count(action: str, code: str) -> None:
    """Count an answered request; both are of small sets, whatever clients send."""
    counter().labels(action, code).inc()
