# SPDX-License-Identifier: Apache-2.0
"""Disks of stopped instances: copied for images, sent to the store, removed here.

For an image the disk and what it stands on become one file. The lock is held while that is made
and no longer: whoever starts the instance waits for the copying alone. The file loses its name
before it is sent, so whatever dies leaves nothing; what is left of one that was not finished goes
when the sweep cleans the directory.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, BinaryIO

from execnode import cache, disk, sending
from execnode.children import end_with_parent
from execnode.exits import EndedError
from execnode.link import NodeLink
from execnode.sending import PAUSE, SAY_SECONDS, CaptureError, Parcel
from execnode.workspace import NVRAM, OVERLAY, Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from execnode.config import NodeConfig
    from execnode.sending import Sender
    from execnode.spec import Errand

HOW = "stopped"
COPY = "stopped-{}.qcow2"
NO_DISK = "The node does not have the instance's disk."
LOOK_SECONDS = 0.2
MEMORY = 1024**3  # bytes of address space
STACK = 1024**2  # bytes of each thread's; QEMU has up to 64 threads for a file
SECONDS = 60.0  # beside what the bytes take
SLOWEST = 4 * 1024**2  # bytes of a disk that are copied in a second
# glibc would take 64 MiB of address space for each thread's own heap.
_VARIABLES = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "MALLOC_ARENA_MAX": "1",
}


def capture(settings: NodeConfig, wanted: Errand, number: int, sender: Sender) -> None:
    """Copy the disk of a stopped instance and send the copy.

    Raises :class:`CaptureError`, NoSuchError once nobody wants it, and other LinkErrors.
    """
    sender.ask()
    with _copied(settings, wanted, number, sender) as copy:
        _say(wanted, "is copied")
        parcel = Parcel(copy)
        sender.tell({"how": HOW, "size": parcel.size})
        sender.send(parcel, {"how": HOW})
    _say(wanted, "is sent")


def park(settings: NodeConfig, wanted: Errand, sender: Sender) -> None:
    """Send the disk of a stopped instance, and its firmware's variables, for the store to keep.

    The disk stays here until the gateway wants it removed. Raises what :func:`capture` does.
    """
    sender.ask()
    with contextlib.ExitStack() as held:
        workspace = held.enter_context(contextlib.closing(_own(settings, wanted, sender)))
        paths = [workspace.path(OVERLAY), workspace.path(NVRAM)]
        if not paths[0].exists():
            raise CaptureError(NO_DISK)
        files = [held.enter_context(path.open("rb")) for path in paths if path.exists()]
        _say(wanted, "is sent to the store")
        nvram = os.fstat(files[1].fileno()).st_size if len(files) > 1 else 0
        sender.send(Parcel(*files), {"nvram_bytes": nvram})
    _say(wanted, "is in the store's hands")


def remove(settings: NodeConfig, wanted: Errand, sender: Sender) -> None:
    """Remove what is left of a disk that the store has, unless a run needs it again."""
    directory = settings.instances_dir / wanted.instance
    if directory.exists():
        asked: dict[str, object] = {"removes": "now"}
        workspace = _own(settings, wanted, sender, asked)
        try:
            # Nobody can take the disk up between this word and its removal.
            sender.tell(asked)
            workspace.remove()
        finally:
            workspace.close()
    sender.tell({"removes": "done"})
    _say(wanted, "is removed: the store has it")


def _copied(settings: NodeConfig, wanted: Errand, number: int, sender: Sender) -> BinaryIO:
    """Return a copy of the disk, which has no name any more; the disk may be written again."""
    with contextlib.closing(_own(settings, wanted, sender)) as workspace:
        overlay, copy = workspace.path(OVERLAY), workspace.path(COPY.format(number))
        if not overlay.exists():
            raise CaptureError(NO_DISK)
        # From here on nobody writes to the disk; what the gateway knows of it settles the rest.
        sender.tell({"how": HOW, "begins": True})
        _say(wanted, "begins")
        try:
            disk.put_back(overlay, cache.entry(settings.cache_dir, wanted.image))
            with contextlib.closing(_base(settings, wanted, sender)):
                _flatten(overlay, copy, sender)
            return copy.open("rb")
        finally:
            copy.unlink(missing_ok=True)


def _own(
    settings: NodeConfig, wanted: Errand, sender: Sender, asked: dict[str, object] | None = None
) -> Workspace:
    """Lock the instance's directory, however long others have it and the errand is wanted.

    Others are whoever guards the instance, and a QEMU that nobody guards any more: the sweep, which
    ends that, needs the lock.
    """
    directory = settings.instances_dir / wanted.instance
    while directory.exists():
        workspace = Workspace.acquire(directory, settings.qemu_group, wait=False)
        if workspace is not None:
            if not _in_use(workspace):
                return workspace
            workspace.close()
        # A supervisor that has claimed its run: the gateway does not want it any more then.
        sender.tell(asked or {})
        time.sleep(PAUSE)
    raise CaptureError(NO_DISK)


def _in_use(workspace: Workspace) -> bool:
    try:
        return disk.in_use(workspace.path(OVERLAY))
    except BaseException:
        workspace.close()
        raise


def _base(settings: NodeConfig, wanted: Errand, sender: Sender) -> cache.UsedImage:
    """Return the image that the disk stands on, fetched where the cache has it no more."""
    with contextlib.closing(NodeLink(settings)) as link:
        try:
            return cache.fetch(settings, wanted.image, link, lambda: sender.say(HOW))
        except EndedError as error:
            raise CaptureError(error.message) from error
        except OSError as error:
            raise CaptureError(f"The image cannot be fetched: {error.strerror}.") from error


def _flatten(overlay: Path, copy: Path, sender: Sender) -> None:
    """Write a disk with what it stands on into one qcow2 that leans on nothing."""
    size = sending.needed(overlay)
    sending.check_room(copy.parent, size)
    deadline = time.monotonic() + SECONDS + size / SLOWEST
    limits = [f"--as={MEMORY}", f"--stack={STACK}", f"--cpu={1 + int(SECONDS + size / SLOWEST)}"]
    command = ["prlimit", *limits, "qemu-img", "convert", "-f", "qcow2", "-O", "qcow2"]
    process = subprocess.Popen(
        [*command, str(overlay), str(copy)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_VARIABLES,
        preexec_fn=end_with_parent,  # noqa: PLW1509 - this process has no other thread
    )
    try:
        _await(process, copy, deadline, sender)
    finally:
        process.kill()
        told = process.communicate()[1].decode(errors="replace").strip()
    if process.returncode:
        # Whoever asked has no business with the node's paths.
        told = told.replace(f"{copy.parent}/", "") or f"it ended with {process.returncode}"
        raise CaptureError(f"The disk could not be copied: {told}")


def _await(process: subprocess.Popen[bytes], copy: Path, deadline: float, sender: Sender) -> None:
    say = time.monotonic() + SAY_SECONDS
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_SECONDS)
            return
        sending.check_room(copy.parent, 0)
        now = time.monotonic()
        if now > deadline:
            raise CaptureError("The disk could not be copied in time.")
        if now > say:
            say = now + SAY_SECONDS
            sender.say(HOW)


def _say(wanted: Errand, text: str) -> None:
    sys.stderr.write(f"{wanted.instance} disk {text}\n")
