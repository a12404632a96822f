# SPDX-License-Identifier: Apache-2.0
"""What the image cache has done since it was made, in numbers, for the operators of a pool.

One small file in the cache. A launch never fails for it: what cannot be counted is not.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from execnode import locks

if TYPE_CHECKING:
    from pathlib import Path

HITS, MISSES, EVICTIONS = "hits", "misses", "evictions"
BYTES, SECONDS = "downloaded_bytes", "download_seconds"
NAMES = (HITS, MISSES, EVICTIONS, BYTES, SECONDS)

PATIENCE = 0.5  # seconds
_FILE = "counts.json"


def add(cache_dir: Path, **more: float) -> None:
    """Add to the counts of these names."""
    # Whoever is terminated counts too, and must not wait for somebody who stands still.
    with (
        contextlib.suppress(OSError),
        locks.alone_soon(cache_dir / "counts.lock", PATIENCE) as has_turn,
    ):
        if not has_turn:
            return
        counted = read(cache_dir)
        for name, number in more.items():
            counted[name] += number
        made = cache_dir / f"{_FILE}.new"
        made.write_text(json.dumps(counted))
        made.chmod(0o644)  # the node's advertisement is another user's
        made.replace(cache_dir / _FILE)


def read(cache_dir: Path) -> dict[str, float]:
    """Return every count; zero where nothing was counted yet."""
    found: Any = None
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((cache_dir / _FILE).read_text())
    if not isinstance(found, dict):
        found = {}
    return {name: _number(found.get(name)) for name in NAMES}


def is_own(path: Path) -> bool:
    """Return whether a file in the cache is the counts' and no image's."""
    return path.name.startswith("counts.")


def _number(value: object) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0
