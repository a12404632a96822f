# SPDX-License-Identifier: Apache-2.0
"""Makes a disk in another program's format, or out of an OVA, one that is used here: once."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, BinaryIO

from gateway.imagestore import formats, headers, ova
from gateway.imagestore.headers import RefusedError
from gateway.imagestore.qemu_img import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.imagestore.qemu_img import QemuImg
    from gateway.imagestore.store import ImageStore, Upload

OVA = "ova"
NAMES = ("qcow2", "raw", *formats.DRIVERS, OVA)
"""What may be imported."""

_SPELLED = {"tar": OVA}


def look_early(
    file: BinaryIO, whole: int | None, *, converts: bool, said: str | None, limit: int
) -> None:
    """Refuse by its first bytes a file whose rest, not here yet, could not make it any better.

    It will have `whole` bytes, if that is known; the rest is as in :func:`usable`.
    """
    kind = _spelled(headers.first_kind(file))
    if kind == "raw" and converts and said in {None, "vhd"}:
        return  # a vhd may have its mark at its end
    _check_said(said, kind)
    if not (converts and kind in (*formats.DRIVERS, OVA)):
        _check_size(headers.read_first(file, whole).virtual_size, limit)


@contextlib.contextmanager
def usable(  # noqa: PLR0913 - from what to what, with what, how large, telling whom
    upload: Upload,
    *,
    said: str | None,
    store: ImageStore,
    qemu_img: QemuImg,
    limit: int,
    tell: Callable[[float], None],
) -> Iterator[Upload]:
    """Give the upload, or another one with what it was made into; nothing of it is trusted yet.

    `said` is the format that its owner says it has, None for whatever it has; `tell` gets the
    percentage that is converted, and what it raises ends the work.

    Raises :class:`~gateway.imagestore.headers.RefusedError`.
    """

    def waits() -> None:
        tell(0.0)

    with upload.path.open("rb") as file, contextlib.ExitStack() as held:
        kind = _kind(file, upload.size)
        _check_said(said, kind)
        if kind == OVA:
            disk = ova.first_disk(file)
            _check_size(disk.size, limit)
            inner = held.enter_context(store.upload(disk.size))
            for chunk in disk.chunks(file):
                waits()
                inner.write(chunk)
            inner.flush()
            file = held.enter_context(inner.path.open("rb"))  # noqa: PLW2901 - what goes on
            upload, kind = inner, _kind(file, inner.size)
            if kind == OVA:
                raise RefusedError("The OVA's disk is an archive itself.")
        if kind not in formats.DRIVERS:
            # qcow2 and raw are good as they are, and the rest has no use here: inspection says so.
            yield upload
            return
        formats.check(file, upload.size, kind, limit)
        source = Source(file, formats.source(kind))
        size = qemu_img.virtual_size(source, waits)
        _check_size(size, limit)
        qemu_img.check_stack(source, size, waits)
        required = qemu_img.measure(source, size, waits)
        made = held.enter_context(store.upload(required))
        qemu_img.convert(source, made.path, size, tell)
        made.adopt()
        yield made


def _kind(file: BinaryIO, size: int) -> str:
    return _spelled(headers.kind(file, size))


def _spelled(kind: str) -> str:
    return _SPELLED.get(kind, kind)


def _check_said(said: str | None, kind: str) -> None:
    if said is not None and said != kind:
        raise RefusedError(f"The image is said to be {said} and has the format {kind}.")


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise RefusedError(f"The image's disk has {size} bytes; {limit} are allowed.")
