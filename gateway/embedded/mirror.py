# SPDX-License-Identifier: Apache-2.0
"""Debian trees built from the machine's own apt configuration.

Nothing here names a host: the archive, its keys, proxies and certificates are those that
the administrator gave to apt.  ``mmdebstrap`` does the work.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Progress = Callable[[float, str], None]

# What of apt's configuration a download may depend on; the rest belongs to the host alone.
_PASSED_ON = (
    "Acquire::http",
    "Acquire::https",
    "Acquire::ftp",
    "Acquire::Retries",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
    "Acquire::ForceIPv4",
    "Acquire::ForceIPv6",
    "Acquire::Queue-Mode",
)
# Trees that nobody logs into have no use for these: a fifth of the bytes and seconds.
_DPKG_OPTIONS = (
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
)
_SUITE_SUFFIXES = ("", "-updates", "-security")
_TAIL = 40


class MirrorError(Exception):
    """A Debian tree cannot be had; the text says why and what to do."""


@dataclass(frozen=True)
class Source:
    """One line of apt's sources: an archive and which of a suite's parts it carries."""

    uri: str
    suffix: str  # "", "-updates" or "-security": what follows the suite's name
    signed_by: str  # path of the keyring that the host demands for it; "" for apt's own

    def line(self, suite: str) -> str:
        """Say it for a suite, as ``sources.list`` spells it."""
        option = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {option}{self.uri} {suite}{self.suffix} main"


@dataclass(frozen=True)
class Mirror:
    """The machine's Debian archive and how apt reaches it."""

    sources: tuple[Source, ...]
    options: tuple[str, ...]  # apt.conf lines

    def lines(self, suite: str) -> list[str]:
        """List the sources for a suite."""
        return [source.line(suite) for source in self.sources]


def debian_mirror() -> Mirror:
    """Read the machine's apt configuration; :class:`MirrorError` when it has no Debian in it."""
    listing = _output(
        "apt-get",
        "indextargets",
        "--format",
        "$(ORIGIN)|$(COMPONENT)|$(RELEASE)|$(REPO_URI)|$(SOURCESENTRY)",
        "Created-By: Packages",
    )
    return Mirror(
        sources=tuple(_sources(listing.splitlines())),
        options=tuple(_options(_output("apt-config", "dump").splitlines())),
    )


def _sources(lines: Iterable[str]) -> list[Source]:
    found: dict[str, Source] = {}
    for line in lines:
        origin, component, release, uri, entry = line.split("|", 4)
        # Before the first `apt-get update` the origin is not known and the field is as asked for.
        if component != "main" or origin not in ("Debian", "$(ORIGIN)"):
            continue
        suffix = "".join(release.partition("-")[1:])
        if suffix in _SUITE_SUFFIXES and suffix not in found:
            found[suffix] = Source(uri.rstrip("/"), suffix, _signed_by(entry, uri))
    if "" not in found:
        raise MirrorError(
            "This machine's apt has no Debian archive among its sources; add one "
            "(component main of any release) and run apt-get update."
        )
    return [found[suffix] for suffix in _SUITE_SUFFIXES if suffix in found]


def _signed_by(entry: str, uri: str) -> str:
    """Return the keyring file that a sources entry (``file:number``) demands, or ""."""
    file, _, _ = entry.rpartition(":")
    try:
        text = Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    separator = r"\n\s*\n" if file.endswith(".sources") else r"\n"
    for stanza in re.split(separator, text):
        if uri.rstrip("/") in stanza:
            key = re.search(r"signed-by\s*[:=]\s*(/[^\s\],]+)", stanza, re.IGNORECASE)
            if key:
                return key[1]
    return ""


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise MirrorError(
            f"The program {command[0]} is missing; this needs a Debian machine."
        ) from None
    except subprocess.CalledProcessError as error:
        raise MirrorError(f"{' '.join(command[:2])} failed: {error.stderr.strip()}") from error


def _options(dump: Iterable[str]) -> list[str]:
    options = ['Acquire::Languages "none";', 'APT::Install-Recommends "false";']
    for line in dump:
        name = line.partition(" ")[0]
        if any(name == given or name.startswith(f"{given}::") for given in _PASSED_ON):
            options.append(line)
    for name in ("netrc", "netrcparts"):
        path = Path("/etc/apt") / {"netrc": "auth.conf", "netrcparts": "auth.conf.d"}[name]
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            options.append(f'Dir::Etc::{name} "{path}";')
    return options


def bootstrap(  # noqa: PLR0913 - mmdebstrap's own arguments
    target: Path,
    suite: str,
    packages: Sequence[str],
    variant: str,
    progress: Progress,
    *,
    extra: Sequence[str] = (),
) -> None:
    """Build a Debian tree in the directory `target`, which appears whole or not at all.

    `variant` is mmdebstrap's (``extract`` unpacks only, ``apt`` and ``essential`` install);
    `extra` are more arguments for it, such as hooks.  `progress` gets a fraction from 0 to 1
    and what is being done.  Needs root.  Raises :class:`MirrorError` with apt's last lines.
    An older `target` is replaced.
    """
    mirror = debian_mirror()
    if shutil.which("mmdebstrap") is None:
        raise MirrorError("The program mmdebstrap is missing; apt-get install mmdebstrap.")
    target.parent.mkdir(parents=True, exist_ok=True)
    for stale in target.parent.glob(f".{target.name}.*.partial"):
        shutil.rmtree(stale)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    command = [
        # An ended parent takes the build, and the mounts that belong to it, along.
        *("setpriv", "--pdeathsig", "TERM", "--"),
        *("mmdebstrap", "--verbose", f"--variant={variant}", f"--include={','.join(packages)}"),
        *(f"--aptopt={option}" for option in mirror.options),
        *(f"--dpkgopt={option}" for option in _DPKG_OPTIONS),
        *extra,
        *("--format=directory", suite, str(partial), *mirror.lines(suite)),
    ]
    try:
        _run(command, _Meter(progress, suite))
        _replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    progress(1.0, f"Debian {suite} is ready")


def _run(command: Sequence[str], meter: _Meter) -> None:
    tail: deque[str] = deque(maxlen=_TAIL)
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        umask=0o022,
        text=True,
        errors="replace",
    ) as process:
        try:
            for line in process.stdout or ():
                tail.append(line.rstrip())
                meter.read(line)
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        raise MirrorError(f"mmdebstrap failed ({process.returncode}):\n" + "\n".join(tail))


def _replace(partial: Path, target: Path) -> None:
    if target.exists():
        old = target.with_name(f".{target.name}.{os.getpid()}.old.partial")
        target.rename(old)
        partial.rename(target)
        shutil.rmtree(old)
    else:
        partial.rename(target)


class _Meter:
    """Turns the lines of apt and dpkg into a fraction that never goes back."""

    # share of the time at which each stage ends, as measured
    _INDEX, _DOWNLOAD = 0.2, 0.4

    def __init__(self, progress: Progress, suite: str) -> None:
        self._progress = progress
        self._suite = suite
        self._packages = 1
        self._fetched = self._unpacked = self._configured = 0
        self._indexed = False
        progress(0.0, f"reading the package lists of Debian {suite}")

    def read(self, line: str) -> None:
        """Take one line of output."""
        if line.startswith("I: downloading packages"):
            self._indexed = True
        elif found := re.search(r"(\d+) newly installed", line):
            self._packages = max(self._packages, int(found[1]))
        elif line.startswith("Get:") and self._indexed:
            self._fetched += 1
            self._tell(f"downloading package {self._fetched} of {self._packages}")
        elif line.startswith(("Unpacking ", "I: extracting")):
            self._unpacked += 1
            self._tell("unpacking packages")
        elif line.startswith("Setting up "):
            self._configured += 1
            name = line.split()[2]
            self._tell(f"setting up {name}")

    def _tell(self, what: str) -> None:
        steps = min(1.0, (self._unpacked + self._configured) / (2 * self._packages))
        fetched = min(1.0, self._fetched / self._packages)
        share = self._INDEX + (self._DOWNLOAD - self._INDEX) * fetched
        with contextlib.suppress(BrokenPipeError):
            self._progress(share + (1 - self._DOWNLOAD) * steps, what)
