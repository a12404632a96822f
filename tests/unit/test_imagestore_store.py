# SPDX-License-Identifier: Apache-2.0
"""The directory store: nothing torn under a final name, whatever happens."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.imagestore.store import DirectoryStore, MissingError, StoreError, StoreFullError

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = os.urandom(3 * 2**20 + 17)
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "images")


def put(store: DirectoryStore, data: bytes) -> str:
    with store.upload(len(data)) as upload:
        upload.write(data)
        return upload.commit()


def names(store: DirectoryStore) -> list[str]:
    return sorted(path.name for path in store.directory.iterdir())


def test_a_file_is_found_under_the_checksum_of_its_bytes(store: DirectoryStore) -> None:
    assert put(store, DATA) == DIGEST
    with store.open(DIGEST) as file:
        assert file.read() == DATA
    assert store.size(DIGEST) == len(DATA)
    assert store.digests() == {DIGEST}


def test_the_same_bytes_twice_are_one_file(store: DirectoryStore) -> None:
    assert put(store, DATA) == put(store, DATA)
    assert names(store) == [DIGEST]


@pytest.mark.parametrize(
    "data",
    [b"", bytes(2**20), b"x" + bytes(2**20), bytes(2**20) + b"x", bytes(100_000), b"x" * 70_000],
    ids=["empty", "zeros", "zeros last", "zeros first", "zeros, no whole piece", "no zeros"],
)
def test_holes_do_not_change_the_bytes(store: DirectoryStore, data: bytes) -> None:
    digest = put(store, data)
    assert digest == hashlib.sha256(data).hexdigest()
    with store.open(digest) as file:
        assert file.read() == data


def test_zeros_take_no_room(store: DirectoryStore) -> None:
    digest = put(store, bytes(16 * 2**20))
    assert store.path(digest).stat().st_blocks * 512 < 2**20


def test_a_file_that_is_not_committed_leaves_nothing(store: DirectoryStore) -> None:
    with store.upload() as upload:
        upload.write(DATA)
    assert names(store) == []


def test_bytes_on_their_way_in_are_not_listed_or_opened(store: DirectoryStore) -> None:
    with store.upload() as upload:
        upload.write(DATA)
        upload.flush()
        assert upload.path.read_bytes() == DATA
        assert store.digests() == set()
        with pytest.raises(MissingError):
            store.open(DIGEST)


def test_more_than_the_room_there_is_is_refused_at_once(store: DirectoryStore) -> None:
    with pytest.raises(StoreFullError, match=r"has no room for \d+ bytes\."):
        store.upload(2**60).__enter__()
    assert names(store) == []


def test_a_disk_that_becomes_full_leaves_nothing_and_recovers(store: DirectoryStore) -> None:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, old[1]))
    try:
        with pytest.raises(StoreFullError, match="has no room"):
            put(store, DATA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert names(store) == []
    assert put(store, DATA) == DIGEST


@pytest.mark.parametrize("name", ["", "..", "../" + "0" * 61, "A" * 64, "f" * 63])
def test_only_checksums_are_names(store: DirectoryStore, name: str) -> None:
    with pytest.raises(MissingError):
        store.open(name)
    with pytest.raises(MissingError):
        store.delete(name)


def test_a_deleted_file_can_be_read_on_by_who_has_it_open(store: DirectoryStore) -> None:
    put(store, DATA)
    with store.open(DIGEST) as file:
        store.delete(DIGEST)
        store.delete(DIGEST)
        assert file.read() == DATA
    assert store.digests() == set()


KILLED = """
import os, sys
from pathlib import Path
from gateway.imagestore.store import DirectoryStore
with DirectoryStore(Path(sys.argv[1])).upload() as upload:
    upload.write(b"half")
    print(upload.path.name, flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), 9)
"""


def test_a_sweep_removes_what_killed_processes_left_and_nothing_else(
    store: DirectoryStore,
) -> None:
    put(store, DATA)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(store.directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        partial = writer.stdout.readline().strip()
        store.sweep()
        assert partial in names(store), "a living process lost its file"
        writer.stdin.write("\n")
        writer.stdin.close()
        writer.wait()
    assert partial in names(store)
    store.sweep()
    assert names(store) == [DIGEST]


def test_it_locks_as_nfs_has_it(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = fcntl.flock

    def flock(file: Any, kind: int) -> None:
        # Linux, fs/nfs: a shared lock needs a descriptor that reads, any other one that writes.
        handle = file if isinstance(file, int) else file.fileno()
        mode = fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE
        if mode == (os.O_WRONLY if kind & fcntl.LOCK_SH else os.O_RDONLY):
            raise OSError(errno.EBADF, "Bad file descriptor")
        lock(file, kind)

    monkeypatch.setattr(fcntl, "flock", flock)
    with store.resumable("one") as kept:
        kept.write(DATA)
        kept.note("version")
    store.sweep()
    with store.keeping():
        put(store, DATA)
    with store.removing() as now:
        assert now


def test_what_a_killed_commit_leaves_can_be_locked_by_who_is_not_root(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    rename = Path.rename

    def look(path: Path, to: Path) -> Path:
        modes.append(path.stat().st_mode & 0o777)
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", look)
    assert store.path(put(store, DATA)).stat().st_mode & 0o777 == 0o444
    assert modes == [0o644]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StoreFullError),
        (errno.EDQUOT, StoreFullError),
        (errno.EFBIG, StoreFullError),
        (errno.ESTALE, StoreError),
        (errno.EIO, StoreError),
    ],
)
def test_what_the_kernel_says_of_a_write_is_told(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StoreError]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with store.upload() as upload:
        upload.write(DATA)
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StoreError, match=os.strerror(number)) as caught:
            upload.commit()
    assert type(caught.value) is kind
    assert names(store) == []


@pytest.mark.parametrize(
    ("module", "function", "act"),
    [
        (fcntl, "flock", lambda store: store.upload().__enter__()),
        (fcntl, "flock", lambda store: store.resumable("one").__enter__()),
        (fcntl, "flock", lambda store: store.keeping().__enter__()),
        (fcntl, "flock", lambda store: store.removing().__enter__()),
        (Path, "iterdir", lambda store: store.digests()),
        (Path, "glob", lambda store: store.sweep()),
        (Path, "unlink", lambda store: store.delete(DIGEST)),
        (Path, "stat", lambda store: store.size(DIGEST)),
        (Path, "open", lambda store: store.open(DIGEST)),
        (Path, "mkdir", lambda store: DirectoryStore(store.directory)),
    ],
)
def test_a_directory_that_is_gone_for_a_moment_is_a_stores_trouble(
    store: DirectoryStore,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    function: str,
    act: Callable[[DirectoryStore], object],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as failing:
        failing.setattr(module, function, fail)
        with pytest.raises(StoreError, match="cannot be used: Stale file handle"):
            act(store)


def test_nothing_is_removed_while_something_is_kept(store: DirectoryStore) -> None:
    with store.keeping(), store.keeping(), store.removing() as now:
        assert not now
    with store.removing() as now:
        assert now


def test_keeping_waits_for_removing(store: DirectoryStore) -> None:
    order: list[str] = []

    def keep() -> None:
        with store.keeping():
            order.append("kept")

    with store.removing():
        thread = threading.Thread(target=keep)
        thread.start()
        thread.join(0.1)
        order.append("removed")
    thread.join()
    assert order == ["removed", "kept"]
