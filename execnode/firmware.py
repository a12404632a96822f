# SPDX-License-Identifier: Apache-2.0
"""Whether the node has firmware that boots a guest by UEFI.

Firmware is described by JSON files, which libvirt reads too when it chooses one for a domain
(https://www.qemu.org/docs/master/interop/firmware.html). This looks for what our domains ask of
it: variables in flash of their own, a machine of our kind, no Secure Boot.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

DESCRIPTORS = (Path("/usr/share/qemu/firmware"), Path("/etc/qemu/firmware"))
"""A file of a later directory takes the place of one of the same name."""

ARCHITECTURE = "x86_64"
MACHINE = "pc-i440fx-10.0"
"""Stands for every version of the machine ``pc``."""

_UNWANTED = {"secure-boot", "requires-smm", "enrolled-keys"}


def has_uefi(directories: Iterable[Path] = DESCRIPTORS) -> bool:
    """Return whether there is UEFI firmware that fits; what cannot be read is none."""
    files = {file.name: file for place in directories for file in place.glob("*.json")}
    return any(_fits(file) for file in files.values())


def _fits(file: Path) -> bool:
    try:
        return _describes(json.loads(file.read_text()))
    # Whoever wrote the file, it is no reason to offer nothing.
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _describes(firmware: dict[str, Any]) -> bool:
    flash = firmware["mapping"]
    return (
        "uefi" in firmware["interface-types"]
        and flash["device"] == "flash"
        and flash.get("mode", "split") == "split"
        and not _UNWANTED.intersection(firmware["features"])
        and any(_targets(target) for target in firmware["targets"])
        and all(
            Path(flash[part]["filename"]).is_file() for part in ("executable", "nvram-template")
        )
    )


def _targets(target: dict[str, Any]) -> bool:
    machines = target["machines"]
    return target["architecture"] == ARCHITECTURE and any(
        fnmatchcase(MACHINE, pattern) for pattern in machines
    )
