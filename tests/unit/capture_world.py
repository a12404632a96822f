# SPDX-License-Identifier: Apache-2.0
"""A node that has claimed an instance and sends copies of its disk, and the importer for them."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from gateway.cloud import ends, observed
from gateway.imagestore.importer import Importer
from gateway.nodelink import credentials
from gateway.nodelink.app import create_app
from gateway.store import captures, database, images, instances, nodes
from gateway.store.instances import Whereabouts

if TYPE_CHECKING:
    from conftest import Endpoint
    from flask.testing import FlaskClient

DISK = bytes(510) + b"\x55\xaa" + os.urandom(3 * 2**20)
DIGEST = hashlib.sha256(DISK).hexdigest()
WHOLE = {"how": "frozen", "size": len(DISK), "sha256": DIGEST}


class Node:
    """A node that has claimed an instance and sends what is asked of it."""

    def __init__(self, endpoint: Endpoint, instance_id: str) -> None:
        self.endpoint = endpoint
        self.instance = instance_id
        self.name = str(uuid4())
        self.headers = {"Authorization": f"Bearer {self.name}"}
        app = create_app(endpoint.settings)
        self.doorbell = app.extensions["doorbell"]
        self.http: FlaskClient = app.test_client()
        with database.writing(endpoint.database) as db:
            hashed = credentials.token_hash(self.name)
            nodes.insert(db, nodes.Node(self.name, hashed, datetime.now(UTC), None))

    def claim(self, run: int = 1) -> tuple[int, Any]:
        body = {"run": run, "node": "host", "job": f"{run}.0", "nonce": "n"}
        answer = self.ask(f"/v1/instances/{self.instance}/claim", body)
        with database.reading(self.endpoint.database) as db:
            instance = instances.get(db, self.instance)
        if answer[0] == 200 and instance is not None and instance.state == "pending":
            self.endpoint.change_state(self.instance, "running")
        return answer

    def end(self, run: int = 1) -> None:
        """Tell that the guest of a run has powered itself off."""
        with database.writing(self.endpoint.database) as db:
            found = Whereabouts("host", "10.77.0.9", None, None)
            observed.guest_runs(db, self.instance, run, found, datetime.now(UTC))
            why, now = observed.REMOVED, datetime.now(UTC)
            observed.run_ended(db, self.instance, run, why, now, how=ends.GUEST_SHUTDOWN)

    def errands(self, *doing: int) -> list[dict[str, Any]]:
        body = {"after": 1 << 30, "wait": 0, "prefetching": [], "errands": list(doing)}
        found: list[dict[str, Any]] = self.ask("/v1/commands", body)[1]["errands"]
        return found

    def close(self) -> None:
        """Let whoever waits go."""
        self.doorbell.close()

    def ask(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        answer = self.http.post(path, json=body, headers=self.headers)
        return answer.status_code, answer.json

    def commands(self) -> list[dict[str, Any]]:
        body = {"run": 1, "nonce": "n", "taken": []}
        found: list[dict[str, Any]] = self.ask(f"/v1/instances/{self.instance}/commands", body)[1][
            "commands"
        ]
        return found

    def report(self, number: int, **said: object) -> tuple[int, Any]:
        return self.ask(f"/v1/captures/{number}", said)

    def send(self, number: int, begin: int, data: bytes, whole: int = len(DISK)) -> tuple[int, Any]:
        span = {"Content-Range": f"bytes {begin}-{begin + len(data) - 1}/{whole}"}
        answer = self.http.put(f"/v1/captures/{number}", data=data, headers=self.headers | span)
        return answer.status_code, answer.json

    def send_all(self, number: int, data: bytes = DISK) -> None:
        for begin in range(0, len(data), 2**20):
            piece = data[begin : begin + 2**20]
            assert self.send(number, begin, piece) == (200, {"bytes": begin + len(piece)})


def create(ec2: Any, node: Node, **asked: Any) -> tuple[str, int]:
    """Return an image that is asked for, and the number by which the node knows it."""
    asked = {"InstanceId": node.instance, "Name": str(uuid4()), "NoReboot": True} | asked
    made = ec2.create_image(**asked)["ImageId"]
    return str(made), node.commands()[-1]["id"]


def described(ec2: Any, image_id: str) -> dict[str, Any]:
    found: dict[str, Any] = ec2.describe_images(ImageIds=[image_id])["Images"][0]
    return found


def import_all(endpoint: Endpoint) -> None:
    importer = Importer(endpoint.settings, endpoint.database)
    importer.end_captures()
    with database.reading(endpoint.database) as db:
        # Other tests' images wait as well, for servers that there are not.
        sent = {one.image_id for one in captures.select(db)}
        waiting = [image for image in images.select_pending(db) if image.id in sent]
    for image in waiting:
        importer._under_way[image.id] = image.account_id
        importer.take(image)
    importer.end_captures()
