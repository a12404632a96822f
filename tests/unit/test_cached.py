# SPDX-License-Identifier: Apache-2.0
"""What the cache directory keeps of earlier versions' builds, and what goes."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gateway.embedded import cached, root
from tools import cloud_image

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NOW = datetime.now(UTC)
LONG_AGO = NOW - cached.KEPT - timedelta(hours=1)
OTHER = "0123456789ab"


def age(cache: Path, at: datetime = LONG_AGO) -> None:
    for path in cache.iterdir():
        os.utime(path, (at.timestamp(), at.timestamp()))


def tree(cache: Path, name: str) -> Path:
    made = cache / name
    (made / "usr" / "bin").mkdir(parents=True)
    (made / "usr" / "bin" / "program").write_text("bytes")
    return made


def names(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


def test_what_was_not_used_for_two_weeks_goes_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    tree(tmp_path, f"root-trixie-{OTHER}")
    tree(tmp_path, f".root-trixie-{OTHER}.17.partial")  # of a build that was killed
    for name in (f"root-trixie-{OTHER}.lock", f"demo-{OTHER}.qcow2", f"demo-{OTHER}.vmlinuz"):
        (tmp_path / name).touch()
    (tmp_path / f"cloud-bookworm-{OTHER}.qcow2").touch()
    (tmp_path / f"cloud-bookworm-{OTHER}.used").touch()
    age(tmp_path)
    gone = [f"cloud-bookworm-{OTHER}", f"demo-{OTHER}", f"root-trixie-{OTHER}"]
    assert cached.remove_unused(tmp_path, NOW) == gone
    assert names(tmp_path) == []


def test_versions_that_take_turns_keep_what_each_of_them_needs(tmp_path: Path) -> None:
    for number, days in enumerate((1, 13, 15)):
        made = tree(tmp_path, f"root-trixie-{number}{OTHER[1:]}")
        at = (NOW - timedelta(days=days)).timestamp()
        os.utime(made, (LONG_AGO.timestamp(), LONG_AGO.timestamp()))
        made.with_suffix(".used").touch()
        os.utime(made.with_suffix(".used"), (at, at))
    assert cached.remove_unused(tmp_path, NOW) == [f"root-trixie-2{OTHER[1:]}"]


def test_a_version_that_leaves_no_stamp_says_by_its_lock_when_it_started(tmp_path: Path) -> None:
    made = tree(tmp_path, f"root-trixie-{OTHER}")
    age(tmp_path)
    made.with_suffix(".lock").touch()
    assert cached.remove_unused(tmp_path, NOW) == []


def test_the_root_of_a_pool_that_holds_no_lock_stays_while_it_is_mounted(tmp_path: Path) -> None:
    cache, proc = tmp_path / "cache", tmp_path / "proc"
    tree(cache, f"root-trixie-{OTHER}")
    age(cache)
    (proc / "17").mkdir(parents=True)
    (proc / "17" / "mountinfo").write_text(
        f"61 38 254:0 /cache/root-trixie-{OTHER} /pool/layers/lower rw - ext4 /dev/vda rw\n"
    )
    assert cached.remove_unused(cache, NOW, proc) == []
    (proc / "17" / "mountinfo").unlink()
    assert cached.remove_unused(cache, NOW, proc) == [f"root-trixie-{OTHER}"]


def test_what_is_in_use_stays_however_old_it_looks(tmp_path: Path) -> None:
    made = tree(tmp_path, f"root-trixie-{OTHER}")
    with cached.used(made), cached.used(made):
        age(tmp_path)
        assert cached.remove_unused(tmp_path, NOW) == []
        assert (made / "usr" / "bin" / "program").exists()


def test_a_use_that_took_weeks_counts_until_its_end(tmp_path: Path) -> None:
    made = tree(tmp_path, f"root-trixie-{OTHER}")
    with cached.used(made):
        age(tmp_path)
    assert cached.remove_unused(tmp_path, NOW) == []
    assert made.is_dir()


def test_what_was_removed_can_be_used_and_built_again(tmp_path: Path) -> None:
    made = tree(tmp_path, f"root-trixie-{OTHER}")
    age(tmp_path)
    cached.remove_unused(tmp_path, NOW)
    with cached.used(made):
        assert not made.exists()
        tree(tmp_path, made.name)
        age(tmp_path)
        assert cached.remove_unused(tmp_path, NOW) == []


def test_a_removal_that_was_cut_is_done_by_the_next_one(tmp_path: Path) -> None:
    tree(tmp_path, f"root-trixie-{OTHER}")
    tree(tmp_path, f".root-trixie-{OTHER}.removed.partial")
    age(tmp_path)
    assert cached.remove_unused(tmp_path, NOW) == [f"root-trixie-{OTHER}"]
    assert names(tmp_path) == []


def test_nothing_else_in_the_directory_is_touched(tmp_path: Path) -> None:
    for name in ("guest-tree.lock", "cloud-bookworm.lock", "root-of-mine", "demo.qcow2"):
        (tmp_path / name).touch()
    (tmp_path / "root-trixie-backup").mkdir()
    age(tmp_path)
    there = names(tmp_path)
    assert cached.remove_unused(tmp_path, NOW) == []
    assert names(tmp_path) == there


def test_what_is_built_here_is_known_by_its_name(tmp_path: Path) -> None:
    tree(tmp_path, root.path(tmp_path).name)
    cloud_image.path(tmp_path).touch()
    age(tmp_path)
    gone = {root.path(tmp_path).name, cloud_image.path(tmp_path).stem}
    nothing_mounted = tmp_path / "proc"  # a pool of this machine may run on that very root
    assert set(cached.remove_unused(tmp_path, NOW, nothing_mounted)) == gone


def test_another_users_cache_is_used_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tree(tmp_path, f"root-trixie-{OTHER}")
    age(tmp_path)

    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    with cached.used(made) as lock:
        assert lock is None
    assert cached.remove_unused(tmp_path, NOW) == []
    assert made.is_dir()
