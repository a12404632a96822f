# SPDX-License-Identifier: Apache-2.0
"""Servers of S3 on a loopback port, each a process of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
PATIENCE = 60.0


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
