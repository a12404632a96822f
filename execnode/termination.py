# SPDX-License-Identifier: Apache-2.0
"""SIGTERM as an exception in the main thread, wherever that thread is.

Python notes a signal and raises only back in its own code. A signal that arrives just before a
system call blocks would be noticed when the call returns, perhaps never; so a second thread, woken
by the signal itself, repeats it until the exception was raised.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

from execnode.exits import TerminatedError

if TYPE_CHECKING:
    from types import FrameType

REPEAT_SECONDS = 0.05


def install() -> None:
    """Let the first SIGTERM raise TerminatedError; later ones are ignored. Main thread only."""
    raised = threading.Event()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    main_thread = threading.get_ident()

    def on_sigterm(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raised.set()
        raise TerminatedError

    def repeat() -> None:
        arrived = os.read(reading, 1)
        while arrived and not raised.wait(REPEAT_SECONDS):
            signal.pthread_kill(main_thread, signal.SIGTERM)

    signal.signal(signal.SIGTERM, on_sigterm)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=repeat, name="SIGTERM", daemon=True).start()


def ignore() -> None:
    """From here on nothing interrupts: what was begun is being undone."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
