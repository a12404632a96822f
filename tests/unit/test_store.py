# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from gateway.store import (
    access_keys,
    accounts,
    client_tokens,
    console,
    database,
    images,
    import_tasks,
    instances,
    key_pairs,
    launch_permissions,
    nodes,
    reservations,
    schema,
    tags,
)
from gateway.store.accounts import Account

NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'test.db'}"


def statements(url: str) -> dict[str, str]:
    with database.reading(database.engine(url)) as db:
        rows = db.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {name: " ".join(sql.split()) for name, sql in rows if name != "alembic_version"}


def test_migrations_produce_exactly_the_schema(url: str, tmp_path: Path) -> None:
    database.migrate(url)
    created = f"sqlite:///{tmp_path / 'created.db'}"
    with database.writing(database.engine(created)) as db:
        schema.metadata.create_all(db)
    with database.reading(database.engine(url)) as db:
        assert compare_metadata(MigrationContext.configure(db), schema.metadata) == []
    migrated, wanted = statements(url), statements(created)
    assert migrated.keys() == wanted.keys()
    # Column types beside their database types are the same too, partial indexes included.
    assert {n: sorted(s.split(", ")) for n, s in migrated.items() if n.startswith("uq")} == {
        n: sorted(s.split(", ")) for n, s in wanted.items() if n.startswith("uq")
    }


def test_the_newest_revision_is_known_without_alembic() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == schema.REVISION


def test_rows_of_the_first_release_are_kept_by_later_migrations(url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    with database.writing(database.engine(url)) as db:
        config.attributes["connection"] = db
        command.upgrade(config, "0001")
        for statement in FIRST_ROWS.strip().split(";\n"):
            db.exec_driver_sql(statement)
    database.migrate(url)
    with database.reading(database.engine(url)) as db:
        image = images.get(db, "ami-1")
        instance = instances.get(db, "i-1")
    assert image is not None
    assert (image.name, image.root_device_name, image.disk_bytes) == ("demo", "/dev/vda", None)
    assert instance is not None
    assert instance.image_id == "ami-1"


FIRST_ROWS = """
INSERT INTO accounts VALUES ('123456789012', 'first', 0);
INSERT INTO images (id, account_id, name, description, state, architecture, location, created_at,
    public, registered)
  VALUES ('ami-1', '123456789012', 'demo', '', 'available', 'x86_64', '/x', 0, 0, 1);
INSERT INTO reservations (id, account_id, request_hash, created_at)
  VALUES ('r-1', '123456789012', '', 0);
INSERT INTO instances (id, reservation_id, account_id, launch_index, image_id, instance_type,
    vcpus, memory_mib, mac, launched_at, wanted, state, state_changed_at, run, submit_state,
    availability_zone)
  VALUES ('i-1', 'r-1', '123456789012', 0, 'ami-1', 'small', 1, 512, '52:54:00:00:00:01', 0,
    'running', 'running', 0, 1, 'submitted', 'zone');
"""


def test_client_tokens_are_kept_when_they_get_a_table_of_their_own(url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    with database.writing(database.engine(url)) as db:
        config.attributes["connection"] = db
        command.upgrade(config, "0007")
        for statement in (FIRST_ROWS + TOKENS).strip().split(";\n"):
            db.exec_driver_sql(statement)
    database.migrate(url)
    with database.reading(database.engine(url)) as db:
        kept = [
            client_tokens.get(db, "123456789012", kind, "one")
            for kind in ("reservation", "image", "import image task")
        ]
        [task] = import_tasks.select(db, "123456789012")
        launched = instances.get(db, "i-1")
    assert [(one.resource_id, one.request_hash) for one in kept] == [
        ("r-1", "hash"),
        ("ami-1", "copy"),
        ("import-ami-1", "import"),
    ]
    assert (task.location, task.state, task.ended_at) == ("/x", "active", None)
    assert launched is not None
    assert launched.client_token == "one"  # noqa: S105 - a client token


TOKENS = """
UPDATE reservations SET client_token = 'one', request_hash = 'hash';
UPDATE images SET client_token = 'one', request_hash = 'copy';
INSERT INTO import_tasks (id, account_id, image_id, description, disk_description, location, state,
    progress, client_token, request_hash, created_at)
  VALUES ('import-ami-1', '123456789012', 'ami-2', '', '', '/x', 'active', 1, 'one', 'import', 0);
"""


def test_both_shapes_that_revision_0019_has_had_go_on(url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    with database.writing(database.engine(url)) as db:
        config.attributes["connection"] = db
        command.upgrade(config, "0019")
        db.exec_driver_sql("ALTER TABLE captures ADD COLUMN disk_bytes BIGINT")
        db.exec_driver_sql("ALTER TABLE captures DROP COLUMN parked")
    database.migrate(url)
    with database.reading(database.engine(url)) as db:
        assert compare_metadata(MigrationContext.configure(db), schema.metadata) == []


def test_what_is_left_of_images_that_are_gone_goes(url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    with database.writing(database.engine(url)) as db:
        config.attributes["connection"] = db
        command.upgrade(config, "0001")
        for statement in FIRST_ROWS.strip().split(";\n"):
            db.exec_driver_sql(statement)
        command.upgrade(config, "0020")
        for statement in LEFT.strip().split(";\n"):
            db.exec_driver_sql(statement)
    database.migrate(url)
    with database.writing(database.engine(url)) as db:
        images.delete_unused(db)
        allowed = launch_permissions.select(db, ["ami-2", "ami-3"])
        tagged = tags.select(db, ["ami-2", "ami-3"])
    assert list(allowed) == ["ami-3"]
    assert list(tagged) == ["ami-3"]


LEFT = """
INSERT INTO images (id, account_id, name, description, state, architecture, location, created_at,
    public, registered)
  VALUES ('ami-2', '123456789012', 'gone', '', 'pending', 'x86_64', '/x', 0, 0, 0),
    ('ami-3', '123456789012', 'here', '', 'pending', 'x86_64', '/x', 0, 0, 1);
INSERT INTO launch_permissions VALUES ('ami-2', '2'), ('ami-3', '2');
INSERT INTO tags (account_id, resource_id, key, value)
  VALUES ('123456789012', 'ami-2', 'key', ''), ('123456789012', 'ami-3', 'key', '');
"""


def test_migrating_twice_changes_nothing(url: str) -> None:
    database.migrate(url)
    first = statements(url)
    database.migrate(url)
    assert statements(url) == first


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
