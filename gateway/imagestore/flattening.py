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


class StoredDisk(NamedTuple):
    """A disk in the store, and the image that it stands on: their SHA-256, the image's format."""

    sha256: str
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

    `limit` bounds its bytes, `tell` gets the percentage that is done. Raises
    :class:`~gateway.imagestore.headers.RefusedError` and
    :class:`~gateway.imagestore.store.StoreError`.
    """
    with (
        store.open(disk.sha256) as overlay,
        store.open(disk.base_sha256) as base,
        store.upload() as made,
    ):
        # The firmware's variables may come after it, for which no program looks.
        size = headers.read_overlay(overlay, store.size(disk.sha256)).virtual_size
        if size > limit:
            raise RefusedError(f"The instance's disk has {size} bytes; {limit} are allowed.")
        options = _read("qcow2", 0) | {"backing": _base(disk.base_format, base.fileno())}
        qemu_img.convert(Source(overlay, options, [base]), made.path, size, tell)
        made.adopt()
        yield made


def _base(image_format: str, descriptor: int) -> dict[str, Any]:
    # What was taken in leans on nothing; here it could not.
    nothing = {"backing": None} if image_format == "qcow2" else {}
    return _read(image_format, descriptor) | nothing


def _read(image_format: str, descriptor: int) -> dict[str, Any]:
    """Return what tells QEMU to read an open file as that format."""
    file = {"driver": "file", "filename": f"/proc/self/fd/{descriptor}", "locking": "off"}
    return {"driver": image_format, "read-only": True, "file": file}
