# SPDX-License-Identifier: Apache-2.0
"""Disks of stopped instances: copied by a process of the listener's while nobody writes there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from errand_node import IMAGE, NUMBER, PATIENCE, WRITTEN, Node
from execnode_gateway import install_programs

from execnode import cache, children, disk, errands, locks, sending, stopped
from execnode.children import Task
from execnode.workspace import BASE, OVERLAY, Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setenv("PATH", install_programs(tmp_path / "bin"))
    monkeypatch.setenv("PYTHONPATH", str(Path(errands.__file__).parents[1]))
    with contextlib.closing(Node(tmp_path)) as made:
        yield made


def check_copy(node: Node, place: Path) -> None:
    """The copy that came is whole, and what a guest would see on the disk is in it."""
    said = {"how": "stopped", "size": len(node.gateway.captured)}
    digest = hashlib.sha256(node.gateway.captured).hexdigest()
    told = [one for one in node.gateway.capture_reports if len(one) > 1]
    assert told == [{"how": "stopped", "begins": True}, said, said | {"sha256": digest}]
    if shutil.which("qemu-img"):
        copy = place / "copy"
        copy.write_bytes(node.gateway.captured)
        disk.inspect(copy, "qcow2")  # it leans on nothing
        raw = place / "raw"
        subprocess.run(["qemu-img", "convert", "-O", "raw", copy, raw], check=True)
        assert raw.read_bytes() == WRITTEN.ljust(512, b"\0") + IMAGE[512:]


def test_the_disk_of_a_stopped_instance_is_sent_with_what_it_stands_on(
    node: Node, tmp_path: Path
) -> None:
    before = (node.directory / OVERLAY).read_bytes()
    node.want()
    node.until(node.ended)
    check_copy(node, tmp_path)
    assert (node.directory / OVERLAY).read_bytes() == before
    assert node.left == {OVERLAY, BASE, "lock"}
    assert node.gateway.downloads == 0


def test_an_image_that_the_cache_has_lost_is_put_back_or_fetched(
    node: Node, tmp_path: Path
) -> None:
    entry = cache.entry(node.settings.cache_dir, node.image)
    entry.unlink()
    node.want()
    node.until(node.ended)
    assert node.gateway.downloads == 0
    entry.unlink()
    (node.directory / BASE).unlink()
    node.gateway.capture_reports.clear()
    node.want()
    node.until(node.ended)
    assert node.gateway.downloads == 1
    check_copy(node, tmp_path)


def test_whoever_starts_the_instance_waits_for_the_copying_and_not_for_the_sending(
    node: Node,
) -> None:
    begun, sending_, go_on = threading.Event(), threading.Event(), threading.Event()
    seen: list[bool] = []

    def hear(body: dict[str, Any]) -> None:
        if body.get("begins"):
            begun.set()
            lock = locks.acquire(node.directory / "lock", locks.EXCLUSIVE, wait=False)
            seen.append(lock is None)

    def hold() -> None:
        sending_.set()
        go_on.wait(PATIENCE)

    node.gateway.on_report, node.gateway.on_piece = hear, hold
    node.want()
    node.until(sending_.is_set)
    assert seen == [True]
    workspace = Workspace.acquire(node.directory, "no-such-group", wait=False)
    assert workspace is not None
    # Its guest may write, and its supervisor clean up, while the copy is on its way.
    (node.directory / OVERLAY).write_bytes(b"another")
    workspace.remove()
    go_on.set()
    node.until(node.ended)
    assert node.last["sha256"] == hashlib.sha256(node.gateway.captured).hexdigest()


def test_a_copy_waits_for_whoever_has_the_disk_until_nobody_wants_it(node: Node) -> None:
    workspace = Workspace.acquire(node.directory, "no-such-group", wait=False)
    assert workspace is not None
    node.gateway.capture_troubles = [200] * 2 + [404]
    node.want()
    node.until(lambda: not node.gateway.capture_troubles)
    node.gateway.errands = []
    node.until(node.ended)
    assert node.gateway.capture_reports == []
    workspace.close()
    assert node.left == {OVERLAY, BASE, "lock"}


@pytest.mark.parametrize("phase", ["copying", "sending"])
def test_what_is_killed_is_begun_anew(node: Node, tmp_path: Path, phase: str) -> None:
    began, go_on = threading.Event(), threading.Event()

    def hold(*_: object) -> None:
        began.set()
        go_on.wait(PATIENCE)

    if phase == "copying":
        node.gateway.on_report = hold
    else:
        node.gateway.on_piece = hold
    node.want()
    node.until(began.is_set)
    os.kill(node.child().pid, signal.SIGKILL)
    node.child().wait()
    node.gateway.on_report = node.gateway.on_piece = lambda *_: None
    go_on.set()
    node.gateway.capture_reports.clear()
    node.until(node.ended)
    node.gateway.capture_reports[:] = node.gateway.capture_reports[-3:]
    check_copy(node, tmp_path)
    assert node.left == {OVERLAY, BASE, "lock"}


def test_the_listeners_end_ends_a_copy_and_what_it_has_made(node: Node) -> None:
    sent, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        sent.set()
        go_on.wait(PATIENCE)

    node.gateway.on_piece = hold
    node.want()
    node.until(sent.is_set)
    child = node.child()
    node.work.close()
    go_on.set()
    assert child.poll() is not None
    assert node.left == {OVERLAY, BASE, "lock"}


def test_what_dies_again_and_again_is_given_up_with_its_status(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children.sys, "executable", "/bin/false")
    node.want()
    node.until(node.ended)
    assert "ended 3 times with status 1" in node.last["error"]


def test_a_gateway_that_is_away_is_told_later(node: Node) -> None:
    node.gateway.capture_troubles = [503, 200, 502, 200, 503]
    node.want()
    node.until(node.ended)
    assert node.last["sha256"] == hashlib.sha256(node.gateway.captured).hexdigest()


def failing(node: Node, **changes: Any) -> str:
    """Do an errand in this process; return the reason that was told."""
    document = node.errand | changes
    assert errands.do(node.settings, Task(NUMBER, document)) == 0
    return str(node.last["error"])


def test_a_disk_that_is_not_there_is_told(node: Node) -> None:
    (node.directory / OVERLAY).unlink()
    assert failing(node) == stopped.NO_DISK
    shutil.rmtree(node.directory)
    assert failing(node) == stopped.NO_DISK
    assert not node.directory.exists()


def test_an_errand_that_is_not_understood_is_told(node: Node) -> None:
    assert failing(node, kind="polish") == "The gateway's errand.kind is not understood."
    assert "errand.instance" in failing(node, instance="../i-1")
    assert "image.sha256" in failing(node, image=node.errand["image"] | {"sha256": "x"})


def test_a_copy_gives_way_to_what_guests_write(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "ROOM_BYTES", 2**60)
    assert failing(node) == "The node's disk has no room for a copy."
    assert node.left == {OVERLAY, BASE, "lock"}


def test_a_copy_that_takes_too_long_is_given_up(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "slow" / "qemu-img"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\ncase $1 in info) ;;\n"
        "measure) echo '{\"required\": 1}' ;; *) exec sleep 60 ;; esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setitem(stopped._VARIABLES, "PATH", os.environ["PATH"])
    monkeypatch.setattr(stopped, "SECONDS", 0.5)
    assert failing(node) == "The disk could not be copied in time."


def test_what_qemu_img_complains_of_is_told_without_the_nodes_paths(node: Node) -> None:
    if not shutil.which("qemu-io"):
        pytest.skip("the program qemu-img is missing")
    (node.directory / OVERLAY).write_bytes(b"no qcow2 at all")
    assert failing(node) == "The disk's size cannot be measured."


def test_a_gateway_that_has_no_errands_is_understood(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.gateway, "waiting", lambda _: {"last": 0, "instances": []})
    node.listener.turn(0)
    assert node.work.errands.known == []
