# SPDX-License-Identifier: Apache-2.0
"""How long 1,000 instances take, without a pool: to launch, to describe, and to write as XML.

``python -m tests.bench.documents`` prints it alone. The application runs in this process; writing
the same document with ``json.dumps``, which is C, is the yardstick.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway import app
from gateway.cloud import accounts, images
from gateway.config import Settings
from gateway.store import database
from gateway.store.images import Content
from gateway.wire import xml

INSTANCES = 1000
ROUNDS = 20


def measure() -> dict[str, list[float]]:
    """Return the seconds of each round, by what was measured."""
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(state_dir=Path(directory))
        database.migrate(settings.database)
        engine = database.engine(settings.database)
        try:
            return _measure(settings, engine)
        finally:
            engine.dispose()


def _measure(settings: Settings, engine: Any) -> dict[str, list[float]]:
    now = datetime.now(UTC)
    with database.writing(engine) as db:
        account = accounts.ensure_account(db, "bench", now)
        key = accounts.create_access_key(db, account.id, "bench", now)
        new = images.NewImage("bench", "http://localhost/image")
        image = images.register(db, account.id, new, tagged={}, now=now, sources=None)
        images.imported(db, image.id, Content("0" * 64, 1024, 1024, "raw"))
    web = app.create_app(settings).test_client()
    series: dict[str, list[float]] = {
        name: []
        for name in (
            "run_1000_in_process",
            "describe_1000_in_process",
            "serialize_1000",
            "json_of_the_same",
        )
    }
    serialize = xml.serialize

    def timed(operation: Any, result: Any, **other: Any) -> bytes:
        began = time.perf_counter()
        document = serialize(operation, result, **other)
        between = time.perf_counter()
        json.dumps(result, default=str)
        ended = time.perf_counter()
        series["serialize_1000"].append(between - began)
        series["json_of_the_same"].append(ended - between)
        return document

    def send(**parameters: Any) -> float:
        body = urlencode({"Version": "2016-11-15", **parameters}).encode()
        request = AWSRequest("POST", "http://localhost/", data=body)
        SigV4Auth(Credentials(key.id, key.secret), "ec2", "condor").add_auth(request)
        began = time.perf_counter()
        answer = web.post("/", data=body, headers=dict(request.headers))
        took = time.perf_counter() - began
        if answer.status_code != 200:
            raise SystemExit(answer.text)
        return took

    launch = {"Action": "RunInstances", "ImageId": image.id}
    launch |= {"MinCount": str(INSTANCES), "MaxCount": str(INSTANCES)}
    series["run_1000_in_process"].append(send(**launch))
    send(Action="DescribeInstances")
    series["describe_1000_in_process"] += [send(Action="DescribeInstances") for _ in range(ROUNDS)]
    xml.serialize = timed
    try:
        for _ in range(ROUNDS):
            send(Action="DescribeInstances")
    finally:
        xml.serialize = serialize
    return series


if __name__ == "__main__":
    for what, seconds in measure().items():
        print(f"{what:26} median {statistics.median(seconds) * 1000:8.1f} ms")
