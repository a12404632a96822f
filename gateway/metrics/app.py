# SPDX-License-Identifier: Apache-2.0
"""``GET /metrics``: the numbers, for whoever has the operators' token or is on this machine."""

from __future__ import annotations

import hmac
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Flask, Response, request
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.metrics import requests
from gateway.metrics.collector import DatabaseCollector
from gateway.store import database

if TYPE_CHECKING:
    from gateway.config import Settings

# A worker may be making its file just now.
_TRIES = 3


def create_app(settings: Settings) -> Flask:
    """Return the WSGI application; the database must have been brought up to date."""
    app = Flask("gateway.metrics", static_folder=None)
    engine = database.engine(settings.database)
    counts = requests.directory(settings)
    counts.mkdir(mode=0o700, parents=True, exist_ok=True)

    @app.before_request
    def authenticate() -> Response | None:
        if not settings.metrics_token_file or _has_token(settings.metrics_token_file):
            return None
        challenge = {"WWW-Authenticate": 'Bearer realm="condor-cloud metrics"'}
        return Response("The token is not accepted.\n", 401, challenge, content_type="text/plain")

    @app.get("/metrics")
    def metrics() -> Response:
        # The text format: what a client's Accept asks for beyond it changes names.
        for tries in range(1, _TRIES + 1):
            registry = CollectorRegistry()
            registry.register(DatabaseCollector(engine))
            try:
                MultiProcessCollector(registry, path=str(counts))  # type: ignore[no-untyped-call]
                text = exposition.generate_latest(registry)
            except (struct.error, FileNotFoundError, ValueError):
                if tries == _TRIES:
                    raise
            else:
                break
        return Response(text, content_type=exposition.CONTENT_TYPE_LATEST)

    return app


def _has_token(file: str) -> bool:
    # Read each time, so that a new token needs no restart.
    token = Path(file).read_text(encoding="utf-8").strip()
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    matches = hmac.compare_digest(given.strip().encode(), token.encode())
    return bool(token) and scheme.lower() == "bearer" and matches
