# SPDX-License-Identifier: Apache-2.0
"""What becomes of each member of an action's input, by dotted path (``Placement.Tenancy``).

A path leads to a leaf: a plain value or a list of plain values, through structures and lists of
structures. Every leaf of EC2's model is in exactly one of four lists: honoured, honoured only with
one value, of no consequence (harmless), or refused by its name. Of an honoured one a note may say
which of its values make no difference.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from gateway.errors import UnsupportedOperation
from gateway.wire import model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

DRY_RUN = "DryRun"
_ASKS_EMPTY = ".NoDevice"

_MEMBERS_OF_EVERY = {
    "Filters": ("Filters.Name", "Filters.Values"),
    "TagSpecifications": (
        "TagSpecifications.ResourceType",
        "TagSpecifications.Tags.Key",
        "TagSpecifications.Tags.Value",
    ),
}


@dataclass(frozen=True)
class Contract:
    """What one action does with the members of its input.

    ``parameters`` are the members of the input that its function takes; ``members`` the honoured
    ones of structures among them. Raises :class:`ValueError`, a programming error, for what EC2's
    model does not have or what cannot be true.
    """

    operation: model.Operation
    parameters: frozenset[str]
    members: frozenset[str]
    only: Mapping[str, object] = field(default_factory=dict)
    harmless: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what contradicts the model or itself."""
        self._check_paths()
        overlaps = [
            (self.honoured & self.only.keys(), "is honoured with any value already"),
            (self.honoured & self.harmless.keys(), "is honoured and so makes a difference"),
            (self.only.keys() & self.harmless.keys(), "makes no difference, whatever its value"),
            ({path for path, why in self.harmless.items() if not why}, "is harmless, but why?"),
            (self.notes.keys() - self.honoured, "is not honoured: a note about it says nothing"),
        ]
        for paths, told in overlaps:
            for path in paths:
                raise ValueError(f"{self.operation.name}: {path} {told}.")

    def _check_paths(self) -> None:
        name, known = self.operation.name, leaves(self.operation.input)
        for path in (*self.parameters, *self.members, *self.only, *self.harmless):
            inside = _below(path, known)
            if path not in known and not inside:
                raise ValueError(f"{name} has no parameter {path}.")
            if inside and path not in self.parameters:
                raise ValueError(f"{name}: {path} is a structure: name {', '.join(inside)}.")
            if inside and not _below(path, self.honoured):
                raise ValueError(f"{name}: no member of {path} is honoured; see members=.")
        for path in self.members:
            if path.partition(".")[0] not in self.parameters:
                raise ValueError(f"{name}: {path} is honoured, but the function does not take it.")

    @cached_property
    def honoured(self) -> frozenset[str]:
        """The paths of all honoured leaves."""
        every = (path for name in self.parameters for path in _MEMBERS_OF_EVERY.get(name, ()))
        plain = self.parameters & leaves(self.operation.input).keys()
        return frozenset({*plain, *self.members, *every})

    @property
    def refused(self) -> frozenset[str]:
        """The paths of all leaves that are refused by name."""
        kept = {*self.honoured, *self.only, *self.harmless, DRY_RUN}
        return frozenset(leaves(self.operation.input).keys() - kept)

    def check(self, given: Mapping[str, Any]) -> None:
        """Raise UnsupportedOperation naming the first member that is not honoured.

        An empty text asks for nothing: Packer sends what it was not told, like the name of an
        instance profile. Only ``NoDevice`` asks by being empty.
        """
        for path, value in given_leaves(given):
            if value == "" and not path.endswith(_ASKS_EMPTY):
                continue
            if path in self.only:
                if value != self.only[path]:
                    raise UnsupportedOperation(
                        f"The parameter {path} is supported only with the value "
                        f"{spelled(self.only[path])}."
                    )
            elif path not in self.honoured and path not in self.harmless:
                raise UnsupportedOperation(f"The parameter {path} is not supported.")

    def document(self) -> dict[str, Any]:
        """Return it as JSON can have it; the four lists together are every leaf of the model."""
        dry_run = {DRY_RUN} & leaves(self.operation.input).keys()
        return {
            "honoured": sorted(self.honoured | dry_run),
            "only": {path: self.only[path] for path in sorted(self.only)},
            "harmless": {path: self.harmless[path] for path in sorted(self.harmless)},
            "notes": {path: self.notes[path] for path in sorted(self.notes)},
            "refused": sorted(self.refused),
        }


@cache
def leaves(shape: model.StructureShape) -> Mapping[str, model.Shape]:
    """Return every leaf below a structure by its dotted path."""
    return dict(_leaves(shape, "", ()))


def given_leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each leaf of a parsed input with its value."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from given_leaves(member, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for item in value:
            yield from given_leaves(item, path)
    else:
        yield path, value


def shortened(refused: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return the refused paths with a structure's name in the place of all of its members."""
    kept = {prefix for path in others for prefix in _prefixes(path)}
    return sorted({next((p for p in _prefixes(path) if p not in kept), path) for path in refused})


def spelled(value: object) -> str:
    """Return a value as it is written on EC2's wire."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _leaves(
    shape: model.Shape, path: str, within: tuple[str, ...]
) -> Iterator[tuple[str, model.Shape]]:
    inner = shape
    while isinstance(inner, model.ListShape):
        inner = inner.member
    # A structure that contains itself ends where it would begin anew.
    if isinstance(inner, model.StructureShape) and inner.members and inner.name not in within:
        for name, member in inner.members.items():
            yield from _leaves(member, f"{path}.{name}" if path else name, (*within, inner.name))
    else:
        yield path, shape


def _below(path: str, paths: Iterable[str]) -> list[str]:
    return [one for one in paths if one.startswith(f"{path}.")]


def _prefixes(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
