# SPDX-License-Identifier: Apache-2.0
"""A stopped instance whose disk goes to the store, its nodes, and the importer."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from capture_world import Node

from gateway.cloud import observed
from gateway.cloud.states import Reason
from gateway.imagestore.importer import Importer
from gateway.store import database, instances

if TYPE_CHECKING:
    from conftest import Endpoint

    from gateway.store.instances import Instance

DISK = b"QFI\xfb" + os.urandom(2**20)
VARIABLES = os.urandom(100)
SENT = DISK + VARIABLES
DIGEST = hashlib.sha256(SENT).hexdigest()
WHOLE = {"size": len(SENT), "nvram_bytes": len(VARIABLES), "sha256": DIGEST}


class World:
    """A stopped instance, the node that has its disk, another node, and the importer."""

    def __init__(self, endpoint: Endpoint, ec2: Any, image: str, disk: bytes = DISK) -> None:
        self.endpoint = endpoint
        self.sent = disk + VARIABLES
        self.digest = hashlib.sha256(self.sent).hexdigest()
        self.ec2 = ec2
        launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
        self.id = str(launched["InstanceId"])
        self.first, self.second = Node(endpoint, self.id), Node(endpoint, self.id)
        self.first.claim()
        self.first.end()
        self.importer = self.new_importer()

    def new_importer(self) -> Importer:
        """Return one that begins where the last one was killed."""
        settings = dataclasses.replace(self.endpoint.settings, stopped_disks="store")
        return Importer(settings, self.endpoint.database)

    @property
    def instance(self) -> Instance:
        with database.reading(self.endpoint.database) as db:
            found = instances.get(db, self.id)
        assert found is not None
        return found

    @property
    def stored(self) -> bool:
        return (self.endpoint.settings.image_dir / self.digest).exists()

    def errands(self, node: Node) -> list[tuple[str, int]]:
        return [(one["kind"], one["id"]) for one in node.errands()]

    def ask(self) -> int:
        """Let the gateway ask for the disk; return the number."""
        self.importer.parker.tend()
        [(kind, number)] = self.errands(self.first)
        assert kind == "park"
        return number

    def report(self, node: Node, number: int, **said: object) -> tuple[int, Any]:
        return node.ask(f"/v1/parkings/{number}", said)

    def send(self, number: int, data: bytes = b"") -> int:
        """Send the first bytes of the disk, or all of it."""
        data = data or self.sent
        span = {"Content-Range": f"bytes 0-{len(data) - 1}/{len(self.sent)}"}
        headers = self.first.headers | span
        return self.first.http.put(f"/v1/parkings/{number}", data=data, headers=headers).status_code

    def take_in(self) -> None:
        """Let the importer do what there is for this instance."""
        for one in self.importer.parker.next():
            if one.instance_id == self.id:
                self.importer.parker.take(one)

    def clean(self) -> None:
        """Let the importer remove what nobody needs."""
        self.importer.parker.tend()
        self.importer.end_captures()
        self.importer.remove_unneeded()

    def park(self) -> int:
        """Bring the disk into the store; return the number of the errand to remove it."""
        number = self.ask()
        assert self.send(number) == 200
        whole = {"size": len(self.sent), "nvram_bytes": len(VARIABLES), "sha256": self.digest}
        assert self.report(self.first, number, **whole) == (200, {"bytes": len(self.sent)})
        self.take_in()
        assert self.instance.parked
        [(kind, removal)] = self.errands(self.first)
        assert kind == "remove"
        return removal

    def start(self) -> None:
        self.ec2.start_instances(InstanceIds=[self.id])

    def claim(self, node: Node, host: str = "host2", run: int = 2) -> dict[str, Any]:
        body = {"run": run, "node": host, "job": f"{run}.0", "nonce": "n"}
        status, answer = node.ask(f"/v1/instances/{self.id}/claim", body)
        assert status == 200
        found: dict[str, Any] = answer
        return found

    def taken(self, node: Node, run: int = 2) -> int:
        return node.ask(f"/v1/instances/{self.id}/disk-taken", {"run": run, "nonce": "n"})[0]

    def fetch(self, node: Node) -> tuple[int, bytes]:
        with node.http.get(f"/v1/instances/{self.id}/disk", headers=node.headers) as answer:
            return answer.status_code, answer.data

    def settle(self, node: Node, how: str, run: int = 2) -> Any:
        body = {"run": run, "nonce": "n", "code": how}
        return node.ask(f"/v1/instances/{self.id}/disk", body)[1]

    def fail(self, how: str, run: int = 2, *, disk_removed: bool = False) -> None:
        """Tell that a run has failed."""
        why, now = Reason("Server.InternalError", "Server.InternalError: why"), datetime.now(UTC)
        with database.writing(self.endpoint.database) as db:
            observed.run_ended(db, self.id, run, why, now, how=how, disk_removed=disk_removed)
