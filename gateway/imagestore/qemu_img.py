# SPDX-License-Identifier: Apache-2.0
"""qemu-img, confined: it parses what strangers wrote.

It gets the image as an open file to read and nothing else: as root, it runs as nobody in
namespaces of its own, without network, processes or privileges; in any case with limits on
memory, processor time, wall time and what it may write (nothing).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.imagestore.headers import RefusedError
from gateway.imagestore.uploads import StoreError, unheard
from gateway.processes import DIE_WITH_PARENT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import BinaryIO

MEMORY = 2**30  # bytes of address space
PROCESSOR_SECONDS = 10
WALL_SECONDS = 20.0
_STACK = 2**20  # bytes of each thread's; QEMU has up to 64 threads for a file
_NOBODY = "65534"
_SLOWEST = 4 * 2**20  # bytes of a disk that are converted in a second
_TABLES = 64 * 2**20  # bytes that a small qcow2 may have beside its disk's
_PROGRESS = re.compile(rb"\((\d+\.\d+)/100%\)")
_VARIABLES = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    # glibc takes 64 MiB of address space for each thread's own heap, until none of MEMORY is left.
    "MALLOC_ARENA_MAX": "1",
}
_TOLD = 300
# How its words end when a file of another machine is gone, or that machine.
_DISTANT = tuple(f"{os.strerror(number)}." for number in (errno.ESTALE, errno.ETIMEDOUT))
_LOOK = 1.0  # seconds between two questions whether the work is still wanted
# How it names what it was given, in its complaints: by all the options, or by the file.
_OPTIONS = re.compile(r"'json:\{.*\}'|json:\{.*\}|/proc/self/fd/\d+")


class QemuImgError(Exception):
    """qemu-img is missing or cannot be run here; the image is not to blame."""


class Source(NamedTuple):
    """A disk that is read: the file of it and QEMU's options, for which that is standard input.

    They may name the descriptors of the files ``below``.
    """

    image: BinaryIO
    options: Mapping[str, Any]
    below: Sequence[BinaryIO] = ()


class QemuImg:
    """The program: the host's own, else the one of a Debian root (the embedded pool's)."""

    def __init__(self, root: Path | None = None) -> None:
        if shutil.which("qemu-img"):
            self._root = Path("/")
        elif root is not None and (root / "usr/bin/qemu-img").exists():
            self._root = root
        else:
            raise QemuImgError("The program qemu-img is missing; apt-get install qemu-utils.")

    @property
    def is_confined(self) -> bool:
        """Whether it runs without the gateway's rights, files and network, not only with limits."""
        return bool(confinement(self._root))

    def info(
        self, image: BinaryIO, image_format: str, waits: Callable[[], object] = unheard
    ) -> dict[str, Any]:
        """Return what ``qemu-img info`` says; raises :class:`RefusedError` with its words.

        `waits` is called again and again meanwhile, here and below; what it raises ends the work.
        """
        done = self._run(image, "info", image_format, 0, waits)
        _refuse_failure("qemu-img refuses the image", done)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def check(
        self, image: BinaryIO, image_format: str, size: int, waits: Callable[[], object] = unheard
    ) -> int:
        """Raise :class:`RefusedError` when the tables of a disk of `size` bytes contradict.

        Clusters that lie behind the end of a cut file are found here, but for a part of the last
        one. Returns at which byte that ends; 0 for formats that have none.
        """
        done = self._run(image, "check", image_format, size, waits)
        _refuse_damage(done)
        return int(json.loads(done.stdout).get("image-end-offset", 0)) if done.stdout else 0

    def check_stack(self, source: Source, size: int, waits: Callable[[], object]) -> None:
        """Do what :meth:`check` does, of a disk of `size` bytes that stands on another one."""
        command = ("check", "--output=json", _named(source.options))
        _refuse_damage(self._spawn(source.image, command, source.below, size, waits))

    def measure(self, source: Source, size: int, waits: Callable[[], object]) -> int:
        """Return how many bytes :meth:`convert` writes at most of a disk of `size` bytes.

        It writes less where zeros were written. Raises :class:`RefusedError`.
        """
        command = ("measure", "--output=json", "-O", "qcow2", _named(source.options))
        done = self._spawn(source.image, command, source.below, size, waits)
        _refuse_failure("qemu-img refuses the image", done)
        return int(json.loads(done.stdout)["required"])

    def virtual_size(self, source: Source, waits: Callable[[], object]) -> int:
        """Return the bytes of the disk in a foreign image; raises :class:`RefusedError`."""
        command = ("info", "--output=json", _named(source.options))
        done = self._spawn(source.image, command, source.below, 0, waits)
        _refuse_failure("qemu-img refuses the image", done)
        return int(json.loads(done.stdout)["virtual-size"])

    def convert(self, source: Source, to: Path, size: int, tell: Callable[[float], None]) -> None:
        """Write a disk of `size` bytes as qcow2 over the file `to`.

        `tell` gets percentages, and its exceptions end the work. Raises :class:`RefusedError`.
        """
        seconds = WALL_SECONDS + size / _SLOWEST
        limits = _limits(int(seconds), size + size // 64 + _TABLES)
        with to.open("r+b") as target:
            # The directory is closed to others; who converts, as nobody, gets the open file.
            os.fchmod(target.fileno(), 0o666)
            command = ("convert", "-p", "-O", "qcow2", _named(source.options))
            process = subprocess.Popen(
                [
                    *(*DIE_WITH_PARENT, *limits, *confinement(self._root)),
                    *("qemu-img", *command, f"/proc/self/fd/{target.fileno()}"),
                ],
                stdin=source.image,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[target.fileno(), *(below.fileno() for below in source.below)],
                env=_VARIABLES,
            )
            timer = threading.Timer(seconds, process.kill)
            timer.start()
            try:
                _follow(process, tell)
                told = process.communicate()[1].decode(errors="replace")
            finally:
                timer.cancel()
                process.kill()
                process.communicate()
            os.fchmod(target.fileno(), 0o644)
        done = subprocess.CompletedProcess(command, process.returncode, "", told)
        _refuse_failure("The image cannot be converted", done)

    def _run(
        self,
        image: BinaryIO,
        command: str,
        image_format: str,
        size: int,
        waits: Callable[[], object],
    ) -> subprocess.CompletedProcess[str]:
        # The file is its standard input, which it opens again by name; -U: others may read too.
        options = ("--output=json", "-U", "-f", image_format, "/proc/self/fd/0")
        return self._spawn(image, (command, *options), (), size, waits)

    def _spawn(
        self,
        image: BinaryIO,
        command: tuple[str, ...],
        below: Sequence[BinaryIO],
        size: int,
        waits: Callable[[], object],
    ) -> subprocess.CompletedProcess[str]:
        # Tables are as long as the disk is large.
        more = size // _SLOWEST
        limits, seconds = _limits(PROCESSOR_SECONDS + more, 0), WALL_SECONDS + more
        end = time.monotonic() + seconds
        with subprocess.Popen(
            [*DIE_WITH_PARENT, *limits, *confinement(self._root), "qemu-img", *command],
            stdin=image,
            pass_fds=[one.fileno() for one in below],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_VARIABLES,
            text=True,
            errors="replace",
        ) as process:
            try:
                told = _waited_for(process, end, waits)
            finally:
                process.kill()
        if told is None:
            raise RefusedError(f"The image could not be read in {seconds:.0f} seconds.")
        return subprocess.CompletedProcess(command, process.returncode, *told)


def _waited_for(
    process: subprocess.Popen[str], end: float, waits: Callable[[], object]
) -> tuple[str, str] | None:
    """Return what a process said; None when it has not ended by then."""
    while time.monotonic() < end:
        waits()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_LOOK)
    return None


def _limits(processor_seconds: int, written: int) -> tuple[str, ...]:
    return (
        *("prlimit", f"--as={MEMORY}", f"--cpu={processor_seconds}", "--nofile=64"),
        *("--core=0", f"--stack={_STACK}", f"--fsize={written}", "--"),
    )


def _named(options: Mapping[str, Any]) -> str:
    return "json:" + json.dumps(options)


def _follow(process: subprocess.Popen[bytes], tell: Callable[[float], None]) -> None:
    """Read the progress that qemu-img shows, over itself in one line."""
    told = b""
    while process.stdout is not None and (data := os.read(process.stdout.fileno(), 4096)):
        told = (told + data)[-64:]
        if found := _PROGRESS.findall(told):
            tell(float(found[-1]))


@functools.cache
def confinement(root: Path) -> tuple[str, ...]:
    """Return the words before a command that take from it what the machine lets us take."""
    drop = (
        *("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"),
        *("--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--"),
    )
    namespaces = (
        *("unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child"),
        *("--mount-proc", f"--root={root}", "--wd=/", "--"),
    )
    if os.geteuid() == 0 and _works(*namespaces, *drop, "qemu-img", "--version"):
        return (*namespaces, *drop)
    if root == Path("/"):
        return ()
    raise QemuImgError(f"qemu-img in {root} cannot be run: that needs root and namespaces.")


def _works(*command: str) -> bool:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode == 0


def _words(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"it exceeded its limits (signal {-done.returncode})."
    lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no words"]
    said = _OPTIONS.sub("the image", lines[0].replace("qemu-img: ", ""))
    return said[:_TOLD].rstrip(".") + "."


def _refuse_failure(sentence: str, done: subprocess.CompletedProcess[str]) -> None:
    """Raise :class:`RefusedError` with a program's words, if it has failed."""
    if done.returncode == 0:
        return
    words = _words(done)
    if words.endswith(_DISTANT):
        # No image makes the kernel say so.
        raise StoreError(f"The image store cannot be used: {words.rpartition(': ')[2]}")
    raise RefusedError(f"{sentence}: {words}")


def _refuse_damage(done: subprocess.CompletedProcess[str]) -> None:
    # 0: consistent, 3: only leaked clusters, 63: the format has nothing to check (qemu-img(1))
    if done.returncode not in (0, 3, 63):
        _refuse_failure("The image is damaged or truncated", done)
