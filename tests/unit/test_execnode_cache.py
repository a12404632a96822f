# SPDX-License-Identifier: Apache-2.0
"""The image cache against a node link over real TLS."""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING

import pytest
from execnode_gateway import Gateway, install_programs, specification

from execnode import cache, config, counts, disk, exits, locks, spec
from execnode.link import NodeLink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IMAGE = bytes(range(256)) * 4096


class Clock:
    """Time that passes when somebody sleeps."""

    now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path)
    gateway.image = IMAGE
    gateway.spec = specification(IMAGE)
    (tmp_path / "token").write_text(gateway.token)
    (tmp_path / "cache").mkdir()
    yield gateway
    gateway.close()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clock:
    clock = Clock()
    monkeypatch.setattr(cache, "monotonic", lambda: clock.now)
    monkeypatch.setattr(cache, "sleep", clock.sleep)
    monkeypatch.setenv("PATH", install_programs(tmp_path / "bin"))
    return clock


def settings(gateway: Gateway, place: Path) -> config.NodeConfig:
    three = {"gateway": gateway.url, "token_file": f"{place}/token"}
    three |= {"ca_file": str(gateway.certificate)}
    return config.from_document(three | {"state_dir": str(place)})


def fetch(gateway: Gateway, place: Path, document: dict[str, object] | None = None) -> Path:
    node = settings(gateway, place)
    image = spec.read(document or gateway.spec).image
    used = cache.fetch(node, image, NodeLink(node), lambda: None)
    used.close()
    return used.path


def refused(gateway: Gateway, place: Path) -> exits.EndedError:
    with pytest.raises(exits.EndedError) as raised:
        fetch(gateway, place)
    assert cache.cached(place / "cache") == []
    assert [one for one in (place / "cache").iterdir() if not counts.is_own(one)] == []
    return raised.value


def test_an_image_is_downloaded_once_and_then_found(gateway: Gateway, tmp_path: Path) -> None:
    first = fetch(gateway, tmp_path)
    assert fetch(gateway, tmp_path) == first
    assert first.read_bytes() == IMAGE
    assert gateway.downloads == 1
    assert cache.cached(tmp_path / "cache") == [gateway.spec["image"]["sha256"]]


def test_a_cached_image_cannot_be_written_or_seen_by_others(
    gateway: Gateway, tmp_path: Path
) -> None:
    assert fetch(gateway, tmp_path).stat().st_mode & 0o777 == 0o440


def test_many_that_wait_for_one_image_download_it_once(gateway: Gateway, tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch(gateway, tmp_path))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert gateway.downloads == 1


def test_wrong_bytes_are_tried_three_times_and_never_cached(
    gateway: Gateway, tmp_path: Path
) -> None:
    gateway.image = IMAGE[:-1] + b"?"
    assert refused(gateway, tmp_path).exit is exits.IMAGE_CHECKSUM
    assert gateway.downloads == 3
    counted = counts.read(tmp_path / "cache")
    assert (counted[counts.MISSES], counted[counts.BYTES]) == (1, 3 * len(IMAGE))


def test_wrong_bytes_once_are_made_good_by_the_next_try(gateway: Gateway, tmp_path: Path) -> None:
    gateway.image = IMAGE[:-1] + b"?"

    def mend() -> None:
        if gateway.downloads == 2:
            gateway.image = IMAGE

    gateway.on_download = mend
    assert fetch(gateway, tmp_path).read_bytes() == IMAGE


def test_a_cut_download_goes_on_at_the_byte_where_it_was_cut(
    gateway: Gateway, tmp_path: Path
) -> None:
    gateway.cuts = [100_000, 100_001, 700_000]
    assert fetch(gateway, tmp_path).read_bytes() == IMAGE
    assert gateway.starts == [0, 100_000, 100_001, 700_000]


def test_a_long_download_that_is_cut_late_still_goes_on(
    gateway: Gateway, tmp_path: Path, clock: Clock
) -> None:
    gateway.cuts = [500_000]
    gateway.on_download = lambda: clock.sleep(10 * cache.PATIENCE)
    assert fetch(gateway, tmp_path).read_bytes() == IMAGE
    assert gateway.starts == [0, 500_000]


def test_a_gateway_that_begins_anew_in_spite_of_the_range_is_understood(
    gateway: Gateway, tmp_path: Path
) -> None:
    gateway.honours_range = False
    gateway.cuts = [500_000]
    assert fetch(gateway, tmp_path).read_bytes() == IMAGE
    assert gateway.starts == [0, 500_000]


def test_a_download_without_progress_is_given_up_after_a_bounded_number_of_tries(
    gateway: Gateway, tmp_path: Path
) -> None:
    gateway.image = IMAGE[:1000]
    ended = refused(gateway, tmp_path)
    assert ended.exit is exits.GATEWAY_UNREACHABLE
    assert set(gateway.starts[1:]) == {1000}
    assert 1 < gateway.downloads <= 2 + cache.PATIENCE / cache.PAUSE


def test_wrong_bytes_behind_a_cut_are_found_by_the_checksum_of_the_whole(
    gateway: Gateway, tmp_path: Path
) -> None:
    gateway.image = b"?" + IMAGE[1:]
    gateway.cuts = [500_000]

    def mend() -> None:
        gateway.image = gateway.image if gateway.downloads == 1 else IMAGE

    gateway.on_download = mend
    assert fetch(gateway, tmp_path).read_bytes() == IMAGE
    assert gateway.starts == [0, 500_000, 0]


def test_an_image_that_the_gateway_lost_is_missing(gateway: Gateway, tmp_path: Path) -> None:
    with pytest.raises(exits.EndedError, match="image-missing") as raised:
        fetch(gateway, tmp_path, specification(b"another"))
    assert "It is gone." in raised.value.message


def qcow2(*, backing: int = 0, incompatible: int = 0) -> bytes:
    header = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, backing, 0, 16, 1024 * 1024)
    return header.ljust(72, b"\0") + struct.pack(">Q", incompatible) + bytes(24)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"plain bytes" * 100, "not of format qcow2"),
        (qcow2(backing=4096), "has a backing file"),
        (qcow2(incompatible=4), "has an external data file"),
    ],
)
def test_an_image_that_leans_on_other_files_is_refused_before_qemu_sees_it(
    gateway: Gateway, tmp_path: Path, content: bytes, sentence: str
) -> None:
    gateway.image = content
    gateway.spec = specification(content, "qcow2")
    ended = refused(gateway, tmp_path)
    assert ended.exit is exits.IMAGE_REFUSED
    assert sentence in ended.message


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"format": "raw"}, "not of format qcow2"),
        ({"format": "qcow2", "backing-filename": "/etc/passwd"}, "backing file"),
        (
            {"format": "qcow2", "format-specific": {"data": {"data-file": "/dev/sda"}}},
            "external data file",
        ),
    ],
)
def test_what_qemu_img_sees_is_refused_too(answer: dict[str, object], sentence: str) -> None:
    with pytest.raises(exits.EndedError) as raised:
        disk._inspect_answer(answer, "qcow2")
    assert sentence in raised.value.message


def test_hits_misses_and_downloads_are_counted_and_told(gateway: Gateway, tmp_path: Path) -> None:
    fetch(gateway, tmp_path)
    for _ in range(2):
        fetch(gateway, tmp_path)
    counted = counts.read(tmp_path / "cache")
    assert (counted[counts.HITS], counted[counts.MISSES]) == (2, 1)
    assert counted[counts.BYTES] == len(IMAGE)


@pytest.mark.parametrize("text", ["", "[]", '{"hits": "many", "misses": true}'])
def test_counts_that_cannot_be_read_begin_anew(gateway: Gateway, tmp_path: Path, text: str) -> None:
    (tmp_path / "cache").mkdir(exist_ok=True)
    (tmp_path / "cache" / "counts.json").write_text(text)
    assert set(counts.read(tmp_path / "cache").values()) == {0}
    fetch(gateway, tmp_path)
    assert counts.read(tmp_path / "cache")[counts.MISSES] == 1


def test_a_launch_does_not_fail_for_what_cannot_be_counted(tmp_path: Path) -> None:
    counts.add(tmp_path / "nowhere", hits=1)
    assert counts.read(tmp_path / "nowhere")[counts.HITS] == 0


def test_who_counts_does_not_wait_long_for_another_that_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "PATIENCE", 0.01)
    with locks.alone(tmp_path / "counts.lock"):
        counts.add(tmp_path, hits=1)
    assert counts.read(tmp_path)[counts.HITS] == 0
    counts.add(tmp_path, hits=1)
    assert counts.read(tmp_path)[counts.HITS] == 1
