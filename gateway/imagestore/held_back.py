# SPDX-License-Identifier: Apache-2.0
"""When a store that failed is offered again what it did not take."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection

FIRST_WAIT, LONGEST_WAIT = 2.0, 300.0  # seconds

Key = TypeVar("Key")


class _Since(NamedTuple):
    first: float
    due: float
    wait: float


class HeldBack(Generic[Key]):
    """Waits that grow, one for each thing; to be used under its owner's lock."""

    def __init__(self) -> None:
        self._since: dict[Key, _Since] = {}

    def hold(self, key: Key) -> float:
        """Hold a thing back once more; return for how many seconds."""
        now = time.monotonic()
        before = self._since.get(key, _Since(now, now, FIRST_WAIT / 2))
        wait = min(LONGEST_WAIT, 2 * before.wait)
        self._since[key] = _Since(before.first, now + wait, wait)
        return wait

    def seconds(self, key: Key) -> float:
        """Return how long ago a thing was first held back; 0 for one that was not."""
        since = self._since.get(key)
        return 0.0 if since is None else time.monotonic() - since.first

    def is_due(self, key: Key) -> bool:
        """Whether a thing may be offered now."""
        since = self._since.get(key)
        return since is None or since.due <= time.monotonic()

    def forget_others(self, keys: Collection[Key]) -> None:
        """Keep in mind nothing but what there still is."""
        self._since = {key: since for key, since in self._since.items() if key in keys}
