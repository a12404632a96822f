# SPDX-License-Identifier: Apache-2.0
"""Copies of a running guest's disk: begun at the right moment, sent whole, and never left over."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
from typing import TYPE_CHECKING

import pytest
from execnode_gateway import INSTANCE, eventually

from execnode import backup, captures, exits, sending
from execnode.domain import AGENT
from execnode.fake import DISK
from execnode.hypervisor import ConnectionLostError, Copied, HypervisorError
from execnode.link import NodeLink
from execnode.listen import Listener

if TYPE_CHECKING:
    from collections.abc import Callable

    from execnode_node import Node


@pytest.fixture(autouse=True)
def measurable(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("qemu-img"):  # the fake hypervisor's images may be none for the real one
        monkeypatch.setattr(sending, "needed", lambda _: len(DISK))


def ask(node: Node, *verbs: str, grace: float = 60.0) -> None:
    """Let the gateway ask for captures, and wait until the supervisor has taken that."""
    node.running()
    begin = len(node.gateway.commands) + 1
    node.gateway.commands += [
        {"id": begin + n, "verb": verb, "grace": grace} for n, verb in enumerate(verbs)
    ]
    with contextlib.closing(NodeLink(node.settings)) as link:
        listener = Listener(node.settings, link)
        wanted = begin + len(verbs) - 1
        eventually(lambda: listener.turn(0) or wanted in node.gateway.taken)


def said(node: Node) -> dict[str, object]:
    """Return the last word about a capture, once there is one that ends it."""
    reports = node.gateway.capture_reports
    eventually(lambda: any("sha256" in one or "error" in one for one in reports))
    return reports[-1]


def live(node: Node, story: Callable[[], object]) -> None:
    """Run the instance until the story beside it is told and the copy is gone, then end it."""
    told: list[bool] = []

    def beside() -> None:
        try:
            story()
            eventually(lambda: not (node.overlay.parent / captures.FILE).exists())
            told.append(True)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    assert node.run(beside) is exits.TERMINATED
    assert told


@pytest.mark.parametrize(("has_agent", "how"), [(True, "frozen"), (False, "running")])
def test_a_copy_is_sent_with_its_checksum_and_the_guest_goes_on(
    node: Node, has_agent: bool, how: str
) -> None:
    node.hypervisor.daemon.has_agent = has_agent

    def story() -> None:
        ask(node, "capture")
        assert said(node) == {
            "how": how,
            "size": len(DISK),
            "sha256": hashlib.sha256(DISK).hexdigest(),
        }
        assert node.gateway.captured == DISK
        assert node.hypervisor.daemon.copies[INSTANCE][1] is has_agent
        assert node.hypervisor.daemon.frozen == set()
        assert node.hypervisor.is_active(INSTANCE)
        assert INSTANCE not in node.hypervisor.daemon.boots

    live(node, story)


@pytest.mark.parametrize(("obeys", "how"), [(True, "rebooted"), (False, "reset")])
def test_a_copy_may_wait_for_the_guest_to_boot_anew(node: Node, obeys: bool, how: str) -> None:
    node.hypervisor.daemon.ignores_power_button = not obeys

    def story() -> None:
        ask(node, "reboot-capture", grace=0.2)
        assert said(node)["how"] == how
        assert node.hypervisor.daemon.boots[INSTANCE] == 2

    live(node, story)


def test_what_is_lost_on_the_way_is_sent_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "PIECE", 100_000)
    monkeypatch.setattr(sending, "PAUSE", 0.01)

    def story() -> None:
        # The first is a report: the gateway is away for some of all that follows.
        node.gateway.capture_troubles = [503, 502, 503]
        ask(node, "capture")
        said(node)
        assert node.gateway.captured == DISK

    live(node, story)


def test_captures_are_done_one_after_the_other(node: Node) -> None:
    def story() -> None:
        ask(node, "capture", "capture")
        eventually(lambda: len([r for r in node.gateway.capture_reports if "sha256" in r]) == 2)

    live(node, story)


def test_each_capture_that_reboots_has_a_boot_of_its_own(node: Node) -> None:
    def story() -> None:
        ask(node, "reboot-capture", "reboot-capture")
        eventually(lambda: len([r for r in node.gateway.capture_reports if "sha256" in r]) == 2)
        assert {one["how"] for one in node.gateway.capture_reports} == {"rebooted"}
        assert node.hypervisor.daemon.boots[INSTANCE] == 3

    live(node, story)


def test_a_guest_that_was_frozen_is_thawed_though_the_copy_fails(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.hypervisor.daemon.has_agent = True

    def fails(*_: object) -> None:
        where = node.settings.instances_dir / INSTANCE / captures.FILE
        raise HypervisorError(f"No such luck with {where}.")

    monkeypatch.setattr(node.hypervisor, "begin_copy", fails)

    def story() -> None:
        ask(node, "capture")
        assert said(node) == {"error": f"No such luck with {captures.FILE}."}
        assert node.hypervisor.daemon.frozen == set()

    live(node, story)


def test_a_guest_whose_agent_freezes_it_too_late_is_thawed_all_the_same(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "PAUSE", 0.01)
    daemon, thaw = node.hypervisor.daemon, node.hypervisor.thaw
    daemon.has_agent = True
    busy = [True, True, True]

    def freeze(name: str) -> None:
        daemon.frozen.add(name)
        raise HypervisorError("The agent has not answered in time.")

    def thaw_when_idle(name: str) -> None:
        if busy:
            busy.pop()
            raise HypervisorError("The agent does not answer.")
        thaw(name)

    monkeypatch.setattr(node.hypervisor, "freeze", freeze)
    monkeypatch.setattr(node.hypervisor, "thaw", thaw_when_idle)

    def story() -> None:
        ask(node, "capture")
        assert said(node)["how"] == "running"
        assert daemon.frozen == set()

    live(node, story)


@pytest.mark.parametrize(
    ("state", "there"),
    [(" state='connected'", True), (" state='disconnected'", False), ("", False)],
)
def test_an_agent_is_there_when_the_guest_has_opened_its_channel(state: str, there: bool) -> None:
    target = f"<target type='virtio' name='{AGENT}'{state}/>"
    other = "<target type='virtio' name='org.spice' state='connected'/>"
    channels = f"<channel>{other}</channel><channel>{target}</channel>"
    assert backup.has_agent(f"<domain><devices>{channels}</devices></domain>") is there


def test_a_copy_that_fails_while_libvirtd_is_away_is_ended_when_it_is_back(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "PAUSE", 0.01)
    node.hypervisor.daemon.copying = Copied(whole=False, trouble="No such luck.")
    end_copy, away, ended = node.hypervisor.end_copy, [True, True], []

    def end_when_back(name: str) -> None:
        if away:
            away.pop()
            raise ConnectionLostError("It restarts.")
        end_copy(name)
        ended.append(name)

    monkeypatch.setattr(node.hypervisor, "end_copy", end_when_back)

    def story() -> None:
        ask(node, "capture")
        said(node)
        eventually(lambda: ended)

    live(node, story)
    assert ended == [INSTANCE]


def test_a_copy_that_fails_is_told_and_the_guest_goes_on(node: Node) -> None:
    node.hypervisor.daemon.copying = Copied(whole=False, trouble="No such luck.")

    def story() -> None:
        ask(node, "capture")
        assert said(node) == {"error": "The disk could not be copied: No such luck."}
        assert node.hypervisor.is_active(INSTANCE)

    live(node, story)


def test_a_copy_gives_way_to_what_guests_write(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "ROOM_BYTES", 2**60)

    def story() -> None:
        ask(node, "capture")
        assert said(node) == {"error": "The node's disk has no room for a copy."}

    live(node, story)


def test_a_copy_that_nobody_wants_any_more_is_given_up(node: Node) -> None:
    node.hypervisor.daemon.copying = Copied(whole=False)

    def story() -> None:
        node.gateway.capture_troubles = [200, 404]
        ask(node, "capture")
        eventually(lambda: not node.gateway.capture_troubles)
        eventually(lambda: INSTANCE not in node.hypervisor.daemon.copies)
        assert node.hypervisor.is_active(INSTANCE)

    live(node, story)


def test_a_guest_does_not_boot_anew_for_an_image_that_nobody_wants_any_more(node: Node) -> None:
    def story() -> None:
        # The gateway is away for a moment first: no word of it is no reason to boot either.
        node.gateway.capture_troubles = [503, 404]
        ask(node, "reboot-capture", "capture")
        said(node)
        assert INSTANCE not in node.hypervisor.daemon.boots
        assert {one["how"] for one in node.gateway.capture_reports} == {"running"}

    live(node, story)


@pytest.mark.parametrize("verb", ["capture", "reboot-capture"])
def test_the_end_of_an_instance_waits_for_no_copy(node: Node, verb: str) -> None:
    node.hypervisor.daemon.copying = Copied(whole=False)
    node.hypervisor.daemon.ignores_power_button = True

    def story() -> None:
        ask(node, verb)
        eventually((node.overlay.parent / captures.FILE).exists)
        os.kill(os.getpid(), signal.SIGTERM)

    # The node's own checks say that no file of it is left.
    assert node.run(story) is exits.TERMINATED


def test_a_stop_during_a_copy_leaves_the_disk_alone(node: Node) -> None:
    node.hypervisor.daemon.copying = Copied(whole=False)

    def story() -> None:
        ask(node, "capture")
        eventually(lambda: INSTANCE in node.hypervisor.daemon.copies)
        node.gateway.disk_answers = [(200, {"disk": "keep"})]
        ask(node, "stop")

    assert node.run(story, kept=True) is exits.STOPPED


def test_a_libvirtd_that_is_away_for_a_while_ends_no_copy(node: Node) -> None:
    node.hypervisor.daemon.copying = Copied(whole=False)

    def story() -> None:
        ask(node, "capture")
        eventually(lambda: INSTANCE in node.hypervisor.daemon.copies)
        node.hypervisor.kill_daemon()
        node.hypervisor.daemon.running = True
        eventually(lambda: node.hypervisor.connected)
        node.hypervisor.daemon.copying = Copied(whole=True)
        assert said(node)["size"] == len(DISK)

    live(node, story)
