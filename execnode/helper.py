# SPDX-License-Identifier: Apache-2.0
"""Work done beside the main thread. concurrent.futures would cost its import's 10 ms."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Helper(threading.Thread, Generic[T]):
    """A thread that does one piece of work; the result, or its exception, is collected later."""

    def __init__(self, work: Callable[[], T]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._results: list[T] = []
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Do the work, in the thread."""
        try:
            self._results.append(self._work())
        except BaseException as error:  # noqa: BLE001 - raised again in the collecting thread
            self._error = error

    def result(self) -> T:
        """Wait for the work and return what it returned, or raise what it raised."""
        self.join()
        if self._error is not None:
            raise self._error
        return self._results[0]
