# SPDX-License-Identifier: Apache-2.0
"""What the gateway asks of a running guest: heard in a thread, done in the supervisor's own.

A supervisor asks for its commands when the node's listener wakes it (``wake.sock`` in the
instance's directory), and now and then in case nobody does. A command has a number and is said to
be taken; the gateway repeats it until it has heard that, and it is done once however often it
comes.
"""

from __future__ import annotations

import contextlib
import random
import socket
import sys
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from execnode.exits import STOPPED, EndedError
from execnode.hypervisor import ConnectionLostError, HypervisorError
from execnode.link import LinkError, NodeLink, NoSuchError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from execnode.config import NodeConfig
    from execnode.hypervisor import Hypervisor
    from execnode.order import Order

SOCKET = "wake.sock"
ASK_ANYWAY = 60.0  # seconds; for the case that the listener is away
FIRST_ASK = 5.0  # seconds; what was asked before the guest was there
ASK_AGAIN = 1.0  # seconds; after trouble
METADATA = "metadata"
"""What the answer says beside the commands has changed."""
VERBS = ("reboot", "stop", "screenshot", "wake-screenshot", "capture", "reboot-capture", METADATA)
LONGEST_GRACE = 3600.0
SHORTEST_REST = 0.05
PRESS_AGAIN = 10.0  # seconds


class Command(NamedTuple):
    """What to do, and how many seconds the guest has to do it by itself."""

    number: int
    verb: str
    grace: float


def read(answer: object) -> list[Command]:
    """Return the commands in the gateway's answer; what is not understood is left out."""
    listed = answer.get("commands") if isinstance(answer, dict) else None
    return [
        Command(one["id"], one["verb"], min(max(float(one["grace"]), 0.0), LONGEST_GRACE))
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict)
        and type(one.get("id")) is int
        and one.get("verb") in VERBS
        and type(one.get("grace")) in {int, float}
    ]


def wake(path: Path) -> bool:
    """Wake the supervisor that listens at ``path``; tell whether one does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        try:
            sender.sendto(b"", str(path))
        except BlockingIOError:
            return True  # it has been woken often enough
        except OSError:
            return False
    return True


class Inbox:
    """Hears the commands of one run; :meth:`take` gives each of them once."""

    def __init__(  # noqa: PLR0913, PLR0917 - what to ask as, and whom to tell
        self,
        settings: NodeConfig,
        order: Order,
        nonce: str,
        directory: Path,
        on_command: Callable[[], None],
        on_metadata: Callable[[object], None],
    ) -> None:
        self._settings = settings
        self._order = order
        self._nonce = nonce
        self._on_command = on_command
        self._on_metadata = on_metadata
        self._heard: set[int] = set()
        self._queue: SimpleQueue[Command] = SimpleQueue()
        self._closing = False
        self._path = directory / SOCKET
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))
        self._thread = threading.Thread(target=self._work, name="commands", daemon=True)
        self._thread.start()

    def take(self) -> Command | None:
        """Return the next command that has come; None where there is none."""
        try:
            return self._queue.get_nowait()
        except Empty:
            return None

    def close(self, seconds: float) -> None:
        """Hear nothing more; wait for the thread's end, at most so long."""
        self._closing = True
        wake(self._path)
        self._thread.join(seconds)

    def _work(self) -> None:
        with self._socket:
            self._listen()

    def _listen(self) -> None:
        pause = FIRST_ASK * random.uniform(0.5, 1.5)  # noqa: S311 - spreads, does not protect
        while True:
            self._await_wake(pause)
            if self._closing:
                return
            try:
                self._ask()
                pause = ASK_ANYWAY * random.uniform(0.5, 1.5)  # noqa: S311 - as above
            except NoSuchError:
                return  # the run is not ours any more: nothing will come
            except LinkError:
                pause = ASK_AGAIN

    def _await_wake(self, seconds: float) -> None:
        self._socket.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            self._socket.recv(1)

    def _ask(self) -> None:
        link = NodeLink(self._settings)
        order = self._order
        taken: list[int] = []
        try:
            while True:
                answer = link.commands(order.instance, order.run, self._nonce, taken)
                if isinstance(answer, dict):
                    self._on_metadata(answer.get("metadata"))
                found = read(answer)
                taken = [command.number for command in found]
                if not found:
                    return
                for command in found:
                    if command.number not in self._heard:
                        self._heard.add(command.number)
                        if command.verb == METADATA:
                            continue  # the answer that it came with had it all
                        self._queue.put(command)
                        self._on_command()
        finally:
            link.close()


class Asked:
    """What of the commands is under way; used by the supervisor's main thread alone."""

    def __init__(self, name: str, hypervisor: Hypervisor, take: Callable[[], Any]) -> None:
        self._name = name
        self._hypervisor = hypervisor
        self._take = take
        self._verb: str | None = None
        self._deadline = 0.0
        self._next_press = 0.0

    def seconds(self) -> float | None:
        """Return how long it is until something must be done; None: until somebody asks."""
        if self._verb is None:
            return None
        return max(SHORTEST_REST, min(self._deadline, self._next_press) - time.monotonic())

    @property
    def to_stop(self) -> bool:
        """Whether the guest shall shut down, so that its end is what was asked for."""
        return self._verb == "stop"

    def rebooted(self) -> bool:
        """Note that the machine was reset; tell whether the guest did so because it was asked."""
        obeyed = self._verb == "reboot"
        if obeyed:
            self._verb = None
        return obeyed

    def work(self) -> None:
        """Do what is due. A ConnectionLostError means that it is done at the next call.

        Raises EndedError once a guest that was to stop and did not is given up.
        """
        while (command := self._take()) is not None:
            self._begin(command)
        if self._verb is None:
            return
        now = time.monotonic()
        late = now >= self._deadline
        if late and self._verb == "stop":
            raise EndedError(STOPPED, "It did not shut down by itself.")
        try:
            if late:
                self._hypervisor.reset(self._name)
                self._verb = None
            elif now >= self._next_press:
                self._press(now)
        except ConnectionLostError:
            raise
        except HypervisorError as error:
            # It ended meanwhile, of which an event tells, or the deadline sees to it.
            sys.stderr.write(f"{self._name} {self._verb}: {error}\n")
            self._next_press = self._deadline
            if late:
                self._verb = None

    def _begin(self, command: Command) -> None:
        deadline = time.monotonic() + command.grace
        if self._verb == command.verb == "stop":
            self._deadline = min(self._deadline, deadline)  # it may be forced meanwhile
        elif self._verb is None or command.verb == "stop":
            self._verb, self._deadline = command.verb, deadline
            self._next_press = 0.0
        # A reboot that comes while the guest is about to go down is done by the same boot.

    def _press(self, now: float) -> None:
        if self._verb == "stop":
            # A guest that is just booting does not hear the first one.
            self._hypervisor.shut_down(self._name)
            self._next_press = now + PRESS_AGAIN
        else:
            self._hypervisor.reboot(self._name)
            self._next_press = self._deadline
