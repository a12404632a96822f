# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from gateway.store import (
    access_keys,
    accounts,
    console,
    database,
    images,
    instances,
    key_pairs,
    nodes,
    reservations,
    schema,
)
from gateway.store.accounts import Account

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'test.db'}"


def test_a_database_of_a_newer_release_is_refused_in_a_sentence(url: str) -> None:
    database.migrate(url)
    with database.writing(database.engine(url)) as db:
        db.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(database.DatabaseError, match="release"):
        database.migrate(url)


def test_a_database_that_cannot_be_opened_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "test.db").mkdir()
    with pytest.raises(database.DatabaseError, match="cannot be used"):
        database.migrate(f"sqlite:///{tmp_path / 'test.db'}")


def test_only_its_owner_may_read_the_database_file(url: str, tmp_path: Path) -> None:
    database.migrate(url)
    assert (tmp_path / "test.db").stat().st_mode & 0o077 == 0


def run(script: str, url: str) -> int:
    return subprocess.run([sys.executable, "-c", script, url], check=False).returncode


COMMIT_AND_DIE = """
import os, signal, sys
from datetime import UTC, datetime
from gateway.store import accounts, database
with database.writing(database.engine(sys.argv[1])) as db:
    accounts.insert(db, accounts.Account("1" * 12, "kept", datetime.now(UTC)))
os.kill(os.getpid(), signal.SIGKILL)
"""

FORK = """
import os, sys
from datetime import UTC, datetime
from gateway.store import accounts, database
engine = database.engine(sys.argv[1])
with database.reading(engine) as db:
    accounts.select(db)
for number in range(4):
    if os.fork() == 0:
        with database.writing(engine) as db:
            account = accounts.Account(str(number) * 12, str(number), datetime.now(UTC))
            accounts.insert(db, account)
        os._exit(0)
failed = [status for _ in range(4) if (status := os.wait()[1])]
with database.reading(engine) as db:
    sys.exit(0 if not failed and len(accounts.select(db)) == 4 else 1)
"""


def test_what_was_committed_survives_the_death_of_the_process(url: str) -> None:
    database.migrate(url)
    assert run(COMMIT_AND_DIE, url) == -9
    with database.reading(database.engine(url)) as db:
        assert [account.name for account in accounts.select(db)] == ["kept"]


def test_an_engine_made_before_a_fork_works_in_the_children(url: str) -> None:
    database.migrate(url)
    assert run(FORK, url) == 0


def test_an_exception_undoes_the_transaction(url: str) -> None:
    database.migrate(url)
    engine = database.engine(url)

    def fail() -> None:
        with database.writing(engine) as db:
            accounts.insert(db, Account("1" * 12, "gone", NOW))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with database.reading(engine) as db:
        assert accounts.select(db) == []


def test_what_is_rehearsed_is_undone_and_no_other_writer_keeps_it_from_writing(url: str) -> None:
    database.migrate(url)
    mine, other = database.engine(url), database.engine(url)

    def write() -> None:
        with database.writing(other) as db:
            accounts.insert(db, Account("2", "other", NOW))

    writer = threading.Thread(target=write)
    with database.rehearsing(mine) as db:
        assert accounts.get_by_name(db, "mine") is None
        writer.start()
        # It waits, or what was seen here is out of date by now.
        writer.join(0.5)
        accounts.insert(db, Account("1", "mine", NOW))
        assert accounts.get_by_name(db, "mine") is not None
    writer.join()
    with database.reading(mine) as db:
        assert accounts.get_by_name(db, "mine") is None
        assert accounts.get_by_name(db, "other") is not None


def test_readers_see_one_state_while_a_writer_commits(url: str) -> None:
    database.migrate(url)
    engine = database.engine(url)
    with database.reading(engine) as reader:
        assert accounts.select(reader) == []
        with database.writing(engine) as writer:
            accounts.insert(writer, Account("1" * 12, "new", NOW))
        assert accounts.select(reader) == []
    with database.reading(engine) as reader:
        assert len(accounts.select(reader)) == 1


def test_points_in_time_keep_their_milliseconds(url: str) -> None:
    database.migrate(url)
    engine = database.engine(url)
    odd = NOW + timedelta(microseconds=999)
    with database.writing(engine) as db:
        accounts.insert(db, Account("1" * 12, "name", odd))
    with database.reading(engine) as db:
        assert accounts.select(db)[0].created_at == NOW


@pytest.mark.parametrize(
    ("row", "table"),
    [
        (access_keys.AccessKey, schema.access_keys),
        (accounts.Account, schema.accounts),
        (console.Console, schema.console),
        (images.Image, schema.images),
        (key_pairs.KeyPair, schema.key_pairs),
        (nodes.Node, schema.nodes),
        (reservations.Reservation, schema.reservations),
    ],
)
def test_a_row_has_the_columns_of_its_table_in_their_order(row: Any, table: Any) -> None:
    assert list(row._fields) == [column.name for column in table.columns]


def test_an_instance_has_every_column_but_its_user_data() -> None:
    columns = [column.name for column in schema.instances.columns if column.name != "user_data"]
    others = ["client_token", "architecture", "root_device_name", "boot_mode"]
    assert list(instances.Instance._fields) == [*columns, *others]


def test_a_file_that_was_moved_away_is_not_used_any_longer_and_none_is_made(
    url: str, tmp_path: Path
) -> None:
    database.migrate(url)
    engine = database.engine(url)
    with database.writing(engine) as db:
        accounts.insert(db, Account("000000000001", "one", NOW))
    file, moved = tmp_path / "test.db", tmp_path / "moved.db"
    file.rename(moved)
    for transaction in (database.reading, database.writing):
        with pytest.raises(database.OutOfOrder, match="is not there"), transaction(engine):
            pytest.fail("a transaction on a file that is gone")
    assert not file.exists()
    moved.rename(file)
    with database.reading(engine) as db:
        assert accounts.get(db, "000000000001") is not None


def test_a_file_that_was_replaced_is_read_anew(url: str, tmp_path: Path) -> None:
    database.migrate(url)
    engine = database.engine(url)
    with database.writing(engine) as db:
        accounts.insert(db, Account("000000000001", "one", NOW))
    engine.dispose()
    backup = tmp_path / "backup.db"
    backup.write_bytes((tmp_path / "test.db").read_bytes())
    with database.writing(engine) as db:
        accounts.insert(db, Account("000000000002", "two", NOW))
    for left in ("test.db-wal", "test.db-shm"):
        (tmp_path / left).unlink(missing_ok=True)
    backup.rename(tmp_path / "test.db")
    with database.reading(engine) as db:
        assert accounts.get(db, "000000000001") is not None
        assert accounts.get(db, "000000000002") is None


def test_writers_that_wait_for_a_lock_leave_room_and_the_next_is_sent_away(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "STUCK_SECONDS", 0.1)
    monkeypatch.setattr(database, "LOCK_SECONDS", 120.0)
    database.migrate(url)
    engine = database.engine(url, writers=2)

    def write(number: int) -> None:
        with database.writing(engine) as db:
            accounts.insert(db, Account(f"{number:012}", f"{number}", NOW))

    with ThreadPoolExecutor() as threads:
        with database.writing(database.engine(url)):
            writers = [threads.submit(write, number) for number in range(3)]
            done, waiting = wait(writers, 60, return_when=FIRST_COMPLETED)
            [sent_away] = done
            assert isinstance(sent_away.exception(), database.Crowded)
            with database.reading(engine) as db:
                assert accounts.select(db) == []
        for one in waiting:
            one.result(60)
    with database.reading(engine) as db:
        assert len(accounts.select(db)) == 2


@pytest.mark.parametrize(("durably", "level"), [(False, 1), (True, 2)])
def test_what_shall_outlast_a_power_cut_is_synced_and_nothing_else(
    tmp_path: Path, durably: bool, level: int
) -> None:
    url = f"sqlite:///{tmp_path / 'some.db'}"
    database.migrate(url)
    made = database.engine(url)
    with database.writing(made, durably=not durably):
        pass
    with database.writing(made, durably=durably) as db:
        assert db.exec_driver_sql("PRAGMA synchronous").scalar() == level
