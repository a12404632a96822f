# SPDX-License-Identifier: Apache-2.0
"""The image cache when many processes want something of it at once."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from execnode_gateway import Gateway, install_programs, specification

from execnode import cache, config, counts

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE = bytes(range(256)) * 4096
SIZE = 100_000
PATIENCE = 60.0

FETCH = """
import hashlib, json, sys
from pathlib import Path
from execnode import cache, config, spec
from execnode.link import NodeLink
settings = config.load(Path(sys.argv[1]))
link = NodeLink(settings, 120.0)  # an answer is held until all have begun
print("begun", flush=True)
for document in json.load(sys.stdin):
    image = spec.read_image(document)
    used = cache.fetch(settings, image, link, lambda: None)
    # While it is used nobody takes it away.
    assert hashlib.sha256(used.path.read_bytes()).hexdigest() == image.sha256
    used.close()
"""


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setenv("PATH", install_programs(tmp_path / "bin"))
    monkeypatch.setenv("PYTHONPATH", str(Path(cache.__file__).parents[1]))
    gateway = Gateway(tmp_path)
    gateway.image = IMAGE
    gateway.spec = specification(IMAGE)
    (tmp_path / "token").write_text(gateway.token)
    (tmp_path / "cache").mkdir()
    yield gateway
    gateway.close()


def configured(gateway: Gateway, place: Path, cache_bytes: int = 0) -> Path:
    file = place / "node.toml"
    file.write_text(
        f'gateway = "{gateway.url}"\ntoken_file = "{place}/token"\n'
        f'ca_file = "{gateway.certificate}"\nstate_dir = "{place}"\ncache_bytes = {cache_bytes}\n'
    )
    return file


def start(file: Path, images: list[object]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", FETCH, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(json.dumps(images))
    return process


def await_end(process: subprocess.Popen[str]) -> int:
    with process:
        return process.wait(PATIENCE)


def test_twenty_launches_of_one_image_that_no_node_has_download_it_once(
    gateway: Gateway, tmp_path: Path
) -> None:
    all_want_it = threading.Event()
    gateway.on_download = lambda: all_want_it.wait(PATIENCE)
    file = configured(gateway, tmp_path)
    processes = [start(file, [gateway.spec["image"]]) for _ in range(20)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
    all_want_it.set()
    assert [await_end(process) for process in processes] == [0] * 20
    assert gateway.downloads == 1
    counted = counts.read(tmp_path / "cache")
    assert (counted[counts.MISSES], counted[counts.HITS]) == (1, 19)
    assert counted[counts.BYTES] == len(IMAGE)
    assert cache.cached(tmp_path / "cache") == [gateway.spec["image"]["sha256"]]


def test_under_load_images_go_and_come_and_none_goes_while_it_is_used(
    gateway: Gateway, tmp_path: Path
) -> None:
    documents = []
    for number in range(8):
        data = bytes([number]) * SIZE
        gateway.images[hashlib.sha256(data).hexdigest()] = data
        documents.append(specification(data)["image"])
    # Each process uses or downloads one at a time: there is always room for what is wanted.
    file = configured(gateway, tmp_path, cache_bytes=5 * SIZE + SIZE // 2)
    orders = [documents[shift:] + documents[:shift] for shift in (0, 2, 4, 6)]
    processes = [start(file, order * 3) for order in orders]
    assert [await_end(process) for process in processes] == [0] * 4
    counted = counts.read(tmp_path / "cache")
    assert counted[counts.EVICTIONS] >= 3, "eight images, and room for five"
    assert counted[counts.HITS] + counted[counts.MISSES] == 4 * 3 * len(documents)
    assert counted[counts.MISSES] == gateway.downloads
    held = cache.complete(tmp_path / "cache")
    assert counted[counts.MISSES] - counted[counts.EVICTIONS] == len(held) <= 5
    for path in held:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
    assert config.load(file).cache_bytes < 8 * SIZE
