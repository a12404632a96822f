# SPDX-License-Identifier: Apache-2.0
"""One run of one instance: claim it, build it, guard it, clean up behind it.

Read Supervisor._live from top to bottom: that is an instance's whole life on a node. SIGTERM (the
job was removed) raises TerminatedError wherever the main thread is; what was begun is undone by the
instance's name, so it does not matter how far it had come.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, TypeVar

from execnode import (
    ads,
    cache,
    captures,
    commands,
    console,
    disk,
    domain,
    exits,
    hearing,
    metadata,
    parked,
    probe,
    screenshots,
    settling,
    termination,
)
from execnode.exits import TerminatedError
from execnode.helper import Helper
from execnode.hypervisor import ConnectionLostError, HypervisorError, NetworkError
from execnode.link import NodeLink
from execnode.spec import SpecError
from execnode.spec import read as read_spec
from execnode.workspace import NVRAM, OVERLAY, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from execnode.commands import Asked, Inbox
    from execnode.config import NodeConfig
    from execnode.console import Console, Pusher
    from execnode.hypervisor import Hypervisor
    from execnode.order import Order
    from execnode.report import Reporter
    from execnode.spec import Spec

T = TypeVar("T")

FILES = (OVERLAY, "console.sock", NVRAM)
# HTCondor sends SIGKILL 30 s after SIGTERM: the waits of the cleaning add up to less.
SETTLING_SECONDS = 5.0  # how long a new libvirtd may take to sort out what it found
LIBVIRTD_SECONDS = 20.0
CLEANING_SECONDS = 15.0
HANG_UP_SECONDS = 1.0
CONSOLE_SECONDS = 3.0
REPORT_SECONDS = 5.0
# A guest that the node's full disk stopped: how long it may stay so, how often it is looked at, and
# the free space with which it goes on.
STOPPED_SECONDS = 10.0
RESUME_SECONDS = 1.0
ROOM_BYTES = 64 * 1024**2
PORT_TAKEN, PORT_TRIES = "Address already in use", 5
STOPPED = "The guest was stopped because it could not write to its disk."
DEATHS = {
    "destroyed": "It was destroyed by somebody on the node.",
    "crashed": "The guest's kernel panicked.",
    "failed": "QEMU ended unexpectedly.",
    "connection-lost": "It ended while libvirtd was away.",
}


class Supervisor:
    """One run of one instance. hypervisor_of makes the (not yet connected) hypervisor."""

    def __init__(
        self,
        order: Order,
        settings: NodeConfig,
        reporter: Reporter,
        hypervisor_of: Callable[[NodeConfig], Hypervisor],
        started: float,
    ) -> None:
        self._order = order
        self._settings = settings
        self._reporter = reporter
        self._hypervisor_of = hypervisor_of
        self._started = started
        self._nonce = os.urandom(16).hex()
        self._node = socket.gethostname()
        self._workspace: Workspace | None = None
        self._hypervisor: Hypervisor | None = None
        self._link: NodeLink | None = None
        self._image: cache.UsedImage | None = None
        self._console: Console | None = None
        self._pusher: Pusher | None = None
        self._inbox: Inbox | None = None
        self._metadata: metadata.Service | None = None
        self._copier: captures.Copier | None = None
        self._ear: hearing.Ear | None = None
        self._lost_libvirtd = False
        self._helpers: list[Helper[Any]] = []
        self._settling: Helper[bool] | None = None
        self._disk_removed = False

    def run(self) -> int:
        """Live, clean up, report the end; returns the exit code."""
        try:
            ended = self._outcome()
            termination.ignore()
        except TerminatedError:  # raised at most once, so nothing below is interrupted either way
            ended = exits.EndedError(exits.TERMINATED)
        self._log(f"ends: {ended.message}")
        # Asked while the guest is being ended.
        self._settling = Helper(lambda: self._may_remove_disk(ended.exit.name))
        for step in (self._stop_guest, self._drain_console, self._remove_files):
            try:
                step()
            except Exception as error:  # noqa: BLE001 - what remains is the sweep's
                self._log(f"cleaning up: {type(error).__name__}: {error}")
        facts = {"disk": "removed"} if self._disk_removed else {}
        self._reporter.send("ended", code=ended.exit.name, message=ended.message, **facts)
        self._reporter.close(REPORT_SECONDS)
        self._log("is over")
        return ended.exit.code

    def _outcome(self) -> exits.EndedError:
        """Live, and tell how it ended; only TerminatedError is raised."""
        try:
            return exits.EndedError(self._live())
        except exits.EndedError as error:
            return error
        except NetworkError as error:
            return exits.EndedError(exits.NETWORK_ERROR, str(error))
        except HypervisorError as error:
            return exits.EndedError(exits.HYPERVISOR_ERROR, str(error))
        except OSError as error:
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            return exits.EndedError(exits.DISK_FULL if full else exits.NODE_ERROR, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the user is told
            return exits.EndedError(exits.NODE_ERROR, f"{type(error).__name__}: {error}")

    def _live(self) -> exits.Exit:
        settings = self._settings
        workspace = self._workspace = self._own_directory()
        connecting = self._help(self._connect_first)  # libvirt is imported during the claim
        link = self._link = NodeLink(settings)
        spec = self._claim(link)
        self._reporter.send("claimed", node=self._node)
        if spec.disk == "kept":
            disk.expect(workspace.path(OVERLAY), cache.entry(settings.cache_dir, spec.image))
        self._image = cache.fetch(settings, spec.image, link, lambda: self._fetching(spec))
        base = self._image.path
        paths = domain.Paths(base, *(workspace.path(name) for name in FILES))
        parked.fetch(paths.overlay, base, spec, link)
        overlay_made = self._help(lambda: disk.prepare(paths.overlay, base, spec))
        hypervisor = self._hypervisor = connecting.result()
        address = self._survive_libvirtd(
            hypervisor,
            lambda: hypervisor.reserve_address(spec.mac, spec.instance_id, spec.private_ip),
        )
        service = self._metadata = metadata.Service(settings, spec, address, spec.metadata)
        guest_console = self._console = console.Console(
            paths.console, workspace.path("console.log")
        )
        virt = probe.virt_type(settings.run_dir)
        xml = domain.build(spec, paths, virt, domain.Plug(settings.network, service.port))
        overlay_made.result()
        parked.take(spec, self._order, self._nonce, link)
        self._log("disk and address ready")
        self._survive_libvirtd(hypervisor, lambda: self._create(hypervisor, xml))
        self._log("created")
        port = hypervisor.vnc_port(spec.instance_id)
        facts = {"node": self._node, "ip": address, "mac": spec.mac, "vnc": port, "virt": virt}
        self._reporter.send("running", domain=spec.instance_id, **facts)
        self._log(f"runs at {address}")
        self._ear = hearing.Ear(service.port, lambda: self._reporter.send("heard"))
        self._pusher = console.Pusher(guest_console, self._push_console)
        inbox = self._inbox = commands.Inbox(
            settings,
            self._order,
            self._nonce,
            workspace.directory,
            hypervisor.wake,
            service.learn,
        )
        viewer = screenshots.Viewer(spec.instance_id, hypervisor, inbox.take, self._push_screenshot)
        copier = self._copier = captures.Copier(settings, self._order, hypervisor, viewer.take)
        asked = commands.Asked(spec.instance_id, hypervisor, copier.take)
        return self._guard(hypervisor, guest_console, asked)

    def _own_directory(self) -> Workspace:
        directory = self._settings.instances_dir / self._order.instance
        workspace = Workspace.acquire(directory, self._settings.qemu_group, wait=True)
        assert workspace is not None  # noqa: S101 - it waits
        return workspace

    def _connect_first(self) -> Hypervisor:
        hypervisor = self._hypervisor_of(self._settings)
        _connect(hypervisor, LIBVIRTD_SECONDS)
        self._log("connected to the hypervisor")
        return hypervisor

    def _claim(self, link: NodeLink) -> Spec:
        order = self._order
        body = {"run": order.run, "node": self._node, "job": ads.job_id(), "nonce": self._nonce}
        answer = link.claim(order.instance, body | {"zone": ads.zone()})
        try:
            spec = read_spec(answer)
        except SpecError as error:
            text = f"The gateway's answer is not understood: {error}."
            raise exits.EndedError(exits.NODE_ERROR, text) from error
        if (spec.instance_id, spec.run) != (order.instance, order.run):
            raise exits.EndedError(exits.NODE_ERROR, "The gateway answered for another instance.")
        self._log("claimed")
        return spec

    def _fetching(self, spec: Spec) -> None:
        self._reporter.send("fetching", bytes=spec.image.size)

    def _survive_libvirtd(self, hypervisor: Hypervisor, work: Callable[[], T]) -> T:
        """Do the work; when libvirtd dies under it, wait for the next one and do it again."""
        try:
            return work()
        except ConnectionLostError as error:
            self._log(f"lost libvirtd: {error}")
            self._lost_libvirtd = True
            _connect(hypervisor, LIBVIRTD_SECONDS)
            return work()

    def _create(self, hypervisor: Hypervisor, xml: str) -> None:
        # A guest of this name is from a supervisor, or a libvirtd, that died: nobody minds it. A
        # new libvirtd says for a while that what its predecessor was just starting exists.
        deadline = time.monotonic() + (SETTLING_SECONDS if self._lost_libvirtd else 0.0)
        tries = PORT_TRIES
        while True:
            hypervisor.destroy(self._order.instance)
            try:
                return hypervisor.create(xml)
            except ConnectionLostError:
                raise
            except HypervisorError as error:
                # libvirt looks for a port for the display, and QEMU takes it somewhat later.
                tries -= PORT_TAKEN in str(error)
                if time.monotonic() >= deadline and not (PORT_TAKEN in str(error) and tries):
                    raise
            time.sleep(0.1)

    def _guard(self, hypervisor: Hypervisor, guest_console: Console, asked: Asked) -> exits.Exit:
        name = self._order.instance
        while True:
            with contextlib.suppress(ConnectionLostError):  # its event follows
                asked.work()
            event = hypervisor.next_event(asked.seconds())
            if event is None or event.domain not in {"", name} or event.kind == "woken":
                continue
            if event.kind == "reboot":
                by_itself = asked.rebooted()
                if self._copier is not None:
                    self._copier.rebooted(by_itself=by_itself)
                continue
            try:
                if event.kind == "connection-lost":
                    self._reconnect(hypervisor, guest_console)
                if hypervisor.is_active(name):
                    self._outlast_full_disk(hypervisor)
                    continue
            except ConnectionLostError:
                continue  # its event follows
            if event.kind == "io-error":
                continue  # it ended meanwhile: that event follows
            if event.kind == "shutdown":
                return exits.STOPPED if asked.to_stop else exits.GUEST_SHUTDOWN
            raise exits.EndedError(exits.GUEST_CRASHED, DEATHS[event.kind])

    def _outlast_full_disk(self, hypervisor: Hypervisor) -> None:
        """Let a guest that was stopped go on if there is room again soon, else end it."""
        name = self._order.instance
        deadline = time.monotonic() + STOPPED_SECONDS
        while hypervisor.is_stopped(name):
            self._log("is stopped: a write to its disk failed")
            if time.monotonic() >= deadline:
                raise exits.EndedError(exits.DISK_FULL, STOPPED)
            time.sleep(RESUME_SECONDS)
            disk_of_guests = os.statvfs(self._settings.instances_dir)
            if disk_of_guests.f_frsize * disk_of_guests.f_bavail >= ROOM_BYTES:
                hypervisor.resume(name)
                # One that cannot write after all is stopped again before it is looked at.
                time.sleep(RESUME_SECONDS)

    def _reconnect(self, hypervisor: Hypervisor, guest_console: Console) -> None:
        self._log("lost libvirtd; the guest lives on")
        while True:
            try:
                _connect(hypervisor, 1.0)
            except ConnectionLostError:
                if guest_console.hung_up.is_set():
                    raise exits.EndedError(exits.GUEST_CRASHED, DEATHS["connection-lost"]) from None
            else:
                self._log("found libvirtd again")
                return

    def _push_console(self, offset: int, data: bytes) -> None:
        if self._link is not None:
            order = self._order
            self._link.push_console(order.instance, order.run, self._nonce, offset, data)

    def _push_screenshot(self, command: int, picture: bytes) -> None:
        order, link = self._order, NodeLink(self._settings)
        with contextlib.closing(link):
            link.push_screenshot(order.instance, order.run, self._nonce, command, picture)

    def _stop_guest(self) -> None:
        if self._ear is not None:
            self._ear.close()
        if self._metadata is not None:
            self._metadata.close()
        if self._copier is not None:
            self._copier.close()
        hypervisor = self._hypervisor
        if hypervisor is None:
            return
        deadline = time.monotonic() + CLEANING_SECONDS
        while True:
            try:
                hypervisor.destroy(self._order.instance)
                if self._removes:
                    hypervisor.release_address(self._order.instance)
            except ConnectionLostError:
                _connect(hypervisor, deadline - time.monotonic())
            else:
                break
        hypervisor.close()
        self._log("guest destroyed")

    def _drain_console(self) -> None:
        if self._inbox is not None:
            self._inbox.close(HANG_UP_SECONDS)
        if self._console is not None:
            self._console.hung_up.wait(HANG_UP_SECONDS)
            pusher = self._pusher or console.Pusher(self._console, self._push_console)
            pusher.close(CONSOLE_SECONDS)
            self._console.close()
        if self._link is not None:
            self._link.close()

    def _remove_files(self) -> None:
        for helper in self._helpers[1:]:  # the first only connects
            helper.join(CONSOLE_SECONDS)
        if self._workspace is not None:
            if self._removes:
                self._disk_removed = self._workspace.path(OVERLAY).exists()
                self._workspace.remove()
            else:
                self._workspace.keep()
                self._log("disk kept")
        if self._image is not None:
            self._image.close()

    @property
    def _removes(self) -> bool:
        """Whether disk and address go; without the gateway's word a disk stays."""
        return self._settling is not None and self._settling.result()

    def _may_remove_disk(self, code: str) -> bool:
        if self._workspace is None or not self._workspace.path(OVERLAY).exists():
            return True  # there is none
        return settling.may_remove(self._settings, self._order, self._nonce, code, self._log)

    def _help(self, work: Callable[[], T]) -> Helper[T]:
        helper = Helper(work)
        self._helpers.append(helper)
        return helper

    def _log(self, text: str) -> None:
        elapsed = time.monotonic() - self._started
        sys.stderr.write(f"{elapsed:9.3f} {self._order.instance} {text}\n")


def _connect(hypervisor: Hypervisor, seconds: float) -> None:
    """Connect, waiting at most so long for the daemon to be there."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            hypervisor.connect()
        except ConnectionLostError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
