# SPDX-License-Identifier: Apache-2.0
"""Programs that run a stock client in the environment that tools/clients made for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 180.0


@pytest.fixture(scope="session")
def ec2(ec2_environment: dict[str, str]) -> Any:
    """boto3, the first client of all; to others it shows what they have done."""
    return boto3.client(
        "ec2",
        endpoint_url=ec2_environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=ec2_environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=ec2_environment["AWS_SECRET_ACCESS_KEY"],
        region_name=ec2_environment["AWS_DEFAULT_REGION"],
    )


@pytest.fixture(scope="session")
def client_environment(
    ec2_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, str]]:
    """Return a function: the variables of the client of that name, its commands first in PATH.

    Nothing of the user's own configuration is among them.
    """
    nobody = str(tmp_path_factory.mktemp("home"))

    def variables(name: str) -> dict[str, str]:
        commands = Path(sys.prefix) / "clients" / name / "bin"
        if not commands.is_dir():
            pytest.fail(f"the client {name} is not installed: run tools/clients")
        return {
            **ec2_environment,
            "PATH": f"{commands}:{os.environ['PATH']}",
            "HOME": nobody,
            "LC_ALL": "C.UTF-8",
        }

    return variables


@pytest.fixture(scope="session")
def program(client_environment: Callable[[str], dict[str, str]]) -> Callable[..., Any]:
    """Return a function: run a Python program with a client; what it prints is JSON."""

    def run(client: str, path: Path, *words: str) -> Any:
        done = subprocess.run(
            ["python", str(path), *words],  # the client's: the first of its PATH
            env=client_environment(client),
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT,
        )
        if done.returncode != 0:
            raise AssertionError(f"{path.name} {' '.join(words)}: {done.stderr.strip()[-4000:]}")
        return json.loads(done.stdout)

    return run
