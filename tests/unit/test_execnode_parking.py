# SPDX-License-Identifier: Apache-2.0
"""A node sends the disks of stopped instances to the store, and removes them at its word."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from errand_node import PATIENCE, Node
from execnode_gateway import install_programs

from execnode import errands, locks
from execnode.workspace import BASE, NVRAM, OVERLAY, Workspace, open_up

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setenv("PATH", install_programs(tmp_path / "bin"))
    monkeypatch.setenv("PYTHONPATH", str(Path(errands.__file__).parents[1]))
    with contextlib.closing(Node(tmp_path)) as made:
        yield made


VARIABLES = os.urandom(1000)


@pytest.mark.parametrize("variables", [b"", VARIABLES])
def test_a_disk_for_the_store_is_sent_as_it_is_with_the_variables_at_its_end(
    node: Node, variables: bytes
) -> None:
    if variables:
        (node.directory / NVRAM).write_bytes(variables)
    node.want("park")
    node.until(node.ended)
    overlay = (node.directory / OVERLAY).read_bytes()
    assert node.gateway.captured == overlay + variables
    digest = hashlib.sha256(node.gateway.captured).hexdigest()
    whole = {"nvram_bytes": len(variables), "size": len(overlay + variables), "sha256": digest}
    assert node.gateway.capture_reports == [whole]


def test_nobody_writes_to_a_disk_while_it_is_sent_and_a_start_ends_that(node: Node) -> None:
    sending_, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        sending_.set()
        go_on.wait(PATIENCE)

    node.gateway.on_piece = hold
    node.want("park")
    node.until(sending_.is_set)
    lock = locks.acquire(node.directory / "lock", locks.EXCLUSIVE, flags=os.O_RDWR, wait=False)
    assert lock is None
    node.gateway.capture_troubles = [404]
    node.gateway.errands = []
    go_on.set()
    workspace = Workspace.acquire(node.directory, "no-such-group", wait=True)
    assert workspace is not None
    workspace.close()
    node.until(node.ended)
    assert node.left == {OVERLAY, BASE, "lock"}


def test_sending_a_disk_goes_on_where_a_killed_process_was(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending_, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        sending_.set()
        go_on.wait(PATIENCE)

    (node.directory / NVRAM).write_bytes(VARIABLES)
    overlay = (node.directory / OVERLAY).read_bytes()
    # What the gateway has of it, and what only an earlier process can have sent.
    node.gateway.captured = b"?" * 100 + overlay[100:1000]
    node.gateway.on_piece = hold
    node.want("park")
    node.until(sending_.is_set)
    os.kill(node.child().pid, signal.SIGKILL)
    node.gateway.on_piece = lambda: None
    go_on.set()
    node.until(node.ended)
    assert len(node.gateway.captured) == len(overlay + VARIABLES)


def test_what_the_store_has_is_removed_under_the_gateways_word(node: Node) -> None:
    (node.directory / "somebodys").mkdir()
    (node.directory / "somebodys" / "file").write_text("whoever put it there")
    node.want("remove")
    node.until(node.ended)
    assert not node.directory.exists()
    assert node.gateway.capture_reports == [{"removes": "now"}, {"removes": "done"}]
    node.gateway.capture_reports.clear()
    # The process was killed before it could say so.
    node.want("remove")
    node.until(node.ended)
    assert node.gateway.capture_reports == [{"removes": "done"}]


def test_what_a_run_needs_again_is_not_removed(node: Node) -> None:
    workspace = Workspace.acquire(node.directory, "no-such-group", wait=False)
    assert workspace is not None
    # It may while the supervisor has the lock, and may not any more when that has let go.
    node.gateway.capture_troubles = [200, 404]
    node.want("remove")
    node.until(lambda: len(node.gateway.capture_troubles) == 1)
    workspace.close()
    node.until(lambda: not node.gateway.capture_troubles)
    node.gateway.errands = []
    node.until(node.ended)
    assert node.left >= {OVERLAY, BASE}


@pytest.mark.parametrize("kind", ["capture", "park", "remove"])
def test_a_disk_that_a_qemu_without_a_supervisor_has_is_left_alone(node: Node, kind: str) -> None:
    if not shutil.which("qemu-io"):
        pytest.skip("the program qemu-io is missing")
    overlay = node.directory / OVERLAY
    with subprocess.Popen(
        ["qemu-io", "-f", "qcow2", str(overlay)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as qemu:
        assert qemu.stdin
        assert qemu.stdout
        qemu.stdin.write(b"length\n")
        qemu.stdin.flush()
        assert qemu.stdout.readline()  # it has the disk
        node.gateway.capture_troubles = [200] * 3
        node.want(kind)
        node.until(lambda: not node.gateway.capture_troubles)
        # The sweep, which ends such a QEMU, gets the lock.
        workspace = Workspace.acquire(node.directory, "no-such-group", wait=True)
        assert workspace is not None
        workspace.close()
        assert (overlay.exists(), node.gateway.captured) == (True, b"")
        assert not any({"begins", "size"} & set(told) for told in node.gateway.capture_reports)
        qemu.stdin.write(b"write -q -P 7 0 1M\nquit\n")
    node.until(node.ended)
    if kind == "remove":
        assert not node.directory.exists()
        assert node.gateway.capture_reports[-1] == {"removes": "done"}
    else:
        assert hashlib.sha256(node.gateway.captured).hexdigest() == node.last["sha256"]
        assert bytes([7]) * 2**20 in node.gateway.captured


def test_variables_that_qemus_user_has_are_given_to_the_disks_owner(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root")
    (tmp_path / NVRAM).write_bytes(VARIABLES)
    os.chown(tmp_path / NVRAM, 65534, 65534)
    open_up(tmp_path)
    assert (tmp_path / NVRAM).stat().st_uid == tmp_path.stat().st_uid
    # Nothing of anybody else's is given away.
    other = tmp_path / "other"
    other.write_bytes(b"")
    os.chown(other, 65534, 65534)
    for tie in (Path.symlink_to, Path.hardlink_to):
        (tmp_path / NVRAM).unlink()
        tie(tmp_path / NVRAM, other)
        open_up(tmp_path)
        assert other.stat().st_uid == 65534
