# SPDX-License-Identifier: Apache-2.0
"""Disks: the overlay that a guest writes to, and the look at an image before it is trusted.

An image is a tenant's file. A qcow2 header can name other files of the node as its backing or
data, so the header's own bytes are read before any QEMU program opens the file.
"""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
from typing import TYPE_CHECKING

from execnode.exits import DISK_FULL, DISK_MISSING, IMAGE_REFUSED, NODE_ERROR, EndedError
from execnode.workspace import BASE, FILE_MODE

if TYPE_CHECKING:
    from pathlib import Path

    from execnode.spec import Spec

INSPECT_SECONDS = 30
INSPECT_BYTES = 1024**3  # address space of qemu-img while it reads a stranger's header
_LOCKED = b"Is another process using the image"  # QEMU's hint, whatever it could not lock
_SECTOR = 512  # bytes; qemu-img makes disks of whole ones
_QCOW2_MAGIC = b"QFI\xfb"
_EXTERNAL_DATA = 1 << 2  # incompatible feature bit, docs/interop/qcow2.txt


def prepare(overlay: Path, base: Path, spec: Spec) -> None:
    """Make the first run's overlay; later runs have it, or have fetched it."""
    if spec.disk == "new":
        create_overlay(overlay, base, spec)
    if spec.disk != "kept":
        tie(overlay, base)


def create_overlay(overlay: Path, base: Path, spec: Spec) -> None:
    """Make the instance's empty qcow2 over base, which is not opened."""
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", spec.image.format, "-u"]
    command += ["-b", str(base), str(overlay), str(spec.disk_bytes)]
    run(command)
    overlay.chmod(FILE_MODE)


def create_empty(target: Path, size: int) -> None:
    """Make an empty qcow2 of a disk of so many bytes, for QEMU to write to."""
    target.unlink(missing_ok=True)
    run(["qemu-img", "create", "-q", "-f", "qcow2", str(target), str(size)])
    target.chmod(FILE_MODE)


def tie(overlay: Path, base: Path) -> None:
    """Keep the image that an overlay stands on from going before the overlay does.

    A second name beside the overlay keeps the bytes, whatever becomes of the cache's own. Where
    the file system has no such thing, the image can still be fetched again.
    """
    with contextlib.suppress(OSError):
        overlay.with_name(BASE).unlink(missing_ok=True)
        overlay.with_name(BASE).hardlink_to(base)


def expect(overlay: Path, base: Path) -> None:
    """End a run whose kept disk is gone; give the cache what it stands on."""
    if not overlay.exists():
        raise EndedError(DISK_MISSING)
    put_back(overlay, base)


def put_back(overlay: Path, base: Path) -> None:
    """Give the cache the image back that a kept overlay stands on, should it have gone there."""
    with contextlib.suppress(OSError):  # it is there, or must be fetched
        base.hardlink_to(overlay.with_name(BASE))


def run(command: list[str]) -> None:
    """Run a program that makes a file; its complaint ends the instance."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise EndedError(NODE_ERROR, f"{command[0]}: {error.strerror}.") from error
    if done.returncode:
        text = done.stderr.decode(errors="replace")
        full = "No space left" in text
        raise EndedError(DISK_FULL if full else NODE_ERROR, f"{command[0]}: {text}")


def inspect(image: Path, image_format: str) -> None:
    """Refuse an image that is not of its format or that leans on other files."""
    if image_format == "qcow2":
        _inspect_qcow2_header(image)
    try:
        done = _info(image, image_format)
    except subprocess.TimeoutExpired:
        raise EndedError(IMAGE_REFUSED, "qemu-img did not finish reading it.") from None
    except OSError as error:
        raise EndedError(NODE_ERROR, f"qemu-img: {error.strerror}.") from error
    if done.returncode:
        text = done.stderr.decode(errors="replace").replace(str(image), "the image")
        raise EndedError(IMAGE_REFUSED, text or f"qemu-img ended with {done.returncode}.")
    _inspect_answer(json.loads(done.stdout), image_format)


def in_use(overlay: Path) -> bool:
    """Whether a QEMU has the disk, by its own lock: one may outlive its supervisor.

    libvirtd forgets after a restart that a guest is to end with its supervisor's connection.
    """
    if not overlay.exists():
        return False
    try:
        done = _info(overlay, "qcow2")
    except subprocess.TimeoutExpired:
        return True  # it may be
    return done.returncode != 0 and _LOCKED in done.stderr


def _info(image: Path, image_format: str) -> subprocess.CompletedProcess[bytes]:
    """Have qemu-img, with bounded memory and time, say what it finds in the header."""
    command = ["prlimit", f"--as={INSPECT_BYTES}", f"--cpu={INSPECT_SECONDS}", "qemu-img", "info"]
    return subprocess.run(
        [*command, "--output=json", "-f", image_format, str(image)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=INSPECT_SECONDS,
        check=False,
    )


def _inspect_answer(info: dict[str, object], image_format: str) -> None:
    if info.get("format") != image_format:
        raise EndedError(IMAGE_REFUSED, f"It is not of format {image_format}.")
    if info.get("backing-filename") or info.get("full-backing-filename"):
        raise EndedError(IMAGE_REFUSED, "It has a backing file.")
    specific = info.get("format-specific")
    data = specific.get("data", {}) if isinstance(specific, dict) else {}
    if isinstance(data, dict) and data.get("data-file"):
        raise EndedError(IMAGE_REFUSED, "It has an external data file.")


def stand_on(overlay: Path, base: Path, spec: Spec) -> None:
    """Have an overlay that another node made stand on this node's image, and on nothing else.

    One that is larger than the instance's disk would take room that other guests were promised.
    """
    if _inspect_qcow2_header(overlay, backed=True) > -(-spec.disk_bytes // _SECTOR) * _SECTOR:
        raise EndedError(IMAGE_REFUSED, "It is larger than the instance's disk.")
    command = ["prlimit", f"--as={INSPECT_BYTES}", f"--cpu={INSPECT_SECONDS}", "qemu-img"]
    command += ["rebase", "-u", "-f", "qcow2", "-F", spec.image.format]
    run([*command, "-b", str(base), str(overlay)])


def _inspect_qcow2_header(image: Path, *, backed: bool = False) -> int:
    """Return the bytes of the disk in it."""
    with image.open("rb") as file:
        header = file.read(80)
    if len(header) < 72 or not header.startswith(_QCOW2_MAGIC):
        raise EndedError(IMAGE_REFUSED, "It is not of format qcow2.")
    version, backing_offset = struct.unpack_from(">IQ", header, 4)
    (size,) = struct.unpack_from(">Q", header, 24)
    if backing_offset and not backed:
        raise EndedError(IMAGE_REFUSED, "It has a backing file.")
    if version >= 3 and len(header) == 80:
        (incompatible,) = struct.unpack_from(">Q", header, 72)
        if incompatible & _EXTERNAL_DATA:
            raise EndedError(IMAGE_REFUSED, "It has an external data file.")
    return int(size)
