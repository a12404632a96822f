# SPDX-License-Identifier: Apache-2.0
"""Servers of S3 on a loopback port, each a process of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from imagestore_world import World

from gateway.imagestore.importer import Importer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
PATIENCE = 60.0
BUCKET = "disks"
KEY = "public/debian 13+é.raw"
LOCATION = f"s3://{BUCKET}/{KEY}"


def _moto(port: int, _place: Path) -> list[str]:
    """Objects in memory; whatever is signed, and by whom, is accepted."""
    return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]


def _rclone(port: int, place: Path) -> list[str]:
    """Files in a directory; every signature is verified."""
    program = str(Path(sys.executable).with_name("rclone"))
    serve = (*("serve", "s3", "--config", os.devnull), *("--addr", f"127.0.0.1:{port}"))
    return [program, *serve, "--auth-key", "key,secret", "--vfs-cache-mode", "off", str(place)]


SERVERS = {"moto": _moto, "rclone": _rclone}


@contextlib.contextmanager
def serving(kind: str, place: Path, bucket: str) -> Iterator[str]:
    """Serve one bucket, and give the server's address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = SERVERS[kind](port, place)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            url = f"http://127.0.0.1:{port}"
            client(url).create_bucket(Bucket=bucket)
            yield url
        finally:
            server.kill()


def client(url: str) -> Any:
    return boto3.client("s3", endpoint_url=url, **KEYS)


def options(url: str, place: Path) -> Path:
    """Write the file of options with which the gateway reaches a server."""
    place.write_text(f'endpoint = "{url}"\naccess_key_id = "key"\nsecret_access_key = "secret"\n')
    return place


def world_at(place: Path, url: str) -> World:
    """Return a world whose tenants may have images out of a part of the bucket."""
    place.mkdir()
    world = World(place)
    world.settings = dataclasses.replace(
        world.settings,
        image_source_buckets=f"{BUCKET}/public",
        image_source_options=str(options(url, place / "options.toml")),
    )
    world.importer = Importer(world.settings, world.engine)
    return world


@contextlib.contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve each connection by a function, one after the other."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                answer(server.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
