# SPDX-License-Identifier: Apache-2.0
"""Makes one image of a stopped instance's disk in the store and of the image that it stands on.

The disk was sent by a node, and the name of its backing file with it. qemu-img is told what it
stands on instead, so that no name in it is looked up.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.imagestore import headers
from gateway.imagestore.headers import RefusedError
from gateway.imagestore.qemu_img import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.imagestore.qemu_img import QemuImg
    from gateway.imagestore.store import ImageStore, Upload


_SECTOR = 512


class StoredDisk(NamedTuple):
    """A disk in the store, and the image that it stands on."""

    sha256: str
    size: int
    """how many of the file's first bytes are the disk; the firmware's variables come after it"""
    virtual_size: int
    """bytes that the instance's guest sees"""
    base_sha256: str
    base_format: str


@contextlib.contextmanager
def whole(
    disk: StoredDisk,
    *,
    store: ImageStore,
    qemu_img: QemuImg,
    limit: int,
    tell: Callable[[float], None],
) -> Iterator[Upload]:
    """Give an upload of the disk that leans on nothing.

    `limit` bounds its bytes, `tell` gets the percentage that is done, from the first step on; what
    it raises ends the work. Raises :class:`~gateway.imagestore.headers.RefusedError` and
    :class:`~gateway.imagestore.store.StoreError`.
    """

    def waits() -> None:
        tell(0.0)

    with store.open(disk.sha256, waits) as overlay, store.open(disk.base_sha256, waits) as base:
        size = headers.read_overlay(overlay, disk.size).virtual_size
        if size > limit:
            raise RefusedError(f"The instance's disk has {size} bytes; {limit} are allowed.")
        if size != _sectors(disk.virtual_size):
            had = disk.virtual_size
            raise RefusedError(f"The disk has {size} bytes, and the instance's had {had}.")
        options = _read("qcow2", _first(disk.size)) | {"backing": _base(disk, base.fileno())}
        source = Source(overlay, options, [base])
        # Of what is damaged qemu-img would make something that is not.
        qemu_img.check_stack(source, size, waits)
        with store.upload(qemu_img.measure(source, size, waits)) as made:
            qemu_img.convert(source, made.path, size, tell)
            made.adopt()
            yield made


def _base(disk: StoredDisk, descriptor: int) -> dict[str, Any]:
    # What was taken in leans on nothing; here it could not.
    nothing = {"backing": None} if disk.base_format == "qcow2" else {}
    return _read(disk.base_format, _file(descriptor)) | nothing


def _read(image_format: str, file: dict[str, Any]) -> dict[str, Any]:
    """Return what tells QEMU to read a file as that format."""
    return {"driver": image_format, "read-only": True, "file": file}


def _file(descriptor: int) -> dict[str, Any]:
    return {"driver": "file", "filename": f"/proc/self/fd/{descriptor}", "locking": "off"}


def _first(size: int) -> dict[str, Any]:
    """Return what tells QEMU to see no more than so many bytes of its standard input."""
    return {"driver": "raw", "size": _sectors(size), "file": _file(0)}


def _sectors(size: int) -> int:
    """Return a number of bytes that is one of whole sectors."""
    return -(-size // _SECTOR) * _SECTOR
