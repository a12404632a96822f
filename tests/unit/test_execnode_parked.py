# SPDX-License-Identifier: Apache-2.0
"""A run whose disk the store has: fetched whole, then taken, then written to, in this order."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from execnode_gateway import INSTANCE, eventually, specification
from execnode_node import IMAGE

from execnode import cache, exits, parked

if TYPE_CHECKING:
    from pathlib import Path

    from execnode_node import Node

pytestmark = pytest.mark.skipif(
    shutil.which("qemu-img") is None, reason="the program qemu-img is missing"
)
VARIABLES = os.urandom(700)
SIZE = 2**20


def overlay(place: Path, *, data: str = "", size: int = SIZE) -> bytes:
    """Return a disk as a node sends it."""
    file = place / "sent.qcow2"
    options = ["-o", f"data_file={data}"] if data else []
    based = [] if data else ["-u", "-F", "raw", "-b", "/nowhere/of/another/node"]
    command = ["qemu-img", "create", "-q", "-f", "qcow2", *options, *based, str(file), str(size)]
    subprocess.run(command, check=True)
    return file.read_bytes()


def park(node: Node, sent: bytes, variables: bytes = b"", **changes: Any) -> None:
    """Let the store have a disk for the next run."""
    whole = sent + variables
    facts = {"sha256": hashlib.sha256(whole).hexdigest(), "size": len(whole)}
    facts |= {"nvram_bytes": len(variables), "path": f"/v1/instances/{INSTANCE}/disk"}
    node.gateway.images["disk"] = whole
    node.gateway.spec = specification(IMAGE, disk="parked", parked=facts | changes)


def info(path: Path) -> dict[str, Any]:
    shown = subprocess.run(
        ["qemu-img", "info", "-U", "--output=json", str(path)], check=True, capture_output=True
    )
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


@pytest.mark.parametrize("variables", [b"", VARIABLES])
def test_the_disk_is_fetched_and_taken_before_the_guest_has_it(
    node: Node, tmp_path: Path, variables: bytes
) -> None:
    park(node, overlay(tmp_path), variables)
    seen: list[Any] = []

    def story() -> None:
        node.running()
        shown = info(node.overlay)
        base = cache.entry(node.settings.cache_dir, parked_image(node))
        seen.append((shown["virtual-size"], shown["backing-filename"] == str(base)))
        nvram = node.overlay.with_name("nvram.fd")
        seen.append(nvram.read_bytes() if nvram.exists() else b"")
        names = {path.name for path in node.overlay.parent.iterdir()}
        seen.append(parked.PART in names or "base" not in names)
        node.hypervisor.power_off(INSTANCE)

    assert node.run(story) is exits.GUEST_SHUTDOWN
    assert seen == [(SIZE, True), variables, False]
    [said] = node.gateway.takes
    assert said == {"run": 1, "nonce": node.gateway.claims[0]["nonce"]}


def parked_image(node: Node) -> Any:
    from execnode import spec  # noqa: PLC0415

    return spec.read_image(node.gateway.spec["image"])


def test_what_an_earlier_run_has_left_here_is_replaced(node: Node, tmp_path: Path) -> None:
    node.overlay.parent.mkdir()
    node.overlay.write_bytes(b"of an earlier run")
    node.overlay.with_name("nvram.fd").write_bytes(b"of an earlier run")
    park(node, overlay(tmp_path))

    def story() -> None:
        node.running()
        assert info(node.overlay)["virtual-size"] == SIZE
        assert not node.overlay.with_name("nvram.fd").exists()
        node.hypervisor.power_off(INSTANCE)

    assert node.run(story) is exits.GUEST_SHUTDOWN


def test_bytes_that_are_not_the_disks_are_no_disk(node: Node, tmp_path: Path) -> None:
    park(node, overlay(tmp_path), sha256="0" * 64)
    assert node.run() is exits.IMAGE_CHECKSUM
    assert "downloaded 3 times" in node.message
    assert node.gateway.takes == []


def test_a_disk_that_the_store_does_not_have_is_missing(node: Node, tmp_path: Path) -> None:
    park(node, overlay(tmp_path))
    del node.gateway.images["disk"]
    assert node.run() is exits.DISK_MISSING


def test_a_disk_that_names_a_file_of_the_node_is_refused(node: Node, tmp_path: Path) -> None:
    park(node, overlay(tmp_path, data=str(tmp_path / "data")))
    assert node.run() is exits.IMAGE_REFUSED
    assert node.gateway.takes == []


def test_a_disk_that_is_larger_than_the_instances_is_refused(node: Node, tmp_path: Path) -> None:
    park(node, overlay(tmp_path, size=SIZE + 512))
    assert node.run() is exits.IMAGE_REFUSED
    assert "larger than the instance's disk" in node.message
    assert node.gateway.takes == []
    # The instance has a disk that is larger than its image.
    node.gateway.spec["disk_bytes"] = SIZE + 1

    def story() -> None:
        node.running()
        assert info(node.overlay)["virtual-size"] == SIZE + 512
        node.hypervisor.power_off(INSTANCE)

    assert node.run(story) is exits.GUEST_SHUTDOWN


@pytest.mark.parametrize("answer", [(409, {}), (404, {})])
def test_a_disk_that_the_gateway_does_not_give_away_is_not_written_to(
    node: Node, tmp_path: Path, answer: tuple[int, dict[str, Any]]
) -> None:
    park(node, overlay(tmp_path))
    node.gateway.take_answers = [answer]
    assert node.run() is exits.CLAIM_REFUSED
    assert "running" not in node.starter.events
    assert node.gateway.ends[0]["code"] == "claim-refused"


def test_a_word_that_was_lost_is_said_again(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parked, "PAUSE", 0.01)
    park(node, overlay(tmp_path))
    node.gateway.take_answers = [(502, {}), (503, {})]

    def story() -> None:
        node.running()
        node.hypervisor.power_off(INSTANCE)

    assert node.run(story) is exits.GUEST_SHUTDOWN
    assert len(node.gateway.takes) == 3


def test_a_gateway_that_is_away_for_too_long_ends_the_run(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parked, "TAKE_SECONDS", 0.0)
    park(node, overlay(tmp_path))
    node.gateway.take_answers = [(503, {})] * 3
    assert node.run() is exits.GATEWAY_UNREACHABLE
    assert "running" not in node.starter.events


def test_a_run_that_ends_while_it_fetches_takes_nothing(node: Node, tmp_path: Path) -> None:
    park(node, overlay(tmp_path))
    fetched: list[bool] = []

    def hold() -> None:
        if not fetched:  # the image
            fetched.append(True)
            return
        os.kill(os.getpid(), signal.SIGTERM)
        eventually(lambda: "ended" in node.starter.events)

    node.gateway.on_download = hold
    assert node.run() is exits.TERMINATED
    assert node.gateway.takes == []


@pytest.mark.parametrize(
    ("changes", "member"),
    [
        ({"sha256": "x"}, "parked.sha256"),
        ({"nvram_bytes": 2**40}, "parked.nvram_bytes"),
        ({"size": 2**40, "nvram_bytes": 16 * 2**20 + 1}, "parked.nvram_bytes"),
        ({"path": "/v1/instances/i-00000001/disk"}, "parked.path"),
    ],
)
def test_a_document_that_is_not_understood_says_which_member(
    node: Node, tmp_path: Path, changes: dict[str, Any], member: str
) -> None:
    park(node, overlay(tmp_path), **changes)
    assert node.run() is exits.NODE_ERROR
    assert member in node.message
