# SPDX-License-Identifier: Apache-2.0
"""Whole lives of instances on the fake hypervisor, with a real node link and real reports."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
from execnode_gateway import INSTANCE, eventually, specification
from execnode_node import IMAGE

from execnode import cache, exits, supervisor, termination
from execnode.link import NodeLink
from execnode.listen import Listener
from execnode.spec import read

if TYPE_CHECKING:
    from execnode_node import Node


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_guest_that_powers_off_ends_well(node: Node) -> None:
    def story() -> None:
        node.running()
        node.hypervisor.power_off(INSTANCE)

    assert node.run(story) is exits.GUEST_SHUTDOWN
    assert node.starter.events == ["claimed", "fetching", "running", "ended"]
    running = node.starter.reports[2]
    assert running["ip"].startswith("192.0.2.")
    assert (running["vnc"], running["virt"], running["domain"]) == (5900, "qemu", INSTANCE)


def test_a_removed_job_destroys_its_guest(node: Node) -> None:
    def story() -> None:
        node.running()
        terminate()

    assert node.run(story) is exits.TERMINATED


def test_a_removal_in_the_moment_after_the_guests_own_end_is_no_crash(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    ignore = termination.ignore

    def removed_just_before() -> None:
        terminate()
        ignore()

    monkeypatch.setattr(termination, "ignore", removed_just_before)

    def story() -> None:
        node.running()
        node.hypervisor.power_off(INSTANCE)

    assert node.run(story) is exits.TERMINATED


def test_a_guest_that_a_full_disk_stopped_ends_with_that_reason(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "STOPPED_SECONDS", 0.0)
    monkeypatch.setattr(supervisor, "ROOM_BYTES", 2**63)

    def story() -> None:
        node.running()
        node.hypervisor.fill_disk(INSTANCE)

    assert node.run(story) is exits.DISK_FULL
    assert "could not write to its disk" in node.message


def test_a_guest_that_a_full_disk_stopped_goes_on_when_there_is_room(node: Node) -> None:
    def story() -> None:
        node.running()
        node.hypervisor.fill_disk(INSTANCE)
        eventually(lambda: not node.hypervisor.daemon.stopped)
        node.hypervisor.power_off(INSTANCE)

    assert node.run(story) is exits.GUEST_SHUTDOWN


def test_a_guest_that_was_stopped_while_libvirtd_was_away_is_noticed(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "STOPPED_SECONDS", 0.0)
    monkeypatch.setattr(supervisor, "ROOM_BYTES", 2**63)

    def story() -> None:
        node.running()
        node.hypervisor.daemon.stopped.add(INSTANCE)
        node.hypervisor.kill_daemon()
        node.hypervisor.daemon.running = True

    assert node.run(story) is exits.DISK_FULL


def test_the_image_of_a_living_instance_is_not_driven_out(node: Node) -> None:
    small = node.settings._replace(cache_bytes=len(IMAGE) + 1)
    other = b"another" * 100
    document = specification(other)
    refusals: list[exits.EndedError] = []

    def fetch() -> None:
        node.gateway.image, node.gateway.spec = other, document
        cache.fetch(small, read(document).image, NodeLink(small), lambda: None).close()

    def story() -> None:
        node.running()
        try:
            fetch()
        except exits.EndedError as error:
            refusals.append(error)
        node.hypervisor.power_off(INSTANCE)

    assert node.run(story) is exits.GUEST_SHUTDOWN
    assert [error.exit for error in refusals] == [exits.DISK_FULL]
    assert len(cache.cached(node.settings.cache_dir)) == 1
    fetch()
    assert cache.cached(node.settings.cache_dir) == [document["image"]["sha256"]]


def test_a_job_removed_while_its_image_is_downloaded_ends_at_once(node: Node) -> None:
    arrived, go = threading.Event(), threading.Event()

    def stall() -> None:
        arrived.set()
        go.wait(20)

    node.gateway.on_download = stall

    def story() -> None:
        assert arrived.wait(10)
        terminate()
        eventually(lambda: "ended" in node.starter.events)
        go.set()

    assert node.run(story) is exits.TERMINATED
    assert not list(node.settings.cache_dir.glob("*.part"))


def test_a_job_removed_during_its_claim_ends_at_once(node: Node) -> None:
    node.gateway.claim_answers = [(503, {})] * 1000

    def story() -> None:
        eventually(lambda: node.gateway.claims)
        terminate()

    assert node.run(story) is exits.TERMINATED
    assert node.starter.events == ["ended"]


def test_an_image_in_the_cache_is_not_fetched_again(node: Node) -> None:
    def story() -> None:
        node.running()
        terminate()

    node.run(story)
    node.starter.lines.clear()
    node.run(story)
    assert node.starter.events == ["claimed", "running", "ended"]
    assert node.gateway.downloads == 1


def test_a_guest_that_is_to_reboot_boots_once_more_and_goes_on(node: Node) -> None:
    def story() -> None:
        node.running()
        node.gateway.commands = [{"id": 1, "verb": "reboot", "grace": 60.0}]
        with contextlib.closing(NodeLink(node.settings)) as link:
            listener = Listener(node.settings, link)
            eventually(lambda: listener.turn(0) or node.gateway.taken)
        eventually(lambda: node.hypervisor.daemon.boots.get(INSTANCE) == 2)
        node.hypervisor.power_off(INSTANCE)

    assert node.run(story) is exits.GUEST_SHUTDOWN
    assert node.hypervisor.daemon.boots[INSTANCE] == 2


def test_a_guest_whose_qemu_dies_crashed(node: Node) -> None:
    def story() -> None:
        node.running()
        node.hypervisor.crash(INSTANCE)

    assert node.run(story) is exits.GUEST_CRASHED
    assert "QEMU ended unexpectedly" in node.message


def test_a_guest_outlives_its_libvirtd(node: Node) -> None:
    daemon = node.hypervisor.daemon

    def story() -> None:
        node.running()
        node.hypervisor.kill_daemon()
        daemon.running = True
        eventually(lambda: node.hypervisor.connected)
        assert INSTANCE in daemon.domains
        node.hypervisor.power_off(INSTANCE)

    assert node.run(story) is exits.GUEST_SHUTDOWN


def test_a_guest_that_died_with_its_libvirtd_is_noticed(node: Node) -> None:
    def story() -> None:
        node.running()
        node.hypervisor.daemon.domains.clear()
        node.hypervisor.kill_daemon()
        node.hypervisor.daemon.running = True

    assert node.run(story) is exits.GUEST_CRASHED
    assert "libvirtd was away" in node.message


def test_a_libvirtd_that_dies_during_the_start_is_waited_for(node: Node) -> None:
    def break_once() -> None:
        node.hypervisor.kill_daemon()
        node.hypervisor.daemon.running = True

    node.hypervisor.before_create = break_once

    def story() -> None:
        node.running()
        node.hypervisor.power_off(INSTANCE)

    assert node.run(story) is exits.GUEST_SHUTDOWN


@pytest.mark.parametrize(
    ("status", "document", "how"),
    [
        (409, {"message": "Claimed before."}, exits.CLAIM_REFUSED),
        (200, {"v": 1}, exits.NODE_ERROR),
        (200, specification(IMAGE, instance_id="i-12345678"), exits.NODE_ERROR),
    ],
)
def test_a_claim_that_yields_nothing_starts_nothing(
    node: Node, status: int, document: dict[str, Any], how: exits.Exit
) -> None:
    node.gateway.claim_answers = [(status, document)]
    assert node.run() is how
    assert node.starter.events == ["ended"]
    assert node.hypervisor.daemon.xml == {}


def test_hypervisors_own_words_reach_the_user(node: Node) -> None:
    def refuse() -> None:
        raise supervisor.HypervisorError("internal error: QEMU said no")

    node.hypervisor.before_create = refuse
    assert node.run() is exits.HYPERVISOR_ERROR
    assert "internal error: QEMU said no" in node.message


def test_a_displays_port_that_somebody_takes_first_is_looked_for_again(node: Node) -> None:
    taken = iter(range(supervisor.PORT_TRIES - 1))

    def refuse() -> None:
        if next(taken, None) is not None:
            node.hypervisor.before_create = refuse
            raise supervisor.HypervisorError("-vnc 127.0.0.1:0: Address already in use")

    node.hypervisor.before_create = refuse

    def story() -> None:
        node.running()
        node.hypervisor.power_off(INSTANCE)

    assert node.run(story) is exits.GUEST_SHUTDOWN


def test_a_display_without_any_port_ends_the_run(node: Node) -> None:
    def refuse() -> None:
        node.hypervisor.before_create = refuse
        raise supervisor.HypervisorError("-vnc 127.0.0.1:0: Address already in use")

    node.hypervisor.before_create = refuse
    assert node.run() is exits.HYPERVISOR_ERROR
    assert "Address already in use" in node.message


def test_a_network_without_a_free_address_is_named(node: Node) -> None:
    taken = {f"i-{n:08x}": ("m", f"192.0.2.{n}") for n in range(2, 10)}
    node.hypervisor.daemon.hosts.update(taken)

    def story() -> None:
        eventually(lambda: "ended" in node.starter.events)
        node.hypervisor.daemon.hosts.clear()

    assert node.run(story) is exits.NETWORK_ERROR


def test_a_full_disk_is_told_from_other_trouble(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert node.run() is exits.DISK_FULL
