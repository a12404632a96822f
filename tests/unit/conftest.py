# SPDX-License-Identifier: Apache-2.0
"""One endpoint on a loopback port for all tests; each test has an account of its own."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
import camera
import pytest
from botocore.config import Config
from deltacloud_client import Client
from execnode_gateway import install_programs
from execnode_node import Node
from served import serve
from werkzeug.serving import make_server

from execnode import cache, supervisor
from gateway.app import create_app
from gateway.cloud import accounts, images, states
from gateway.config import Settings
from gateway.deltacloud.app import create_app as create_deltacloud
from gateway.store import database, instances
from gateway.store.images import Content

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flask.testing import FlaskClient
    from sqlalchemy import Engine

    from gateway.store.access_keys import AccessKey


@dataclass(frozen=True)
class Endpoint:
    """A running endpoint and what a test needs to look behind it."""

    url: str
    settings: Settings
    database: Engine

    def new_key(self) -> AccessKey:
        """Return the access key of a new account."""
        now = datetime.now(UTC)
        with database.writing(self.database) as db:
            account = accounts.ensure_account(db, str(uuid4()), now)
            return accounts.create_access_key(db, account.id, "test", now)

    def new_image(self, account_id: str, *, public: bool = False, virtual_size: int = 1024) -> str:
        """Return the id of an image that can be launched."""
        new = images.NewImage(str(uuid4()), "http://localhost/image", public=public)
        with database.writing(self.database) as db:
            image = images.register(
                db, account_id, new, tagged={}, now=datetime.now(UTC), sources=None
            )
            images.imported(db, image.id, Content("0" * 64, 1024, virtual_size, "raw"))
        return image.id

    def change_state(self, instance_id: str, to: str, at: datetime | None = None) -> None:
        """Bring an instance into a state, as the reconciler would."""
        with database.writing(self.database) as db:
            instance = instances.get(db, instance_id)
            assert instance is not None
            reason = states.Reason("Code", "why")
            states.change(db, instance, to, at or datetime.now(UTC), reason=reason)

    def client(self, key: AccessKey, service: str = "ec2") -> Any:
        """Return a stock client that signs with the key."""
        return _client(self.url, key.id, key.secret, service)


@lru_cache(maxsize=8)
def _client(url: str, key_id: str, secret: str, service: str) -> Any:
    # Kept for a while, because making one takes longer than a request.
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="condor",
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        # The server is asked, not the client's own checks.
        config=Config(
            retries={"total_max_attempts": 1},
            parameter_validation=False,
            max_pool_connections=64,
        ),
    )


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    state_dir = tmp_path_factory.mktemp("state")
    (state_dir / "incoming").mkdir()
    settings = Settings(
        state_dir=state_dir,
        image_sources=str(state_dir / "incoming"),
        image_source_buckets="disks/public",
    )
    database.migrate(settings.database)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, create_app(settings), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    made = Endpoint(f"http://127.0.0.1:{server.port}", settings, database.engine(settings.database))
    with camera.taking_pictures(made.database):
        yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def key(endpoint: Endpoint) -> AccessKey:
    return endpoint.new_key()


@pytest.fixture
def ec2(endpoint: Endpoint, key: AccessKey) -> Any:
    return endpoint.client(key)


@pytest.fixture
def image(endpoint: Endpoint, key: AccessKey) -> str:
    return endpoint.new_image(key.account_id)


@pytest.fixture
def image_file(endpoint: Endpoint) -> Path:
    file = endpoint.settings.state_dir / "incoming" / "disk.img"
    file.write_bytes(b"disk")
    return file


@pytest.fixture(scope="session")
def web(endpoint: Endpoint) -> FlaskClient:
    """The Deltacloud API over the same database."""
    return create_deltacloud(endpoint.settings).test_client()


@pytest.fixture
def client(web: FlaskClient, key: AccessKey) -> Client:
    return Client(web, key)


@pytest.fixture
def instance_id(client: Client, image: str) -> str:
    """An instance named web, launched over the Deltacloud API."""
    made = client.ask("POST", "/api/instances", data={"image_id": image, "name": "web"})
    assert made.status_code == 201, made.text
    return str(json.loads(made.data)["instance"]["id"])


@pytest.fixture(scope="module")
def served(endpoint: Endpoint) -> Iterator[str]:
    """Return the URL of gunicorn over the same database."""
    running = serve(endpoint.settings)
    yield running.url
    assert running.stop() == 0


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setenv("PATH", install_programs(tmp_path / "bin"))
    monkeypatch.setattr(cache, "PATIENCE", 0.0)
    monkeypatch.setattr(supervisor, "RESUME_SECONDS", 0.01)
    node = Node(tmp_path)
    yield node
    node.close()
