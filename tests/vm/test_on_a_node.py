# SPDX-License-Identifier: Apache-2.0
"""Runs the node side's own tests where the node side runs: in the pool's root, on its libvirt."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

    from private_cloud import Cloud

TESTS = Path(__file__).parents[1]
# Pure Python, so that what the gateway's interpreter has serves the node's as well.
PACKAGES = "pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments"


def test_the_node_sides_own_tests_pass_on_a_node(cloud: Cloud) -> None:
    share = cloud.state / "pool" / "share" / "tests"
    modules = Path(sys.modules["pytest"].__file__ or "").parents[1]
    for package in PACKAGES:
        shutil.copytree(modules / package, share / "packages" / package, dirs_exist_ok=True)
    shutil.copy(modules / "py.py", share / "packages")
    for folder, pattern in (("vm", "*domain_*.py"), ("unit", "execnode_*.py")):
        (share / "tests" / folder).mkdir(parents=True, exist_ok=True)
        for file in (TESTS / folder).glob(pattern):
            shutil.copy(file, share / "tests" / folder)
    shutil.copytree(
        TESTS / "unit" / "golden", share / "tests" / "unit" / "golden", dirs_exist_ok=True
    )
    here = "/share-condor-cloud/tests"
    # The pool's own sweep would take guests that are not in its own directory for orphans.
    sweeps = cloud.pool_processes("condor-cloud-sweep")
    assert sweeps
    for pid in sweeps:
        os.kill(pid, signal.SIGSTOP)
    try:
        done: subprocess.CompletedProcess[str] = cloud.inside(
            "env",
            f"PYTHONPATH={here}/packages",
            "CONDOR_CLOUD_TEST_NETWORK=condor-cloud",
            "CONDOR_CLOUD_TEST_KILL_LIBVIRTD=1",
            "python3",
            *("-B", "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-W", "error"),
            f"--rootdir={here}/tests",
            f"{here}/tests/vm",
        )
    finally:
        for pid in sweeps:
            os.kill(pid, signal.SIGCONT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout, done.stdout
