# SPDX-License-Identifier: Apache-2.0
"""Databases of earlier releases become those of this one, with what is in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from gateway.store import (
    client_tokens,
    database,
    images,
    import_tasks,
    instances,
    launch_permissions,
    schema,
    tags,
)

MIGRATIONS = str(Path(database.__file__).parent / "migrations")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'test.db'}"


def at_revision(url: str, revision: str, rows: str = "") -> None:
    """Bring a database to a revision, and put rows into it."""
    config = Config()
    config.set_main_option("script_location", MIGRATIONS)
    with database.writing(database.engine(url)) as db:
        config.attributes["connection"] = db
        command.upgrade(config, revision)
        for statement in filter(None, rows.strip().split(";\n")):
            db.exec_driver_sql(statement)


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
    config.set_main_option("script_location", MIGRATIONS)
    assert ScriptDirectory.from_config(config).get_current_head() == schema.REVISION


def test_rows_of_the_first_release_are_kept_by_later_migrations(url: str) -> None:
    at_revision(url, "0001", FIRST_ROWS)
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
    at_revision(url, "0007", FIRST_ROWS + TOKENS)
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


CHANGED = """
ALTER TABLE captures ADD COLUMN disk_bytes BIGINT;
ALTER TABLE captures DROP COLUMN parked
"""


def test_both_shapes_that_revision_0019_has_had_go_on(url: str) -> None:
    at_revision(url, "0019", CHANGED)
    database.migrate(url)
    with database.reading(database.engine(url)) as db:
        assert compare_metadata(MigrationContext.configure(db), schema.metadata) == []


def test_what_is_left_of_images_that_are_gone_goes(url: str) -> None:
    at_revision(url, "0001", FIRST_ROWS)
    at_revision(url, "0020", LEFT)
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
