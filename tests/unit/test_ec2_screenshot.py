# SPDX-License-Identifier: Apache-2.0
"""GetConsoleScreenshot: from the API to the node and back, and what is not taken from a node."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import struct
import threading
import zlib
from typing import TYPE_CHECKING, Any

import camera
import pytest
from answers import code
from botocore.exceptions import ClientError
from PIL import Image
from test_nodelink_commands import Node

from execnode import commands as node_commands
from gateway.ec2 import console, dispatch
from gateway.ec2.actions import ACTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Endpoint

PPM = b"P6 4 2 255\n" + b"\x10\x80\xf0" * 8


@pytest.fixture
def node(endpoint: Endpoint) -> Iterator[Node]:
    made = Node(endpoint)
    with contextlib.closing(made.doorbell):
        yield made


@pytest.fixture
def running(endpoint: Endpoint, node: Node, ec2: Any, image: str) -> Iterator[str]:
    """An instance whose node only answers what a test lets it answer."""
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    name = str(launched["InstanceId"])
    node.claim(name)
    endpoint.change_state(name, "running")
    camera.BROKEN.add(name)
    yield name
    camera.BROKEN.remove(name)


def asking(ec2: Any, name: str, **more: object) -> tuple[threading.Thread, list[Any]]:
    """Ask for a picture from a thread; return it and where the answer will be."""
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(ec2.get_console_screenshot(InstanceId=name, **more))
        except ClientError as error:
            answers.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, answers


def told(node: Node, name: str) -> node_commands.Command:
    """Wait for the command that asks for the picture."""
    assert node.waiting(wait=30)["instances"] == [name]
    _, answer = node.take(name)
    [command] = node_commands.read(answer)
    return command


def send(node: Node, name: str, number: int, picture: bytes, **more: object) -> tuple[int, Any]:
    data = base64.b64encode(picture).decode()
    body = {"run": 1, "nonce": "n", "command": number, "data": data} | more
    return node.ask(f"/v1/instances/{name}/screenshot", **body)


def wait_for(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Have requests wait so long for the node's picture."""
    chosen = ACTIONS["GetConsoleScreenshot"]
    assert chosen.finish is not None
    finish = chosen.finish
    settings = dataclasses.replace(endpoint.settings, screenshot_wait=seconds)

    def in_time(gateway: Any, asked: Any) -> Any:
        return finish(dataclasses.replace(gateway, settings=settings), asked)

    changed = dataclasses.replace(chosen, finish=in_time)
    monkeypatch.setitem(dispatch.ACTIONS, "GetConsoleScreenshot", changed)


@pytest.mark.parametrize(("wake_up", "verb"), [(False, "screenshot"), (True, "wake-screenshot")])
def test_the_nodes_picture_comes_back_as_a_jpeg_of_its_size(
    node: Node, ec2: Any, running: str, wake_up: bool, verb: str
) -> None:
    thread, answers = asking(ec2, running, WakeUp=wake_up)
    command = told(node, running)
    assert command.verb == verb
    assert send(node, running, command.number, PPM)[0] == 204
    assert send(node, running, command.number, PPM)[0] == 404, "it was answered already"
    thread.join()
    assert answers[0]["InstanceId"] == running
    with Image.open(io.BytesIO(base64.b64decode(answers[0]["ImageData"]))) as shown:
        assert (shown.format, shown.size) == ("JPEG", (4, 2))


def test_what_is_no_picture_of_this_supervisors_guest_is_refused(
    endpoint: Endpoint, node: Node, ec2: Any, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "LOOK_AGAIN", 0.01)
    wait_for(endpoint, monkeypatch, 60.0)
    thread, answers = asking(ec2, running)
    number = told(node, running).number
    huge = struct.pack(">II5B", 60000, 60000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", huge), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    )
    for wrong in (b"", b"GIF89a" + b"\0" * 64, png, PPM[:20], b"P6 99999 99999 255\n"):
        status, answer = send(node, running, number, wrong)
        assert (status, answer["error"]) == (400, "bad-request"), wrong
    assert send(node, running, number, PPM, data="?")[0] == 400
    assert send(node, running, number, PPM, nonce="another")[0] == 409
    assert send(node, running, number + 1, PPM)[0] == 404
    assert send(node, "i-00000000000000000", number, PPM)[0] == 404
    assert not answers
    assert send(node, running, number, PPM)[0] == 204
    thread.join()
    assert answers[0]["ImageData"]


def test_a_node_that_does_not_answer_is_an_internal_error_in_time(
    endpoint: Endpoint, ec2: Any, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for(endpoint, monkeypatch, 0.1)
    with pytest.raises(ClientError) as caught:
        ec2.get_console_screenshot(InstanceId=running)
    assert code(caught) == "InternalError"


def test_those_who_wait_leave_threads_for_others(
    ec2: Any, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_WAITING", threading.BoundedSemaphore(1))
    with console._WAITING, pytest.raises(ClientError) as caught:
        ec2.get_console_screenshot(InstanceId=running)
    assert code(caught) == "RequestLimitExceeded"


def test_an_instance_that_does_not_run_has_no_display(ec2: Any, image: str) -> None:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    with pytest.raises(ClientError) as caught:
        ec2.get_console_screenshot(InstanceId=launched["InstanceId"])
    assert code(caught) == "IncorrectInstanceState"
