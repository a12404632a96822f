# SPDX-License-Identifier: Apache-2.0
"""What a stop leaves on the node, and what the next run finds there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from execnode_gateway import INSTANCE, specification
from execnode_node import IMAGE

from execnode import exits, settling

if TYPE_CHECKING:
    from execnode_node import Node


def test_a_guest_that_is_to_stop_powers_off_and_its_disk_stays(node: Node) -> None:
    assert node.run(node.stop, kept=True) is exits.STOPPED
    assert node.gateway.ends[0]["code"] == "stopped"
    assert "disk" not in node.starter.reports[-1]
    assert INSTANCE in node.hypervisor.daemon.hosts


def test_a_guest_that_ignores_its_power_button_is_ended_after_the_grace(node: Node) -> None:
    node.hypervisor.daemon.ignores_power_button = True
    assert node.run(lambda: node.stop(0.1), kept=True) is exits.STOPPED
    assert "did not shut down" in node.message


def test_the_next_run_has_the_disk_and_the_address_of_the_one_before(node: Node) -> None:
    node.run(node.stop, kept=True)
    node.overlay.write_bytes(b"what the guest wrote")
    _, address = node.hypervisor.daemon.hosts[INSTANCE]
    node.gateway.spec = specification(IMAGE, disk="kept", private_ip=address)
    node.gateway.commands.clear()
    node.starter.lines.clear()
    written: list[bytes] = []

    def story() -> None:
        node.running()
        written.append(node.overlay.read_bytes())
        node.hypervisor.power_off(INSTANCE)

    assert node.run(story) is exits.GUEST_SHUTDOWN
    assert written == [b"what the guest wrote"]
    assert node.starter.events == ["claimed", "running", "ended"]
    assert node.starter.reports[1]["ip"] == address
    assert node.starter.reports[-1]["disk"] == "removed"


def test_a_run_whose_disk_is_not_there_fails_instead_of_making_one(node: Node) -> None:
    node.gateway.spec = specification(IMAGE, disk="kept", private_ip=None)
    assert node.run() is exits.DISK_MISSING
    assert "disk" not in node.starter.reports[-1]


@pytest.mark.parametrize("answer", [(503, {}), (200, {}), (200, {"disk": "?"}), (404, {})])
def test_without_the_gateways_word_a_disk_stays(
    node: Node, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, dict[str, Any]]
) -> None:
    monkeypatch.setattr(settling, "SETTLE_SECONDS", 1.0)

    def story() -> None:
        node.running()
        node.gateway.disk_answers = [answer] * 100
        node.hypervisor.power_off(INSTANCE)

    assert node.run(story, kept=True) is exits.GUEST_SHUTDOWN


def test_a_second_supervisor_that_is_refused_leaves_the_disk_alone(node: Node) -> None:
    node.run(node.stop, kept=True)
    node.gateway.claim_answers = [(409, {"message": "Claimed before."})]
    node.gateway.disk_answers = [(409, {"message": "Another supervisor's."})]
    assert node.run(kept=True) is exits.CLAIM_REFUSED
