# SPDX-License-Identifier: Apache-2.0
"""Reading a request's body, which may be too long, come too slowly, or not be what it claims."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING

from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Request

UNREADABLE = (OSError, ParseException)
"""What reading raises: OSError at the end of our patience, gunicorn's for chunks that are none."""

PATIENCE = 10.0
"""Seconds without a byte after which a body is given up: whoever waits holds a thread."""

LONGEST = 30.0
"""Seconds after which a body is given up that comes drop by drop."""


class Overdue:
    """Ends the reading on connections whose time is over, from a thread of its own.

    The thread is begun with the first connection, so that a process that forks has none to lose.
    """

    def __init__(self, every: float = 1.0) -> None:
        """Look at the connections so often, in seconds."""
        self._every = every
        self._lock = threading.Lock()
        self._numbers = count()
        self._until: dict[int, tuple[float, socket.socket]] = {}
        self._looks = False

    @contextmanager
    def within(self, connection: socket.socket, seconds: float) -> Iterator[None]:
        """Let reading on the connection find its end when the block takes longer."""
        number = next(self._numbers)
        with self._lock:
            self._until[number] = time.monotonic() + seconds, connection
            if not self._looks:
                threading.Thread(target=self._look, name="overdue bodies", daemon=True).start()
                self._looks = True
        try:
            yield
        finally:
            # With the lock: what is not overdue yet is not ended in its next request either.
            with self._lock:
                self._until.pop(number, None)

    def _look(self) -> None:
        while True:
            time.sleep(self._every)
            with self._lock:
                now = time.monotonic()
                for number, (until, connection) in list(self._until.items()):
                    if until < now:
                        del self._until[number]
                        with suppress(OSError):
                            connection.shutdown(socket.SHUT_RD)


_OVERDUE = Overdue()


@contextmanager
def arriving(received: Request) -> Iterator[None]:
    """Bound the time for the body that is read in the block.

    Reading and writing on the request's connection end when the client is silent for
    :data:`PATIENCE`, and reading at the latest after :data:`LONGEST`.
    """
    connection = received.environ.get("gunicorn.socket")
    if connection is None:
        yield
        return
    connection.settimeout(PATIENCE)
    with _OVERDUE.within(connection, LONGEST):
        yield


def read(received: Request, most: int) -> bytes:
    """Return the body; ``received.form`` can be had afterwards.

    Raises RequestEntityTooLarge for more than ``most`` bytes, and BadRequest for one that does
    not come, or not as far as the request says, or whose chunks cannot be read.
    """
    try:
        with arriving(received):
            data = received.get_data()
    except UNREADABLE as error:
        raise BadRequest("The request's body could not be read.") from error
    # A part of a form is another form: what a connection's end has cut is not acted upon.
    if received.content_length is not None and len(data) < received.content_length:
        raise BadRequest("The request's body has not come to its end.")
    # Of a body in chunks werkzeug returns the part that is allowed.
    if received.content_length is None and len(data) >= most:
        raise RequestEntityTooLarge
    return data
