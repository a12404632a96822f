# SPDX-License-Identifier: Apache-2.0
"""What has to leave the image cache, what may never, and what killed downloads leave."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from execnode import cache, config, counts, disk, eviction, exits, locks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 100_000
USER = """
import sys, time
from pathlib import Path
from execnode import cache
used = cache.use(Path(sys.argv[1]))
print("used", flush=True)
time.sleep(60)
"""


@pytest.fixture
def settings(tmp_path: Path) -> config.NodeConfig:
    (tmp_path / "cache").mkdir()
    three = {"gateway": "https://g", "token_file": "/t", "ca_file": "/c"}
    return config.from_document(three | {"state_dir": str(tmp_path), "cache_bytes": 3 * SIZE + 500})


@pytest.fixture
def images(settings: config.NodeConfig) -> list[Path]:
    """Make three images; the first was not used for longest."""
    paths = []
    for number in range(3):
        name = hashlib.sha256(b"%d" % number).hexdigest()
        path = settings.cache_dir / f"{name}.{('qcow2', 'raw')[number % 2]}"
        path.write_bytes(bytes(SIZE))
        os.utime(path, (time.time() - 1000 + number,) * 2)
        paths.append(path)
    return paths


@pytest.fixture
def lock(settings: config.NodeConfig) -> Iterator[Path]:
    """Hold the lock of a download."""
    path = settings.cache_dir / ("a" * 64 + ".lock")
    with locks.alone(path):
        yield path


def reserve(settings: config.NodeConfig, size: int) -> Path:
    part = settings.cache_dir / ("f" * 64 + ".raw.part")
    with part.open("wb") as file:
        eviction.reserve(settings, file, size)
    return part


def refused(settings: config.NodeConfig, size: int) -> exits.EndedError:
    with pytest.raises(exits.EndedError) as raised:
        reserve(settings, size)
    assert raised.value.exit is exits.DISK_FULL
    return raised.value


def left(images: list[Path]) -> list[bool]:
    return [path.exists() for path in images]


def test_an_image_that_fits_drives_nobody_out(
    settings: config.NodeConfig, images: list[Path]
) -> None:
    assert reserve(settings, 500).stat().st_size == 500
    assert left(images) == [True, True, True]


def test_the_least_recently_used_images_go_until_the_new_one_fits(
    settings: config.NodeConfig, images: list[Path]
) -> None:
    used = cache.use(images[0])
    assert used is not None
    used.close()
    reserve(settings, 2 * SIZE)
    assert left(images) == [True, False, False]
    assert counts.read(settings.cache_dir)[counts.EVICTIONS] == 2


def test_an_image_that_is_used_stays_and_the_next_one_goes(
    settings: config.NodeConfig, images: list[Path]
) -> None:
    used = cache.use(images[0])
    os.utime(images[0], (0, 0))
    reserve(settings, SIZE)
    assert left(images) == [True, False, True]
    assert used is not None
    used.close()


def test_an_image_that_a_stopped_instances_disk_stands_on_stays(
    settings: config.NodeConfig, images: list[Path], tmp_path: Path
) -> None:
    disk.tie(tmp_path / "overlay.qcow2", images[0])
    with (settings.cache_dir / "new.part").open("wb") as part:
        eviction.reserve(settings, part, SIZE)
    assert [path.exists() for path in images] == [True, False, True]
    images[0].unlink()
    disk.put_back(tmp_path / "overlay.qcow2", images[0])
    assert images[0].stat().st_size == SIZE


def test_where_too_much_is_used_nothing_is_removed_and_the_disk_is_full(
    settings: config.NodeConfig, images: list[Path]
) -> None:
    used = cache.use(images[1])
    ended = refused(settings, 3 * SIZE)
    assert str(3 * SIZE) in ended.message
    assert left(images) == [True, True, True]
    assert used is not None
    used.close()


def test_an_image_that_the_empty_cache_could_not_hold_is_refused(
    settings: config.NodeConfig, images: list[Path]
) -> None:
    refused(settings, 4 * SIZE)
    assert left(images) == [True, True, True]


def test_an_image_whose_supervisor_was_killed_may_go_when_its_turn_comes(
    settings: config.NodeConfig, images: list[Path]
) -> None:
    command = [sys.executable, "-c", USER, str(images[0])]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"used\n"
        refused(settings, 3 * SIZE)
        user.send_signal(signal.SIGKILL)
    reserve(settings, SIZE).unlink()
    assert left(images) == [True, False, True]
    reserve(settings, 3 * SIZE)
    assert left(images) == [False, False, False]


def test_what_other_downloads_have_reserved_counts(
    settings: config.NodeConfig, images: list[Path]
) -> None:
    (settings.cache_dir / ("e" * 64 + ".raw.part")).write_bytes(bytes(2 * SIZE))
    reserve(settings, SIZE)
    assert left(images) == [False, False, False]


def test_a_full_disk_drives_images_out_however_much_the_cache_may_hold(
    settings: config.NodeConfig, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = os.statvfs_result((1, 1, 10**9, 0, 0, 1, 1, 1, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    reserve(settings._replace(cache_bytes=10**9), SIZE)
    assert left(images) == [False, True, True]


def test_without_a_setting_the_cache_may_hold_a_share_of_its_disk(
    settings: config.NodeConfig,
) -> None:
    disk = os.statvfs(settings.cache_dir)
    most = eviction.limit(settings._replace(cache_bytes=0))
    assert 0 < most < disk.f_frsize * disk.f_blocks
    assert config.NodeConfig("g", settings.cache_dir, settings.cache_dir).cache_bytes == 0


def test_a_negative_limit_is_refused() -> None:
    three = {"gateway": "https://g", "token_file": "/t", "ca_file": "/c"}
    with pytest.raises(config.ConfigError, match="cache_bytes"):
        config.from_document(three | {"cache_bytes": -1})


def test_the_sweep_removes_what_a_killed_download_left(
    settings: config.NodeConfig, images: list[Path]
) -> None:
    for name in ("a" * 64 + ".lock", "a" * 64 + ".raw.part", "room.lock"):
        (settings.cache_dir / name).touch()
    orphan = settings.cache_dir / ("b" * 64 + ".raw.part")
    orphan.touch()
    os.utime(orphan, (0, 0))
    cache.sweep(settings.cache_dir)
    assert sorted(settings.cache_dir.iterdir()) == sorted(images)


def test_the_sweep_leaves_a_living_download_alone(settings: config.NodeConfig, lock: Path) -> None:
    part = settings.cache_dir / ("a" * 64 + ".raw.part")
    part.touch()
    os.utime(part, (0, 0))
    cache.sweep(settings.cache_dir)
    assert part.exists()
    assert lock.exists()
