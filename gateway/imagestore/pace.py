# SPDX-License-Identifier: Apache-2.0
"""How slowly a file may come: a server that drips is never silent, and would never end."""

from __future__ import annotations

import time

GRACE = 60.0  # seconds until it is looked at
SLOWEST = 64 * 1024  # bytes a second, all in all, from then on


class Pace:
    """Counts what comes from its making on."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.received = 0

    def is_kept(self, size: int) -> bool:
        """Count bytes that have come now; return False when it is too slow."""
        self.received += size
        passed = time.monotonic() - self._began
        return passed <= GRACE or self.received >= passed * SLOWEST
