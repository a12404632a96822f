# SPDX-License-Identifier: Apache-2.0
"""An importer's world without the gateway, and web servers that go wrong."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar
from uuid import uuid4

from gateway.cloud import accounts, image_imports, quotas
from gateway.cloud import images as rules
from gateway.config import Settings
from gateway.imagestore.importer import Importer
from gateway.imagestore.taker import Nobody
from gateway.store import database, images, import_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from gateway.store.images import Image
    from gateway.store.import_tasks import ImportTask

MIB = 2**20
DISK = bytes(510) + b"\x55\xaa" + os.urandom(3 * MIB)
DIGEST = hashlib.sha256(DISK).hexdigest()
PATIENCE = 60.0


class World:
    """A gateway's database and store, without the gateway."""

    def __init__(self, place: Path) -> None:
        self.settings = Settings(
            state_dir=place / "state",
            cache_dir=place / "cache",
            image_sources=str(place / "incoming"),
        )
        self.incoming = place / "incoming"
        self.incoming.mkdir()
        database.migrate(self.settings.database)
        self.engine: Engine = database.engine(self.settings.database)
        with database.writing(self.engine) as db:
            self.account = accounts.ensure_account(db, "test", now()).id
        self.importer = Importer(self.settings, self.engine)

    def register(self, location: str, account: str = "") -> str:
        new = rules.NewImage(str(uuid4()), location)
        owner = account or self.account
        with database.writing(self.engine) as db:
            return rules.register(db, owner, new, tagged={}, now=now(), sources=None).id

    def file(self, data: bytes = DISK, name: str = "disk") -> Path:
        path = self.incoming / name
        path.write_bytes(data)
        return path

    def image(self, image_id: str) -> Image:
        with database.reading(self.engine) as db:
            found = images.get(db, image_id)
        assert found is not None
        return found

    def import_all(self) -> None:
        while images_to_take := self.importer.next():
            for image in images_to_take:
                self.importer.take(image)

    def files(self) -> set[str]:
        return {path.name for path in self.settings.image_dir.iterdir() if path.name != ".lock"}


def begin_import(world: World, location: str, said: str | None = None) -> ImportTask:
    asked = image_imports.NewImport(location, said, "", "", "x86_64", None)
    with database.writing(world.engine) as db:
        return image_imports.begin(
            db,
            world.account,
            asked,
            tagged={},
            now=now(),
            sources=None,
            limits=quotas.UNLIMITED,
        )


def find_import(world: World, task_id: str) -> ImportTask:
    with database.reading(world.engine) as db:
        found = import_tasks.get(db, task_id)
    assert found is not None
    return found


class Seen(Nobody):
    """Keeps what a watcher is told."""

    def __init__(self) -> None:
        self.copies: list[tuple[int, int | None]] = []
        self.percents: list[tuple[str, float]] = []

    def copied(self, done: int, total: int | None) -> None:
        self.copies.append((done, total))

    def converted(self, percent: float) -> None:
        self.percents.append(("converted", percent))

    def stored(self, percent: float) -> None:
        self.percents.append(("stored", percent))


def now() -> datetime:
    return datetime.now(UTC)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves DISK, in the several ways that servers go wrong."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        times = self.asked.count(self.path)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/disk")
        elif self.path == "/to-the-metadata":
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
        elif self.path == "/to-a-file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
        elif self.path == "/missing":
            self.send_response(404)
        elif self.path == "/busy" or (self.path == "/busy-twice" and times < 3):
            self.send_response(503)
        else:
            self.send_response(200)
            if self.path == "/chunked":
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(DISK), DISK))
                return
            if self.path != "/unsized":
                self.send_header("Content-Length", str(len(DISK)))
            self.end_headers()
            cut = self.path == "/cut" or (self.path == "/cut-once" and times < 2)
            self.wfile.write(DISK[: MIB if cut else None])
            return
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


class Serving(Handler):
    """Serves DISK from the byte on that is asked for."""

    ranges: ClassVar[list[str | None]] = []
    tag = '"one"'

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.ranges.append(asked)
        begin = int(asked[len("bytes=") : -1]) if asked else 0
        if self.headers.get("If-Range") not in {None, self.tag}:
            begin = 0
        self.send_response(206 if begin else 200)
        self.send_header("ETag", self.tag)
        self.send_header("Content-Length", str(len(DISK) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(DISK) - 1}/{len(DISK)}")
        self.end_headers()
        self.wfile.write(DISK[begin:])


@contextlib.contextmanager
def served_by(handler: type[Handler]) -> Iterator[int]:
    """Serve on a loopback port, which is given."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield served.server_port
        served.shutdown()
        thread.join()


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Serve DISK as :class:`Serving` does from its beginning; give its address."""
    Serving.ranges.clear()
    Serving.tag = '"one"'
    with served_by(Serving) as port:
        yield f"http://127.0.0.1:{port}/disk"
