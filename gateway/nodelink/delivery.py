# SPDX-License-Identifier: Apache-2.0
"""Sends an image's bytes to a node, wherever the store has them."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from flask import Response, request

if TYPE_CHECKING:
    from gateway.imagestore.store import ImageStore

_TYPE = "application/octet-stream"


def send(store: ImageStore, sha256: str) -> Response:
    """Return the answer with a file of the store, from the byte on that is asked for.

    Raises :class:`~gateway.imagestore.store.StoreError`, also for a file that there is not.
    """
    size = store.size(sha256)
    begin = _begin(size)
    chunks = store.chunks(sha256, begin)
    # The first is asked for here: a store that fails is told of, and not an answer that is cut.
    answer = Response(chain((next(chunks, b""),), chunks), mimetype=_TYPE)
    answer.content_length = size - begin
    answer.accept_ranges = "bytes"
    answer.set_etag(sha256)
    if begin:
        answer.status_code = 206
        answer.content_range.set(begin, size, size, "bytes")
    return answer


def _begin(size: int) -> int:
    """Return the first byte that is asked for; other ranges than those to the end are ignored."""
    wanted = request.range
    if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1:
        return 0
    begin, end = wanted.ranges[0]
    return begin if end is None and 0 <= begin < size else 0
