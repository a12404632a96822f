# SPDX-License-Identifier: Apache-2.0
"""Request throttling: token buckets of each account, shared by all workers of the endpoint.

As EC2 throttles ("Request throttling for the Amazon EC2 API"): a bucket holds at most ``burst``
tokens and gets ``rate`` of them in a second; a request takes one from the bucket of its kind, and
what launches instances takes as many from another bucket as there are instances. EC2 has a bucket
for each action; here all describing actions share one, and all changing ones another.

The buckets are in memory that the workers inherit, so that a request costs no write to a disk: a
restart fills them, and gateways on several machines have each their own. The memory has a fixed
size. Of more accounts than it has room for, those that asked for nothing for the longest begin
again with full buckets, as after a rest.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import time
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import RequestLimitExceeded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.config import Settings

DESCRIBE = "describe"
CHANGE = "change"
LAUNCH = "launch"
"""The kinds of buckets: describing requests, changing requests, launched instances."""

SLOTS = 4096
WINDOW = 16
"""Accounts that there is room for, and the places in which one may be."""

_OWNER = struct.Struct("<Q")
_BUCKET = struct.Struct("<dd")


class Bucket(NamedTuple):
    """A bucket's size and the tokens that it gets in a second; a rate of 0 is no limit."""

    rate: float
    burst: int


class Throttle:
    """The buckets of all accounts; made before the workers are forked."""

    def __init__(
        self, buckets: Mapping[str, Bucket], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Give each account these buckets. ``clock`` counts the same seconds in all processes."""
        self._buckets = {kind: one for kind, one in buckets.items() if one.rate > 0}
        self._places = {
            kind: _OWNER.size + _BUCKET.size * place for place, kind in enumerate(self._buckets)
        }
        self._clock = clock
        self._size = _OWNER.size + _BUCKET.size * len(self._buckets)
        self._threads = threading.Lock()
        self._file = os.memfd_create("condor-cloud-throttle")
        weakref.finalize(self, os.close, self._file)
        os.ftruncate(self._file, SLOTS * self._size)
        self._memory = mmap.mmap(self._file, SLOTS * self._size)

    @classmethod
    def of(cls, settings: Settings) -> Throttle:
        """Return the throttle that the settings describe."""
        return cls(
            {
                DESCRIBE: Bucket(settings.describe_rate, settings.describe_burst),
                CHANGE: Bucket(settings.change_rate, settings.change_burst),
                LAUNCH: Bucket(settings.launch_rate, settings.launch_burst),
            }
        )

    def take(self, account_id: str, kind: str, tokens: int = 1) -> None:
        """Take tokens from an account's bucket; raise :class:`RequestLimitExceeded` for too few.

        Then none is taken. What wants more than a full bucket has gets through a full one.
        """
        bucket = self._buckets.get(kind)
        if bucket is None or tokens < 1:
            return
        wanted = min(tokens, bucket.burst)
        with self._locked():
            now = self._clock()
            place = self._slot(int(account_id) + 1, now) + self._places[kind]
            had, at = _BUCKET.unpack_from(self._memory, place)
            has = min(bucket.burst, had + max(0.0, now - at) * bucket.rate)
            enough = has >= wanted
            _BUCKET.pack_into(self._memory, place, has - wanted if enough else has, now)
        if not enough:
            raise RequestLimitExceeded

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # The kernel frees the lock of a process that dies; it holds for a process, not a thread.
        with self._threads:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _slot(self, owner: int, now: float) -> int:
        """Return where an account's buckets are; a new account's are full."""
        longest_ago, chosen = float("inf"), 0
        for step in range(WINDOW):
            slot = (owner + step) % SLOTS * self._size
            [found] = _OWNER.unpack_from(self._memory, slot)
            if found == owner:
                return slot
            used = 0.0 if found == 0 else self._last_used(slot)
            if used < longest_ago:
                longest_ago, chosen = used, slot
            if found == 0:
                break  # nothing is ever removed, so it is not further on either
        _OWNER.pack_into(self._memory, chosen, owner)
        for kind, bucket in self._buckets.items():
            _BUCKET.pack_into(self._memory, chosen + self._places[kind], bucket.burst, now)
        return chosen

    def _last_used(self, slot: int) -> float:
        return max(
            float(_BUCKET.unpack_from(self._memory, slot + place)[1])
            for place in self._places.values()
        )
