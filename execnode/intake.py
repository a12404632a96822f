# SPDX-License-Identifier: Apache-2.0
"""What comes over the node link is checked, written and flushed while the next of it comes.

Each in a thread of its own: the TLS of the reader, the checksum, and what the kernel does for a
write take about as long as each other, and none of them holds the interpreter's lock meanwhile.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from concurrent.futures import Future
    from types import TracebackType
    from typing import Self

AHEAD = 16  # blocks that have come and are not done with: what a slow disk costs in memory
FLUSH_BYTES = 64 * 2**20  # so that the last flush finds little to do


class Intake:
    """Takes a file's bytes in order; to be used as a context, by one thread.

    That thread only ever waits for others, so a signal's exception reaches it at once.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        # Flushed by a descriptor of its own: whoever gives up does not wait for the disk.
        self._handle = os.dup(file.fileno())
        self._digest = hashlib.sha256()
        self._hasher, self._writer, self._flusher = (ThreadPoolExecutor(1) for _ in range(3))
        self._pending: deque[Future[object]] = deque()
        self._flush: Future[None] | None = None
        self._unflushed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave nobody who writes to the file; what was not begun is not done."""
        try:
            for one in (self._hasher, self._writer):
                one.shutdown(cancel_futures=True)
        finally:  # a signal may come here too
            self._flusher.submit(os.close, self._handle)
            self._flusher.shutdown(wait=error is None)

    def add(self, block: bytes) -> None:
        """Take the next bytes; raises the OSError of an earlier write or flush."""
        self._pending.append(self._hasher.submit(self._digest.update, block))
        self._pending.append(self._writer.submit(self._write, block))
        while len(self._pending) > 2 * AHEAD:
            self._pending.popleft().result()
        self.check()

    def check(self) -> None:
        """Raise the OSError of what has gone wrong by now."""
        while self._pending and self._pending[0].done():
            self._pending.popleft().result()

    def finish(self) -> str:
        """Wait until all is on the disk; return its sha256 in hex. Raises OSError."""
        while self._pending:
            self._pending.popleft().result()
        if self._flush:
            # The kernel tells of bytes that it could not write once.
            self._flush.result()
        self._file.flush()
        self._flusher.submit(os.fsync, self._handle).result()
        return self._digest.hexdigest()

    def _write(self, block: bytes) -> None:
        self._file.write(block)
        self._unflushed += len(block)
        if self._unflushed >= FLUSH_BYTES and (self._flush is None or self._flush.done()):
            if self._flush:
                self._flush.result()
            self._flush = self._flusher.submit(os.fdatasync, self._handle)
            self._unflushed = 0
