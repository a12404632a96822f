# SPDX-License-Identifier: Apache-2.0
"""A stock EC2 client for the session's private Condor Cloud, and a place for images."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from private_cloud import Cloud, client

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ec2(cloud: Cloud) -> Any:
    return client(cloud)


@pytest.fixture
def cloud_readable() -> Iterator[Path]:
    """A directory that everybody can enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)
