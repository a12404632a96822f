# SPDX-License-Identifier: Apache-2.0
"""A body that comes drop by drop is given up, and one that was cut is not acted upon."""

from __future__ import annotations

import base64
import io
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.app import create_app
from gateway.body import Overdue

if TYPE_CHECKING:
    from conftest import Endpoint
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from gateway.store.access_keys import AccessKey


def drip(connection: socket.socket, ended: threading.Event) -> None:
    while not ended.wait(0.01):
        with suppress(OSError):
            connection.send(b"x")


def test_reading_what_comes_drop_by_drop_finds_its_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    ended = threading.Event()
    dripping = threading.Thread(target=drip, args=(theirs, ended))
    with ours, theirs:
        ours.settimeout(60)
        dripping.start()
        try:
            with Overdue(every=0.01).within(ours, 0.1):
                received = sum(len(data) for data in iter(lambda: ours.recv(1), b""))
            assert received > 0
            # The answer can be given all the same.
            ours.sendall(b"no")
        finally:
            ended.set()
            dripping.join()
        assert theirs.recv(2) == b"no"


FORM = "application/x-www-form-urlencoded"


def cut(web: FlaskClient, path: str, sent: bytes, headers: dict[str, str]) -> TestResponse:
    """Send a body whose connection ended before as many bytes as were announced."""
    return web.post(
        path,
        input_stream=io.BytesIO(sent),
        content_type=FORM,
        headers=headers,
        # As gunicorn says it: the stream ends where the connection does.
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": str(len(sent) + 1)},
    )


def test_a_request_whose_body_was_cut_is_not_acted_upon(
    endpoint: Endpoint, key: AccessKey, web: FlaskClient, image: str
) -> None:
    answer = cut(create_app(endpoint.settings).test_client(), "/", b"Action=DescribeRegions", {})
    assert answer.status_code == 400
    assert "body could not be read" in answer.text
    signed_in = base64.b64encode(f"{key.id}:{key.secret}".encode()).decode()
    headers = {"Authorization": f"Basic {signed_in}"}
    answer = cut(web, "/api/instances", f"image_id={image}&keyname=".encode(), headers)
    assert answer.status_code == 400
    assert "body could not be read" in answer.text
    assert endpoint.client(key).describe_instances()["Reservations"] == []
