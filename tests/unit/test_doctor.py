# SPDX-License-Identifier: Apache-2.0
"""The doctor: each thing that can be wrong is named, with what to do about it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import s3_servers
from click.testing import CliRunner

from gateway import wake
from gateway.cli import main
from gateway.cloud import accounts, images
from gateway.config import Settings
from gateway.doctor import servers, storage
from gateway.imagestore import qemu_img
from gateway.nodelink import credentials
from gateway.store import database
from gateway.store.images import Content

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.doctor.verdict import Check


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "a state", port=_free(), nodelink_port=_free())


@pytest.fixture
def migrated(settings: Settings) -> Settings:
    database.migrate(settings.database)
    return settings


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def named(checks: Any, name: str) -> Check:
    found = [check for check in checks if check.name == name]
    assert len(found) == 1, name
    check: Check = found[0]
    assert check.found
    assert (check.state == "ok") == (check.advice == "")
    return check


def _image(settings: Settings, content: bytes) -> str:
    now = datetime.now(UTC)
    with database.writing(database.engine(settings.database)) as db:
        account = accounts.ensure_account(db, "default", now).id
        new = images.NewImage("disk", "http://localhost/disk")
        made = images.register(db, account, new, tagged={}, now=now, sources=None)
        images.imported(db, made.id, Content("ab" * 32, len(content), len(content), "raw"))
    settings.image_dir.mkdir(exist_ok=True)
    (settings.image_dir / ("ab" * 32)).write_bytes(content)
    return made.id


@pytest.mark.parametrize("damage", ["gone", "short"])
def test_an_image_whose_file_is_damaged_is_named(migrated: Settings, damage: str) -> None:
    image = _image(migrated, b"disk")
    assert _doctor(migrated)["images"]["state"] == "ok"
    file = migrated.image_dir / ("ab" * 32)
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(b"dis")
    check = _doctor(migrated, status=1)["images"]
    assert check["state"] == "failed"
    assert image in check["found"]


def test_options_for_buckets_that_cannot_be_read_are_told_of(
    settings: Settings, tmp_path: Path
) -> None:
    assert list(storage.image_buckets(settings)) == []
    options = tmp_path / "source.toml"
    given = replace(settings, image_source_buckets="disks", image_source_options=str(options))
    assert "source.toml" in named(storage.image_buckets(given), "image buckets").found
    options.write_text('color = "red"')
    assert "no option named color" in named(storage.image_buckets(given), "image buckets").found
    options.write_text("virtual_hosted_style_request = true")
    assert "virtual_hosted" in named(storage.image_buckets(given), "image buckets").found


def test_buckets_that_give_nothing_are_told_of(settings: Settings, tmp_path: Path) -> None:
    with s3_servers.serving("rclone", tmp_path / "objects", "disks") as url:
        options = s3_servers.options(url, tmp_path / "source.toml")
        given = replace(settings, image_source_options=str(options))

        def found(buckets: str) -> Check:
            checks = storage.image_buckets(replace(given, image_source_buckets=buckets))
            return named(checks, "image buckets")

        assert found("disks/public, disks/private").state == "ok"
        assert found("disks/public, nobodys/private").found.startswith("nobodys/private: ")
        assert found("disks, nobodys").found == "nobodys: There is no such bucket."
        options.write_text(options.read_text().replace('"secret"', '"wrong"'))
        assert found("disks").found.startswith("disks does not let the gateway in")
        assert found("disks").state == "warning"
    assert "cannot be read" in found("disks").found  # the server has ended


def test_a_qemu_img_that_is_not_confined_is_told_of(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for confined, state in ((("unshare",), "ok"), ((), "warning")):
        monkeypatch.setattr(qemu_img, "confinement", lambda _, words=confined: words)
        assert storage.inspector(settings).state == state


def test_a_clock_that_went_back_fails() -> None:
    now = datetime.now(UTC)
    assert storage.clock(None).state == "ok"
    assert storage.clock(now).state == "ok"
    assert storage.clock(now + timedelta(hours=1)).state == "failed"


def test_little_room_in_the_store_is_a_warning(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "LEAST_FREE", shutil.disk_usage("/").total * 1000)
    assert named(storage.image_store(settings), "image store").state == "warning"


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_the_room_is_looked_at_where_images_are_kept(
    settings: Settings, tmp_path: Path, form: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    given = replace(settings, image_store=form.format(elsewhere))
    assert str(elsewhere) in named(storage.image_store(given), "image store").found
    assert not elsewhere.exists()
    behind = replace(settings, image_store="s3://images")
    assert str(settings.image_dir) in named(storage.image_store(behind), "image store").found


def _doctor(settings: Settings, *, status: int = 0, **given: str) -> dict[str, dict[str, str]]:
    variables = {
        "CONDOR_CLOUD_CONFIG": os.devnull,
        "CONDOR_CLOUD_STATE_DIR": str(settings.state_dir),
        "CONDOR_CLOUD_PORT": str(settings.port),
        "CONDOR_CLOUD_NODELINK_PORT": str(settings.nodelink_port),
        **{f"CONDOR_CLOUD_{name}": value for name, value in given.items()},
    }
    done = CliRunner().invoke(main, ["doctor", "--json"], env=variables)
    document = json.loads(done.stdout)
    assert done.exit_code == status, document
    assert document["failed"] == sum(one["state"] == "failed" for one in document["checks"])
    return {one["name"]: one for one in document["checks"]}


def test_before_the_first_start_the_doctor_says_to_start(settings: Settings) -> None:
    found = _doctor(settings, status=1)
    assert "condor-cloud run" in found["database"]["advice"]
    assert found["gateway"]["state"] == "warning"
    assert not settings.state_dir.exists()


def test_between_two_runs_nothing_has_failed(migrated: Settings) -> None:
    found = _doctor(migrated)
    assert found["database"]["state"] == "ok"
    assert found["gateway"]["state"] == "warning"
    assert "collector" not in found


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [("PORT", "eighty", "settings"), ("TYPES_FILE", "/nowhere.toml", "instance types")],
)
def test_a_wrong_setting_fails(migrated: Settings, name: str, value: str, check: str) -> None:
    found = _doctor(migrated, status=1, **{name: value})
    assert found[check]["state"] == "failed"
    assert value in found[check]["found"]


def test_a_locked_database_fails(migrated: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.05)
    with database.writing(database.engine(migrated.database)):
        found = _doctor(migrated, status=1)
    assert "locked" in found["database"]["found"]


def test_the_doctor_leaves_the_database_as_it_was(migrated: Settings) -> None:
    engine = database.engine(migrated.database)

    def rows() -> list[str]:
        with database.reading(engine) as db:
            raw = db.connection.driver_connection
            assert raw is not None
            return list(raw.iterdump())

    before = rows()
    _doctor(migrated)
    assert rows() == before


class Stranger(BaseHTTPRequestHandler):
    """Another program's server."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(port: int) -> Iterator[None]:
    with HTTPServer(("127.0.0.1", port), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield
        server.shutdown()
        thread.join()


def test_a_stranger_on_the_endpoints_port_is_recognised(migrated: Settings) -> None:
    with serving(migrated.port):
        check = named(servers.check(migrated, running=False), "EC2 endpoint")
    assert check.state == "failed"
    assert "something else" in check.found


def test_a_server_without_tls_is_no_node_link(migrated: Settings) -> None:
    credentials.certificate(migrated)
    with serving(migrated.nodelink_port):
        check = named(servers.check(migrated, running=True), "node link")
    assert check.state == "failed"


def test_processes_are_known_by_their_locks_and_sockets(migrated: Settings) -> None:
    migrated.run_dir.mkdir()
    assert not servers.running(migrated)
    dead = list(servers.check(migrated, running=True))
    assert named(dead, "reconciler").state == "failed"
    assert named(dead, "importer").state == "failed"
    with (
        (migrated.run_dir / "run.lock").open("w") as run,
        (migrated.run_dir / "reconciler.lock").open("w") as reconciler,
        wake.listen(migrated, "importer"),
    ):
        fcntl.flock(run, fcntl.LOCK_EX)
        fcntl.flock(reconciler, fcntl.LOCK_EX)
        assert servers.running(migrated)
        alive = list(servers.check(migrated, running=True))
    assert named(alive, "reconciler").state == "ok"
    assert named(alive, "importer").state == "ok"


def test_people_get_lines_with_the_advice_below(settings: Settings) -> None:
    variables = {"CONDOR_CLOUD_STATE_DIR": str(settings.state_dir), "CONDOR_CLOUD_PORT": "1"}
    done = CliRunner().invoke(main, ["doctor"], env=variables | {"CONDOR_CLOUD_CONFIG": os.devnull})
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    [database_line] = [line for line in lines if line.startswith("failed   database ")]
    assert lines[lines.index(database_line) + 1].strip() == "Start `condor-cloud run` first."
    assert "checks failed" in done.stderr
