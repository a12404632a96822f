# SPDX-License-Identifier: Apache-2.0
"""Pictures of the guest's display: taken by the supervisor's main thread, sent by threads."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from execnode.helper import Helper
from execnode.hypervisor import HypervisorError
from execnode.link import LinkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from execnode.commands import Command
    from execnode.hypervisor import Hypervisor

PLAIN, WAKING = "screenshot", "wake-screenshot"
LARGEST = 8 * 1024**2  # bytes; the gateway takes no more
MOST_SENDING = 4


class Viewer:
    """Takes the pictures that are asked for; leaves every other command to :meth:`take`'s caller.

    take gives the next command, send passes a picture on and raises LinkError.
    """

    def __init__(
        self,
        name: str,
        hypervisor: Hypervisor,
        take: Callable[[], Command | None],
        send: Callable[[int, bytes], None],
    ) -> None:
        self._name = name
        self._hypervisor = hypervisor
        self._take = take
        self._send = send
        self._sending: list[Helper[None]] = []

    def take(self) -> Command | None:
        """Return the next command that asks for no picture; None where there is none."""
        while (command := self._take()) is not None and command.verb in {PLAIN, WAKING}:
            self._answer(command)
        return command

    def _answer(self, command: Command) -> None:
        # Whoever asked waits for some seconds only: what fails is not tried again.
        self._sending = [helper for helper in self._sending if helper.is_alive()]
        if len(self._sending) >= MOST_SENDING:
            return
        try:
            picture = self._hypervisor.screenshot(
                self._name, LARGEST, wake_up=command.verb == WAKING
            )
        except HypervisorError as error:
            sys.stderr.write(f"{self._name} {command.verb}: {error}\n")
            return
        if picture:
            self._sending.append(Helper(lambda: self._pass_on(command.number, picture)))

    def _pass_on(self, number: int, picture: bytes) -> None:
        with contextlib.suppress(LinkError):
            self._send(number, picture)
