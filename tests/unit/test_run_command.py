# SPDX-License-Identifier: Apache-2.0
"""What `condor-cloud env` prints, and what may start beside what."""

from __future__ import annotations

import fcntl
import os
import shlex
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from gateway import runner
from gateway.cli import main
from gateway.config import Settings
from gateway.runner import RunError, Runner

if TYPE_CHECKING:
    from pathlib import Path

NO_PROXIES = dict.fromkeys(
    f"{kind}_{word}"
    for kind in ("http", "all", "no", "HTTP", "ALL", "NO")
    for word in (("proxy",) if kind.islower() else ("PROXY",))
)


def printed(state: Path, **given: Any) -> dict[str, str]:
    state.mkdir(exist_ok=True)
    (state / "env").write_text("export AWS_DEFAULT_REGION=condor\n")
    variables = {"CONDOR_CLOUD_STATE_DIR": str(state), "CONDOR_CLOUD_CONFIG": os.devnull}
    done = CliRunner().invoke(main, ["env"], env=NO_PROXIES | variables | given)
    assert done.exit_code == 0, done.stderr
    words = shlex.split(done.stdout.replace("export ", ""))
    return dict(word.split("=", 1) for word in words)


def test_without_a_proxy_only_the_file_is_printed(tmp_path: Path) -> None:
    assert printed(tmp_path / "a state") == {"AWS_DEFAULT_REGION": "condor"}


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_with_a_proxy_clients_are_led_past_it(tmp_path: Path, name: str) -> None:
    found = printed(
        tmp_path / "state",
        **{name: "http://proxy.example:3128"},
        NO_PROXY="intra.example",
        CONDOR_CLOUD_POOL_NETWORK="10.9.8.0/24",
    )
    assert found["no_proxy"] == found["NO_PROXY"]
    assert found["NO_PROXY"].split(",") == [
        *("intra.example", "127.0.0.1", "localhost", "10.9.8.0/24"),
    ]


def test_a_second_time_adds_nothing(tmp_path: Path) -> None:
    first = printed(tmp_path, http_proxy="http://proxy.example")
    again = printed(tmp_path, http_proxy="http://proxy.example", **first)
    assert again == first


def test_a_client_that_passes_every_proxy_already_is_left_alone(tmp_path: Path) -> None:
    assert "NO_PROXY" not in printed(tmp_path, http_proxy="http://proxy.example", no_proxy="*")


def held(path: Path) -> subprocess.Popen[bytes]:
    """Return a process that holds a file's lock as a guardian does, until it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        return subprocess.Popen(
            ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[file.fileno()]
        )


def gateway_alone(state: Path) -> Runner:
    return Runner(Settings(state_dir=state, pool="pool.example", port=0), lambda *_: None)


def test_a_run_waits_for_the_guardian_of_one_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guardian = held(tmp_path / "run" / "guardian.lock")
    later = gateway_alone(tmp_path)
    rests = []
    test, sleep = threading.get_ident(), time.sleep

    def rest(seconds: float) -> None:
        if threading.get_ident() != test:  # a server of another test looks around
            sleep(seconds)
            return
        rests.append(guardian.poll())
        guardian.communicate()

    monkeypatch.setattr(time, "sleep", rest)
    later._lock()
    later._held.close()
    assert rests == [None]


def test_a_guardian_that_does_not_end_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CLEANING_LIMIT", 0.05)
    guardian = held(tmp_path / "run" / "guardian.lock")
    later = gateway_alone(tmp_path)
    with pytest.raises(RunError, match="cleaned up"):
        later._lock()
    later._held.close()
    guardian.communicate()


def test_beside_a_living_run_a_second_is_refused_without_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CLEANING_LIMIT", 0.0)  # who waited would hear of that instead
    first, second = gateway_alone(tmp_path), gateway_alone(tmp_path)
    first._lock()
    with pytest.raises(RunError, match="already runs"):
        second._lock()
    first._held.close()
    second._held.close()
