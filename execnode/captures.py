# SPDX-License-Identifier: Apache-2.0
"""Images of running guests: the disk is copied as it is at one instant, and sent to the gateway.

All of it happens in a thread beside the supervisor's own, one capture after the other. The copy is
a file in the instance's directory, which goes with the directory at the latest: whatever dies, the
guest's own disk is as it was.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from execnode import disk, sending
from execnode.hypervisor import ConnectionLostError, HypervisorError
from execnode.link import NoSuchError
from execnode.sending import CaptureError, Parcel, Sender
from execnode.workspace import OVERLAY

if TYPE_CHECKING:
    from collections.abc import Callable

    from execnode.commands import Command
    from execnode.config import NodeConfig
    from execnode.hypervisor import Hypervisor
    from execnode.order import Order

PLAIN, REBOOTING = "capture", "reboot-capture"
FILE = "capture.qcow2"
LOOK_SECONDS = 0.3
THAWS = 60  # an agent that does not answer so often is gone; each time it has AGENT_SECONDS
REBOOT_SECONDS = 60.0  # beyond the guest's grace


class Copier:
    """Does the captures that are asked for; leaves other commands to :meth:`take`'s caller."""

    def __init__(
        self,
        settings: NodeConfig,
        order: Order,
        hypervisor: Hypervisor,
        take: Callable[[], Command | None],
    ) -> None:
        self._settings = settings
        self._name = order.instance
        self._hypervisor = hypervisor
        self._take = take
        self._queue: SimpleQueue[Command | None] = SimpleQueue()
        self._reboots: SimpleQueue[Command] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._booted = threading.Event()
        self._by_itself = False
        self._target = settings.instances_dir / self._name / FILE

    def take(self) -> Command | None:
        """Return the next command that the caller shall do: sometimes a reboot for a capture."""
        while (command := self._take()) is not None and command.verb in {PLAIN, REBOOTING}:
            self._queue.put(command)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="captures", daemon=True)
                self._thread.start()
        if command is None:
            with contextlib.suppress(Empty):
                return self._reboots.get_nowait()
        return command

    def rebooted(self, *, by_itself: bool) -> None:
        """Hear that the machine was reset, by the guest itself as it was asked to, or by force."""
        self._by_itself = by_itself
        self._booted.set()

    def close(self, seconds: float = 1.0) -> None:
        """Give up what is under way, because the guest ends."""
        self._closing.set()
        self._booted.set()
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(seconds)

    def _work(self) -> None:
        while (wanted := self._queue.get()) is not None and not self._closing.is_set():
            try:
                with contextlib.closing(Sender(self._settings, wanted.number)) as sender:
                    self._do(wanted, sender)
            except Exception as error:  # noqa: BLE001 - the next one may go better
                self._say(f"{type(error).__name__}: {error}")

    def _do(self, wanted: Command, sender: Sender) -> None:
        try:
            self._capture(wanted, sender)
        except NoSuchError:
            self._say("is not wanted any more")
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever asked is told
            self._say(f"failed: {error}")
            if not self._closing.is_set():
                # Whoever asked has no business with the node's paths.
                sender.fail(str(error).replace(f"{self._target.parent}/", ""))
        finally:
            self._clear()

    def _capture(self, wanted: Command, sender: Sender) -> None:
        # It may have waited for others; a guest that is to boot anew for nobody does not.
        sender.ask(self._closing)
        size = self._hypervisor.disk_size(self._name)
        self._check_room(sending.needed(self._target.with_name(OVERLAY)))
        disk.create_empty(self._target, size)
        how = self._begin(wanted)
        self._say(f"begins ({how})")
        self._await_copy(how, sender)
        self._say("is copied")
        with self._target.open("rb") as copy:
            sender.send(Parcel(copy), {"how": how}, self._closing)
        self._say("is sent")

    def _begin(self, wanted: Command) -> str:
        """Begin the copy; return the word for the state of the guest's file systems then."""
        if wanted.verb == REBOOTING:
            self._await_boot(wanted)
            self._hypervisor.begin_copy(self._name, self._target)
            return "rebooted" if self._by_itself else "reset"
        frozen = self._freeze()
        try:
            self._hypervisor.begin_copy(self._name, self._target)
        finally:
            if frozen:
                self._thaw()
        return "frozen" if frozen else "running"

    def _await_boot(self, wanted: Command) -> None:
        """Have the main thread let the guest boot anew, and wait for the moment of its reset."""
        self._booted.clear()
        self._reboots.put(wanted._replace(verb="reboot"))
        self._hypervisor.wake()
        if not self._booted.wait(wanted.grace + REBOOT_SECONDS):
            raise CaptureError("The guest did not boot anew.")
        if self._closing.is_set():
            raise CaptureError("The guest ended.")

    def _freeze(self) -> bool:
        """Have the guest's file systems held; tell whether an agent does."""
        if not self._hypervisor.has_agent(self._name):
            return False
        try:
            self._hypervisor.freeze(self._name)
        except HypervisorError as error:
            # One that was too slow comes to it yet, and hears nothing else before.
            self._thaw()
            if isinstance(error, ConnectionLostError):
                raise
            return False
        return True

    def _thaw(self) -> None:
        """Let the guest go on, whatever becomes of the copy, as soon as libvirtd can tell it."""
        tries = THAWS
        while tries and not self._closing.is_set():
            try:
                return self._hypervisor.thaw(self._name)
            except ConnectionLostError:
                pass  # the next one will know the guest
            except HypervisorError as error:
                self._say(f"thawing: {error}")
                tries -= 1
            time.sleep(sending.PAUSE)
        return None

    def _await_copy(self, how: str, sender: Sender) -> None:
        say = 0.0
        deadline = time.monotonic() + sending.PATIENCE
        while not self._closing.wait(LOOK_SECONDS):
            try:
                copied = self._hypervisor.copied(self._name)
                deadline = time.monotonic() + sending.PATIENCE
            except ConnectionLostError:
                if time.monotonic() > deadline:
                    raise
                continue
            if copied.trouble:
                raise CaptureError(f"The disk could not be copied: {copied.trouble}")
            if copied.whole:
                return
            self._check_room(0)
            if time.monotonic() > say:
                say = time.monotonic() + sending.SAY_SECONDS
                sender.say(how)
        raise CaptureError("The guest ended.")

    def _check_room(self, needed: int) -> None:
        sending.check_room(self._target.parent, needed)

    def _clear(self) -> None:
        deadline = time.monotonic() + sending.PATIENCE
        while not self._closing.is_set():
            try:
                self._hypervisor.end_copy(self._name)
            except ConnectionLostError:
                # QEMU would write on into a file that no listing shows.
                if time.monotonic() < deadline:
                    time.sleep(sending.PAUSE)
                    continue
            except HypervisorError as error:
                self._say(f"ending the copy: {error}")
            break
        self._target.unlink(missing_ok=True)

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{self._name} capture {text}\n")
