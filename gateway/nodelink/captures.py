# SPDX-License-Identifier: Apache-2.0
"""The node link's requests about copies of disks: how one goes, and its pieces."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from flask import Response, g, jsonify, request

from gateway import wake
from gateway.cloud import captures
from gateway.imagestore import arrivals
from gateway.imagestore.store import StoreFullError
from gateway.nodelink import bodies
from gateway.nodelink.bodies import Refused
from gateway.store import database

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from gateway.config import Settings
    from gateway.store.captures import Capture

# How old the time may be at which a node was heard last; writing it costs more than knowing it.
FRESH = timedelta(seconds=5)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SPAN = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


class CaptureRequests:
    """The requests about captures; one object for each process that serves them."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        """Serve from the settings' arrivals and ``engine``'s database."""
        self.settings = settings
        self.engine = engine

    def report_capture(self, number: int) -> Response:
        """Hear of a copy: that it goes on, that there will be none, or what it is and is here."""
        body = bodies.read()
        capture = self._expected(number)
        if "error" in body:
            self._fail(capture, bodies.typed(body, "error", str))
            return jsonify({"bytes": 0})
        if not body:  # whether it is wanted was the question, of one that has not begun
            self._check_untouched(capture)
            return jsonify({"bytes": arrivals.size(self.settings, number)})
        how = bodies.typed(body, "how", str)
        if how not in captures.NOTES or (how == captures.STOPPED) is not capture.stopped:
            raise Refused(400, "bad-request", f"how is none of: {', '.join(captures.NOTES)}.")
        if body.get("begins") is True:
            self._begin(capture)
        here = arrivals.size(self.settings, number)
        with database.writing(self.engine) as db:
            captures.heard(db, capture, how, datetime.now(UTC))
            self._note_size(db, capture, body, here)
        return jsonify({"bytes": here})

    def take_capture(self, number: int) -> Response:
        """Write a piece of a copy; tell how much of it is here."""
        begin, data, whole = read_piece()
        capture = self._expected(number)
        now = datetime.now(UTC)
        try:
            here = arrivals.put(self.settings, number, begin, data, whole)
        except StoreFullError as error:
            self._fail(capture, str(error))
            raise Refused(404, "no-such-capture", str(error)) from error
        if now - capture.heard_at > FRESH:
            with database.writing(self.engine) as db:
                captures.heard(db, capture, None, now)
        return jsonify({"bytes": here})

    def _begin(self, capture: Capture) -> None:
        """Let a node copy a stopped instance's disk, perhaps once more."""
        self._check_untouched(capture)
        # The pieces of two copies need not fit together.
        arrivals.remove(self.settings, capture.command_id)

    def _check_untouched(self, capture: Capture) -> None:
        """Refuse, and fail, the copy of a stopped instance's disk that a later run has claimed."""
        if not capture.stopped:
            return
        with database.reading(self.engine) as db:
            allowed = captures.may_begin(db, capture)
        if not allowed:
            self._fail(capture, captures.STARTED)
            raise Refused(404, "no-such-capture", captures.STARTED)

    def _note_size(self, db: Any, capture: Capture, body: dict[str, Any], here: int) -> None:
        if "size" not in body:
            return
        size = bodies.typed(body, "size", int)
        if "sha256" not in body:
            captures.copied(db, capture, size)
        elif here == size:
            sha256 = bodies.typed(body, "sha256", str)
            if not _SHA256.fullmatch(sha256):
                raise Refused(400, "bad-request", "sha256 is no SHA-256 in hex.")
            captures.arrived(db, capture, here, sha256)
            wake.notify(self.settings, "importer")

    def _fail(self, capture: Capture, reason: str) -> None:
        with database.writing(self.engine) as db:
            captures.fail(db, capture, reason)
        arrivals.remove(self.settings, capture.command_id)

    def _expected(self, number: int) -> Capture:
        with database.reading(self.engine) as db:
            capture = captures.expected(db, number, g.node.name)
        if capture is None or capture.is_here:
            raise Refused(404, "no-such-capture", f"Nobody waits for the capture {number}.")
        return capture


def read_piece() -> tuple[int, bytes, int]:
    """Return a piece's first byte, the piece, and the size of what it is of; or refuse it."""
    span = _SPAN.fullmatch(request.headers.get("Content-Range", ""))
    data = request.get_data(cache=False)
    begin, last, whole = map(int, span.groups()) if span else (0, 0, 0)
    if last - begin + 1 != len(data) or last >= whole:
        raise Refused(400, "bad-request", "Content-Range does not say which bytes these are.")
    return begin, data, whole
