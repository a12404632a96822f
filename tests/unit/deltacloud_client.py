# SPDX-License-Identifier: Apache-2.0
"""A client of the Deltacloud API for the tests."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import xmltodict

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from gateway.store.access_keys import AccessKey


class Client:
    """Asks as one account, in JSON unless told otherwise."""

    def __init__(self, web: FlaskClient, key: AccessKey) -> None:
        self.web = web
        text = base64.b64encode(f"{key.id}:{key.secret}".encode()).decode()
        self.headers = {"Authorization": f"Basic {text}", "Accept": "application/json"}

    def ask(self, method: str, path: str, **more: Any) -> TestResponse:
        headers = {**self.headers, **more.pop("headers", {})}
        return self.web.open(path, method=method, headers=headers, **more)

    def json(self, path: str) -> Any:
        answer = self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return json.loads(answer.data)

    def xml(self, path: str) -> Any:
        answer = self.ask("GET", path, headers={"Accept": "application/xml"})
        assert answer.status_code == 200, answer.text
        return xmltodict.parse(answer.data)
