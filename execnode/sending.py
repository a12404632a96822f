# SPDX-License-Identifier: Apache-2.0
"""Sends a copy of an instance's disk to the gateway, and looks whether there is room for one."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from typing import TYPE_CHECKING, BinaryIO

from execnode import disk
from execnode.link import LinkError, NodeLink, NoSuchError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from execnode.config import NodeConfig

PIECE = 4 * 1024**2  # bytes; the gateway takes up to 12 MiB at once
SAY_SECONDS = 30.0  # how often the gateway hears that a copy goes on
PATIENCE = 600.0  # how long the gateway, or libvirtd, may be away
PAUSE = 1.0
# A copy gives way to what guests write: at so few free bytes it is given up.
ROOM_BYTES = 512 * 1024**2
ENDED = "The guest ended."
CAPTURES, PARKINGS = "captures", "parkings"
"""What copies are for: images, and the store's own keeping of a stopped instance's disk."""


class CaptureError(Exception):
    """There will be no copy; the text is a sentence for whoever asked."""


class Parcel:
    """Files that are sent one after the other as one; they must not change meanwhile."""

    def __init__(self, *files: BinaryIO) -> None:
        self._files = [(file, os.fstat(file.fileno()).st_size) for file in files]
        self.size = sum(size for _, size in self._files)

    def read(self, begin: int, count: int) -> bytes:
        """Return up to so many bytes from there on; none only at the end."""
        for file, size in self._files:
            if begin < size:
                file.seek(begin)
                return file.read(min(count, size - begin))
            begin -= size
        return b""

    def sha256(self) -> str:
        """Return the checksum of all of it, in hex."""
        digest = hashlib.sha256()
        done = 0
        while data := self.read(done, PIECE):
            digest.update(data)
            done += len(data)
        return digest.hexdigest()


class Sender:
    """Tells the gateway of one copy of a disk, and sends it."""

    def __init__(self, settings: NodeConfig, number: int, kind: str = CAPTURES) -> None:
        """Speak of the number of that kind, :data:`CAPTURES` or :data:`PARKINGS`."""
        self._link = NodeLink(settings)
        self._path = f"/v1/{kind}/{number}"

    def ask(self, closing: threading.Event | None = None) -> None:
        """Ask whether it is wanted; raises NoSuchError when nobody wants it."""
        self.tell({}, closing)

    def tell(self, said: dict[str, object], closing: threading.Event | None = None) -> int:
        """Say something that must be heard; return how many bytes of the copy are there."""
        return self._insist(lambda: self._link.report_copy(self._path, said), closing)

    def say(self, how: str) -> None:
        """Say that the copy goes on; raises NoSuchError when nobody wants it, and only that."""
        try:
            self._link.report_copy(self._path, {"how": how})
        except NoSuchError:
            raise
        except LinkError:
            pass  # it will hear of it later

    def fail(self, reason: str) -> None:
        """Say why there will be none."""
        self._link.report_copy(self._path, {"error": reason})

    def send(
        self, copy: Parcel, said: dict[str, object], closing: threading.Event | None = None
    ) -> None:
        """Send the copy piece by piece, from where the gateway has it, and then what it is."""
        whole = said | {"size": copy.size, "sha256": copy.sha256()}
        here = 0

        def go_on() -> int:
            if here == copy.size:
                return self._link.report_copy(self._path, whole)
            piece = copy.read(here, PIECE)
            return self._link.send_copy(self._path, piece, here, copy.size)

        while True:
            told = here == copy.size
            here = self._insist(go_on, closing)
            if told and here == copy.size:
                return

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def _insist(self, work: Callable[[], int], closing: threading.Event | None) -> int:
        """Do it until the gateway has answered, or was away for too long."""
        deadline = time.monotonic() + PATIENCE
        while closing is None or not closing.is_set():
            try:
                return work()
            except NoSuchError:
                raise
            except LinkError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE)
        raise CaptureError(ENDED)


def check_room(directory: Path, needed: int) -> None:
    """Raise CaptureError where so many bytes more would leave too little for what guests write."""
    room = os.statvfs(directory)
    if needed + ROOM_BYTES > room.f_bavail * room.f_frsize:
        raise CaptureError("The node's disk has no room for a copy.")


def needed(overlay: Path) -> int:
    """Return the bytes that a copy of a disk needs, about: a guest may write on meanwhile."""
    command = ["prlimit", f"--as={disk.INSPECT_BYTES}", f"--cpu={disk.INSPECT_SECONDS}"]
    command += ["qemu-img", "measure", "-U", "--output=json", "-f", "qcow2", "-O", "qcow2"]
    done = subprocess.run(
        [*command, str(overlay)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=disk.INSPECT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise CaptureError("The disk's size cannot be measured.")
    return int(json.loads(done.stdout)["required"])
