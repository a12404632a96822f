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
    from pathlib import Path

    from execnode.config import NodeConfig

PIECE = 4 * 1024**2  # bytes; the gateway takes up to 12 MiB at once
SAY_SECONDS = 30.0  # how often the gateway hears that a copy goes on
PATIENCE = 600.0  # how long the gateway, or libvirtd, may be away
PAUSE = 1.0
# A copy gives way to what guests write: at so few free bytes it is given up.
ROOM_BYTES = 512 * 1024**2
ENDED = "The guest ended."


class CaptureError(Exception):
    """There will be no copy; the text is a sentence for whoever asked."""


class Sender:
    """Tells the gateway of one capture, and sends it."""

    def __init__(self, settings: NodeConfig, number: int) -> None:
        self._link = NodeLink(settings)
        self._number = number

    def ask(self, closing: threading.Event) -> None:
        """Ask whether it is wanted; raises NoSuchError when nobody wants it."""
        self.tell({}, closing)

    def tell(self, said: dict[str, object], closing: threading.Event) -> int:
        """Say something that must be heard; return how many bytes of the copy are there."""
        deadline = time.monotonic() + PATIENCE
        while not closing.is_set():
            try:
                return self._link.report_capture(self._number, said)
            except NoSuchError:
                raise
            except LinkError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE)
        raise CaptureError(ENDED)

    def say(self, how: str) -> None:
        """Say that the copy goes on; raises NoSuchError when nobody wants it, and only that."""
        try:
            self._link.report_capture(self._number, {"how": how})
        except NoSuchError:
            raise
        except LinkError:
            pass  # it will hear of it later

    def fail(self, reason: str) -> None:
        """Say why there will be none."""
        self._link.report_capture(self._number, {"error": reason})

    def send(self, copy: BinaryIO, how: str, closing: threading.Event) -> None:
        """Send the copy piece by piece, from where the gateway has it, with its checksum."""
        size = os.fstat(copy.fileno()).st_size
        sha256 = hashlib.sha256()
        copy.seek(0)
        while data := copy.read(PIECE):
            sha256.update(data)
        whole = {"how": how, "size": size, "sha256": sha256.hexdigest()}
        here = 0
        deadline = time.monotonic() + PATIENCE
        while not closing.is_set():
            try:
                if here == size:
                    here = self._link.report_capture(self._number, whole)
                    if here == size:
                        return
                else:
                    copy.seek(here)
                    here = self._link.send_capture(self._number, copy.read(PIECE), here, size)
                deadline = time.monotonic() + PATIENCE
            except NoSuchError:
                raise
            except LinkError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE)
        raise CaptureError(ENDED)

    def close(self) -> None:
        """Close the connection."""
        self._link.close()


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
