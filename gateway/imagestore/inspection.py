# SPDX-License-Identifier: Apache-2.0
"""Looks at an image before it is trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.imagestore import headers, last_cluster, partitions
from gateway.imagestore.headers import RefusedError
from gateway.imagestore.uploads import unheard

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.imagestore.qemu_img import QemuImg


class ImageFacts(NamedTuple):
    """What is known of an image that passed; sizes in bytes."""

    format: str  # "qcow2" or "raw"
    size: int
    virtual_size: int


def inspect(
    file: Path, qemu_img: QemuImg, size_limit: int, waits: Callable[[], object] = unheard
) -> ImageFacts:
    """Return an image's facts, or raise :class:`~gateway.imagestore.headers.RefusedError`.

    Nothing but `file` is read. `size_limit` bounds the file and the disk in it. `waits` is called
    again and again meanwhile; what it raises ends the work.
    """
    size = file.stat().st_size
    with file.open("rb") as image:
        header = headers.read(image, size)
        if max(size, header.virtual_size) > size_limit:
            raise RefusedError(
                f"The image's disk has {header.virtual_size} bytes; {size_limit} are allowed."
            )
        told = qemu_img.info(image, header.format, waits)
        # The second opinion: what qemu-img would follow or cannot open is refused as well.
        if told.get("format") != header.format:
            raise RefusedError(f"qemu-img takes the image for {told.get('format')}.")
        specific = told.get("format-specific", {}).get("data", {})
        if "backing-filename" in told or "data-file" in specific or told.get("encrypted"):
            raise RefusedError("The image depends on another file; only whole images can be used.")
        if told["virtual-size"] != header.virtual_size:
            raise RefusedError("The image's header and qemu-img disagree about the disk's size.")
        end = qemu_img.check(image, header.format, header.virtual_size, waits)
        if header.format == "qcow2":
            last_cluster.check(image, size, end, waits)
        elif (end := partitions.end(image, size)) > size:
            raise RefusedError(
                f"The image is truncated: it has {size} bytes, and its partitions end at {end}."
                f" Should nothing be missing, truncate -s {end} makes it so long."
            )
    return ImageFacts(header.format, size, header.virtual_size)
