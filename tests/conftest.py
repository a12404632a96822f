# SPDX-License-Identifier: Apache-2.0
"""What the tests on a pool and with real guests share."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from private_cloud import Cloud, settings_for, start

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The session's Condor Cloud. Tests leave it as they found it: running, without instances."""
    if os.geteuid() != 0:
        pytest.fail("the tests on a pool need root, as `make run` does; try `make test-fast`")
    state = tmp_path_factory.mktemp("condor cloud") / "state"
    state.mkdir()
    number = os.getpid() % 5000
    variables = settings_for(state, number)
    running = Cloud(start(state, variables), state, variables, f"cctest{number}")
    try:
        yield running
    finally:
        running.process.send_signal(signal.SIGINT)
        try:
            running.process.wait(60)
        except subprocess.TimeoutExpired:
            running.process.kill()
        keep = os.environ.get("CONDOR_CLOUD_TEST_LOGS")
        if keep:
            shutil.copytree(state / "log", Path(keep) / "gateway", dirs_exist_ok=True)
            shutil.copytree(state / "pool" / "log", Path(keep) / "pool", dirs_exist_ok=True)


@pytest.fixture(scope="session")
def ec2_environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """Variables for a stock client: $EC2_ENDPOINT's where that is given, else the session's."""
    if "EC2_ENDPOINT" in os.environ:
        also = {name: os.environ[name] for name in ("DELTACLOUD_URL",) if name in os.environ}
        return also | {
            "AWS_ENDPOINT_URL": os.environ["EC2_ENDPOINT"],
            "AWS_ACCESS_KEY_ID": os.environ["AWS_ACCESS_KEY_ID"],
            "AWS_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
            "AWS_DEFAULT_REGION": os.environ.get("AWS_DEFAULT_REGION", "us-east-1"),
            "DEMO_AMI": os.environ["DEMO_AMI"],
        }
    running: Cloud = request.getfixturevalue("cloud")
    return running.environment


@pytest.fixture(scope="session")
def debian_root() -> Iterator[Path]:
    """The cached Debian root with QEMU in it, built if it is not there."""
    if os.geteuid() != 0:
        pytest.fail("the tests with real guests need root; try `make test-fast`")
    from gateway.config import Settings  # noqa: PLC0415 - the clients' tests import nothing of ours
    from gateway.embedded import cached, root  # noqa: PLC0415

    cache_dir = Settings().cache_dir
    cache_dir.mkdir(parents=True, exist_ok=True)
    with cached.used(root.path(cache_dir)):
        yield root.ensure(cache_dir, lambda _done, _what: None)
