# SPDX-License-Identifier: Apache-2.0
"""Flavors: the sizes that an instance can have, from the packaged table and the administrator's."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGED = Path(__file__).parent.parent / "flavors.toml"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LIMITS = {"vcpus": 1024, "memory_mib": 64 * 2**20}


class FlavorsError(Exception):
    """A table of flavors that cannot be understood; the text is one sentence."""


class Flavor(NamedTuple):
    """A size: virtual CPUs and memory in MiB."""

    name: str
    vcpus: int
    memory_mib: int


def load(types_file: str | Path = "") -> dict[str, Flavor]:
    """Return the flavors by name: the packaged ones, and over them those of ``types_file``."""
    flavors = _read(PACKAGED)
    if str(types_file):
        flavors |= _read(Path(types_file))
    return flavors


def _read(path: Path) -> dict[str, Flavor]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FlavorsError(f"Instance types file {path}: {error}") from error
    return {name: _flavor(path, name, entry) for name, entry in table.items()}


def _flavor(path: Path, name: str, entry: object) -> Flavor:
    here = f"Instance types file {path}, type {name!r}"
    if not _NAME.fullmatch(name):
        raise FlavorsError(f"{here}: a name has letters, digits, dots, dashes and underscores.")
    if not isinstance(entry, dict):
        raise FlavorsError(f'{here}: write it as a table, ["{name}"], in quotation marks.')
    if entry.keys() != _LIMITS.keys():
        raise FlavorsError(f"{here}: it needs vcpus and memory_mib and nothing else.")
    return Flavor(name, _number(here, "vcpus", entry), _number(here, "memory_mib", entry))


def _number(here: str, name: str, entry: Mapping[str, object]) -> int:
    value = entry[name]
    if type(value) is not int or not 1 <= value <= _LIMITS[name]:
        raise FlavorsError(f"{here}: {name} must be a whole number from 1 to {_LIMITS[name]}.")
    return value
