# SPDX-License-Identifier: Apache-2.0
"""The node's image cache: ``cache/<sha256>.<format>``, complete and checked or not there.

However many supervisors wait for an image, one downloads it: they queue on a lock file. Whoever
uses an image holds a shared lock on the file itself, and only who gets its exclusive lock may
remove it. The format is in the name because a file that was found harmless as one format says
nothing about the other.
"""

from __future__ import annotations

import contextlib
import errno
import os
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, BinaryIO

from execnode import counts, disk, locks
from execnode.exits import DISK_FULL, GATEWAY_UNREACHABLE, IMAGE_CHECKSUM, IMAGE_MISSING, EndedError
from execnode.link import LinkError, NoSuchError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from execnode.config import NodeConfig
    from execnode.link import NodeLink
    from execnode.spec import Image

TRIES = 3
CHUNK = 1024 * 1024
PATIENCE = 60.0  # seconds without a byte, after which a download is given up
PAUSE = 1.0  # seconds between two tries: with PATIENCE, it bounds their number
ORPHAN_SECONDS = 3600.0


class UsedImage:
    """An image that nobody removes while this object, or the process, lives."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    def close(self) -> None:
        """Let the image go; it is the most recently used one then."""
        _touch(self.path)
        os.close(self._lock)


def entry(cache_dir: Path, image: Image) -> Path:
    """Return where an image is, or would be."""
    return cache_dir / f"{image.sha256}.{image.format}"


def complete(cache_dir: Path) -> list[Path]:
    """List the files of the complete images."""
    split = ((path, path.name.split(".")) for path in cache_dir.iterdir())
    return [path for path, n in split if len(n) == 2 and n[1] in {"raw", "qcow2"}]


def cached(cache_dir: Path) -> list[str]:
    """List the checksums of the complete images, each once."""
    return sorted({path.stem for path in complete(cache_dir)})


def fetch(
    settings: NodeConfig, image: Image, link: NodeLink, on_download: Callable[[], None]
) -> UsedImage:
    """Return the image, after downloading it if nobody has; may wait for others."""
    cache_dir = settings.cache_dir
    wanted = entry(cache_dir, image)
    if used := use(wanted):
        counts.add(settings.cache_dir, hits=1)
        return used
    downloaded = False
    with locks.alone(cache_dir / f"{image.sha256}.lock"):
        if not (used := use(wanted)):
            on_download()
            counts.add(settings.cache_dir, misses=1)
            try:
                used = _download(settings, image, link)
            except OSError as error:
                if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                    raise EndedError(DISK_FULL, f"The image needs {image.size} bytes.") from error
                raise
            downloaded = True
    if not downloaded:  # somebody else's download was waited for
        counts.add(settings.cache_dir, hits=1)
    return used


def use(path: Path) -> UsedImage | None:
    """Keep a complete image from being removed; None when it is not there."""
    try:
        lock = locks.acquire(path, locks.SHARED)
    except FileNotFoundError:
        return None
    assert lock is not None  # noqa: S101 - it waits
    _touch(path)
    return UsedImage(path, lock)


def _touch(path: Path) -> None:
    with contextlib.suppress(OSError):  # an administrator's own file keeps its time
        os.utime(path)


def _download(settings: NodeConfig, image: Image, link: NodeLink) -> UsedImage:
    from execnode import eviction  # noqa: PLC0415 - not needed when the image is cached

    cache_dir = settings.cache_dir
    part = cache_dir / f"{image.sha256}.{image.format}.part"
    try:
        with part.open("wb") as file:
            eviction.reserve(settings, file, image.size)
            for _ in range(TRIES):
                if _counted(settings, file, image, link) == image.sha256:
                    break
            else:
                raise EndedError(IMAGE_CHECKSUM, f"{image.id} was downloaded {TRIES} times.")
        disk.inspect(part, image.format)
        part.chmod(0o440)
        # Used before it can be found: others that need room must not take it from who fetched it.
        lock = locks.acquire(part, locks.SHARED)
        assert lock is not None  # noqa: S101 - it waits
        try:
            part.rename(entry(cache_dir, image))
            _sync_directory(cache_dir)
        except BaseException:
            os.close(lock)
            raise
        return UsedImage(entry(cache_dir, image), lock)
    finally:
        part.unlink(missing_ok=True)


def _counted(settings: NodeConfig, file: BinaryIO, image: Image, link: NodeLink) -> str:
    """Download an image and count what came of it, however that ends."""
    began = monotonic()
    try:
        return stream(file, image.path, image.size, link)
    finally:
        counts.add(
            settings.cache_dir,
            downloaded_bytes=file.tell(),
            download_seconds=monotonic() - began,
        )


def stream(file: BinaryIO, path: str, size: int, link: NodeLink) -> str:
    """Download so many bytes from the beginning and return the sha256 of what came, in hex.

    What the gateway cuts is gone on with, until no byte has come for PATIENCE seconds.
    """
    from execnode.intake import Intake  # noqa: PLC0415 - not needed when the image is cached

    file.seek(0)
    received = 0
    deadline = monotonic() + PATIENCE
    with Intake(file) as intake:
        while received < size:
            trouble = f"The download was cut after {received} of {size} bytes."
            try:
                for chunk in link.image(path, CHUNK, received):
                    received += len(chunk)
                    if received > size:
                        return ""
                    intake.add(chunk)
                    deadline = monotonic() + PATIENCE
            except NoSuchError as error:
                raise EndedError(IMAGE_MISSING, str(error)) from error
            except LinkError as error:
                trouble = str(error)
            if received < size:
                intake.check()
                if monotonic() > deadline:
                    raise EndedError(GATEWAY_UNREACHABLE, trouble)
                sleep(PAUSE)
        return intake.finish()


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(cache_dir: Path) -> None:
    """Remove what downloads that were killed left: parts and lock files that nobody holds."""
    for path in cache_dir.glob("*.lock"):
        with contextlib.suppress(FileNotFoundError):  # its holder was faster
            lock = locks.acquire(path, locks.EXCLUSIVE, flags=os.O_RDWR, wait=False)
            if lock is None:
                continue
            try:
                for part in cache_dir.glob(f"{path.stem}.*.part"):
                    part.unlink()
                path.unlink()
            finally:
                os.close(lock)
    for part in cache_dir.glob("*.part"):  # somebody removed its lock file
        with contextlib.suppress(FileNotFoundError):
            locked = (cache_dir / f"{part.name.split('.')[0]}.lock").exists()
            if not locked and time() - part.stat().st_mtime > ORPHAN_SECONDS:
                part.unlink()
