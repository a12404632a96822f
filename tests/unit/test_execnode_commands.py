# SPDX-License-Identifier: Apache-2.0
"""Commands to a running guest: each is done once, whatever is lost or repeated on the way."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from execnode_gateway import INSTANCE, Gateway, eventually

from execnode import commands, config
from execnode.commands import Asked, Command, Inbox
from execnode.domain import METADATA_URI
from execnode.exits import STOPPED, EndedError
from execnode.fake import FakeHypervisor
from execnode.link import LinkError, NodeLink
from execnode.listen import Listener
from execnode.order import Order
from execnode.screenshots import Viewer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from execnode.config import NodeConfig

DOMAIN = f"""<domain><name>{INSTANCE}</name>
<metadata><c:i xmlns:c='{METADATA_URI}'/></metadata></domain>"""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path)
    yield made
    made.close()


@pytest.fixture
def settings(gateway: Gateway, tmp_path: Path) -> NodeConfig:
    (tmp_path / "token").write_text(gateway.token)
    (tmp_path / "instances" / INSTANCE).mkdir(parents=True)
    document = {"gateway": gateway.url, "token_file": f"{tmp_path}/token"}
    document |= {"ca_file": str(gateway.certificate), "state_dir": str(tmp_path)}
    return config.from_document(document)


@pytest.fixture
def hypervisor() -> FakeHypervisor:
    made = FakeHypervisor()
    made.connect()
    made.create(DOMAIN)
    return made


@contextlib.contextmanager
def listening(settings: NodeConfig) -> Iterator[Listener]:
    link = NodeLink(settings)
    with contextlib.closing(link):
        yield Listener(settings, link)


def wake(settings: NodeConfig) -> None:
    with listening(settings) as listener:
        listener.turn(0)


@contextlib.contextmanager
def inbox(settings: NodeConfig) -> Iterator[Inbox]:
    heard = threading.Event()
    directory = settings.instances_dir / INSTANCE
    made = Inbox(settings, Order(INSTANCE, 1, Path()), "nonce", directory, heard.set, print)
    wake(settings)
    eventually(heard.is_set)
    yield made
    made.close(10)


def reboot(number: int, grace: float = 60.0) -> dict[str, object]:
    return {"id": number, "verb": "reboot", "grace": grace}


def test_a_woken_supervisor_has_its_commands_and_says_that_it_took_them(
    gateway: Gateway, settings: NodeConfig
) -> None:
    gateway.commands = [reboot(7), reboot(8)]
    with inbox(settings) as found:
        eventually(lambda: gateway.taken == [7, 8])
    assert [found.take(), found.take(), found.take()] == [
        Command(7, "reboot", 60.0),
        Command(8, "reboot", 60.0),
        None,
    ]


def test_a_command_whose_answers_are_lost_is_given_once(
    gateway: Gateway, settings: NodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "ASK_AGAIN", 0.01)
    gateway.commands = [reboot(7)]
    gateway.lost_answers = 1
    with inbox(settings) as found:
        eventually(lambda: gateway.taken)
        assert found.take() == Command(7, "reboot", 60.0)
        gateway.taken.clear()
        wake(settings)
        eventually(lambda: gateway.taken == [7])
        assert found.take() is None


def test_what_is_no_command_is_left_out() -> None:
    assert commands.read({"commands": [reboot(1), {"id": 2, "verb": "dance", "grace": 1}, 3]}) == [
        Command(1, "reboot", 60.0)
    ]
    assert commands.read([]) == []


def test_a_guest_is_asked_to_reboot_and_does(hypervisor: FakeHypervisor) -> None:
    found = [Command(1, "reboot", 60.0)]
    asked = Asked(INSTANCE, hypervisor, lambda: found.pop() if found else None)
    asked.work()
    assert hypervisor.daemon.boots[INSTANCE] == 2
    assert asked.seconds() is not None
    asked.rebooted()
    asked.work()
    assert hypervisor.daemon.boots[INSTANCE] == 2
    assert asked.seconds() is None


def test_a_guest_that_ignores_its_power_button_is_reset_after_the_grace(
    hypervisor: FakeHypervisor,
) -> None:
    hypervisor.daemon.ignores_power_button = True
    found = [Command(1, "reboot", 0.1)]
    asked = Asked(INSTANCE, hypervisor, lambda: found.pop() if found else None)
    asked.work()
    assert INSTANCE not in hypervisor.daemon.boots
    time.sleep(0.1)
    asked.work()
    asked.work()
    assert hypervisor.daemon.boots[INSTANCE] == 2


def test_a_reboot_waits_for_a_libvirtd_that_is_away(hypervisor: FakeHypervisor) -> None:
    found = [Command(1, "reboot", 60.0)]
    asked = Asked(INSTANCE, hypervisor, lambda: found.pop() if found else None)
    hypervisor.kill_daemon()
    with pytest.raises(commands.ConnectionLostError):
        asked.work()
    hypervisor.daemon.running = True
    hypervisor.connect()
    asked.work()
    assert hypervisor.daemon.boots[INSTANCE] == 2


def test_pictures_are_taken_between_other_commands_and_sent(hypervisor: FakeHypervisor) -> None:
    asked = [Command(1, "wake-screenshot", 0), Command(2, "screenshot", 0), Command(3, "reboot", 9)]
    sent: dict[int, bytes] = {}
    viewer = Viewer(INSTANCE, hypervisor, lambda: asked.pop(0) if asked else None, sent.__setitem__)
    assert viewer.take() == Command(3, "reboot", 9)
    assert viewer.take() is None
    eventually(lambda: len(sent) == 2)
    assert sent[1] == sent[2] == hypervisor.screenshot(INSTANCE, 100, wake_up=False)
    assert hypervisor.daemon.keys == [INSTANCE]


def test_a_picture_that_cannot_be_taken_or_sent_is_let_go(hypervisor: FakeHypervisor) -> None:
    asked = [Command(1, "screenshot", 0), Command(2, "screenshot", 0)]
    tried: list[int] = []

    def send(number: int, _picture: bytes) -> None:
        tried.append(number)
        raise LinkError("away")

    viewer = Viewer(INSTANCE, hypervisor, lambda: asked.pop(0) if asked else None, send)
    assert viewer.take() is None
    eventually(lambda: sorted(tried) == [1, 2])
    hypervisor.kill_daemon()
    asked.append(Command(3, "wake-screenshot", 0))
    assert viewer.take() is None
    assert sorted(tried) == [1, 2]


def test_a_listener_tries_again_until_the_supervisor_listens(
    gateway: Gateway, settings: NodeConfig
) -> None:
    gateway.commands = [reboot(7)]
    heard = threading.Event()
    directory = settings.instances_dir / INSTANCE
    with listening(settings) as listener:
        listener.turn(0)
        made = Inbox(settings, Order(INSTANCE, 1, Path()), "nonce", directory, heard.set, print)
        listener.turn(0)
        eventually(heard.is_set)
        made.close(10)


def test_an_answer_that_is_not_understood_is_said_to_be(
    gateway: Gateway, settings: NodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "waiting", lambda _: {"last": 1, "instances": ["../.."]})
    with pytest.raises(LinkError, match="not understood"):
        wake(settings)


def test_a_stop_may_be_forced_while_it_is_under_way_and_outweighs_a_reboot(
    hypervisor: FakeHypervisor,
) -> None:
    hypervisor.daemon.ignores_power_button = True
    found = [Command(1, "reboot", 60.0), Command(2, "stop", 60.0)]
    asked = Asked(INSTANCE, hypervisor, lambda: found.pop(0) if found else None)
    asked.work()
    assert asked.to_stop
    asked.rebooted()
    assert asked.to_stop
    found.append(Command(3, "stop", 0.0))
    with pytest.raises(EndedError) as caught:
        asked.work()
    assert caught.value.exit is STOPPED
