# SPDX-License-Identifier: Apache-2.0
"""The administrator's commands, on a database without a running gateway."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from gateway import wake
from gateway.cli import main
from gateway.cloud import accounts, attributes, images, keypairs
from gateway.config import Settings
from gateway.nodelink import credentials
from gateway.store import database, instances, nodes
from gateway.store.images import Content

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from click.testing import Result
    from sqlalchemy import Engine

DISK = bytes(510) + b"\x55\xaa" + os.urandom(1 << 20)
NOW = datetime(2026, 5, 4, 10, 20, 30, 123000, tzinfo=UTC)


class Machine:
    """The gateway's machine: its state, and its administrator's shell."""

    def __init__(self, place: Path) -> None:
        self.settings = Settings(state_dir=place / "a state")
        self.variables = {
            "CONDOR_CLOUD_STATE_DIR": str(self.settings.state_dir),
            "CONDOR_CLOUD_CONFIG": os.devnull,
        }

    def run(self, *words: str, **given: str) -> Result:
        variables = self.variables | {f"CONDOR_CLOUD_{name}": given[name] for name in given}
        return CliRunner().invoke(main, words, env=variables)

    def json(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    @property
    def engine(self) -> Engine:
        return database.engine(self.settings.database)

    def image(self, name: str = "disk") -> str:
        with database.writing(self.engine) as db:
            account = accounts.ensure_account(db, "default", NOW)
            new = images.NewImage(name, "http://localhost/disk")
            made = images.register(db, account.id, new, tagged={}, now=NOW, sources=None)
            images.imported(db, made.id, Content("0" * 64, 1024, 2048, "raw"))
        return made.id

    def listens(self, process: str) -> socket.socket:
        return wake.listen(self.settings, process)


@pytest.fixture
def bare(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("empty") / "condor-cloud.db"
    database.migrate(f"sqlite:///{file}")
    return file


@pytest.fixture
def machine(bare: Machine, empty_database: Path) -> Machine:
    bare.settings.state_dir.mkdir()
    shutil.copy(empty_database, bare.settings.state_dir)
    return bare


def commands(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, *path, name)


@pytest.mark.parametrize(
    "words",
    ["image list", "image add FILE", "key create", "node list", "instance list", "key list"],
)
def test_without_a_database_one_sentence_says_to_start_the_gateway(
    bare: Machine, words: str
) -> None:
    done = bare.run(*words.split())
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "start `condor-cloud run` first" in done.stderr
    assert not bare.settings.state_dir.exists()


def test_a_file_that_is_no_database_is_told_in_one_sentence(bare: Machine) -> None:
    bare.settings.state_dir.mkdir()
    (bare.settings.state_dir / "condor-cloud.db").write_bytes(b"no database" * 1000)
    done = bare.run("key", "list")
    assert done.exit_code == 1
    assert "file is not a database" in done.stderr
    assert "Traceback" not in done.output


def test_a_database_of_another_release_is_left_alone(machine: Machine) -> None:
    with database.writing(machine.engine) as db:
        db.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    done = machine.run("key", "create")
    assert done.exit_code == 1
    assert "has the schema 9999" in done.stderr


def test_a_wrong_setting_is_told_in_one_sentence(machine: Machine) -> None:
    done = machine.run("key", "list", PORT="eighty")
    assert done.exit_code == 1
    assert done.stderr == "condor-cloud: Setting port: 'eighty' is not of the kind int.\n"


@pytest.mark.parametrize(("path", "command"), list(commands(main)))
def test_every_help_fits_a_terminal_and_has_an_example(
    path: tuple[str, ...], command: click.Command
) -> None:
    done = CliRunner().invoke(main, [*path, "--help"], terminal_width=80)
    assert done.exit_code == 0
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    if path and path[0] not in {"run", "env"} and not isinstance(command, click.Group):
        assert f"condor-cloud {' '.join(path)}" in done.stdout
        if any(option.name == "as_json" for option in command.params):
            assert "JSON: " in done.stdout or "JSON:\n" in done.stdout


def test_a_new_key_can_sign_until_it_is_revoked(machine: Machine) -> None:
    made = machine.json("key", "create", "--account", "physics", "--description", "[b]batch")
    assert machine.json("key", "list") == [{name: made[name] for name in made if name != "secret"}]
    with database.reading(machine.engine) as db:
        valid = accounts.find_valid_key(db, made["id"])
    assert valid is not None
    assert valid.secret == made["secret"]
    assert "[b]batch" in machine.run("key", "list").stdout

    assert machine.run("key", "revoke", made["id"]).exit_code == 0
    with database.reading(machine.engine) as db:
        assert accounts.find_valid_key(db, made["id"]) is None
    assert machine.json("key", "list")[0]["revoked_at"].endswith("Z")


def test_a_keys_secret_is_shown_once(machine: Machine) -> None:
    done = machine.run("key", "create")
    assert done.exit_code == 0
    lines = dict(line.removeprefix("export ").split("=", 1) for line in done.stdout.splitlines())
    secret = lines["AWS_SECRET_ACCESS_KEY"]
    assert secret not in machine.run("key", "list").output
    assert secret not in machine.run("key", "list", "--json").output


def test_revoking_an_unknown_key_revokes_none(machine: Machine) -> None:
    made = machine.json("key", "create")
    done = machine.run("key", "revoke", made["id"], "AKIAUNKNOWN")
    assert done.exit_code == 1
    assert done.stderr == "condor-cloud: There is no access key AKIAUNKNOWN.\n"
    assert machine.json("key", "list")[0]["revoked_at"] is None


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="the program qemu-img is missing")
def test_an_image_is_added_from_a_relative_name_and_can_be_launched(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my disk.img").write_bytes(DISK)
    machine.json("key", "create")
    monkeypatch.chdir(tmp_path)
    added = machine.run("image", "add", "my disk.img", "--public")
    assert added.exit_code == 0, added.stderr
    assert "my disk.img: " in added.stderr
    [listed] = machine.json("image", "list")
    assert listed["sha256"] in added.stdout
    assert listed["id"] in added.stdout
    assert listed | {"id": "", "sha256": "", "created_at": "", "account_id": ""} == {
        "id": "", "account_id": "", "account": "default", "name": "my disk", "description": "",
        "state": "available", "state_reason": None, "architecture": "x86_64",
        "boot_mode": None, "location": str(tmp_path / "my disk.img"), "format": "raw",
        "size": len(DISK), "virtual_size": listed["virtual_size"], "sha256": "",
        "public": True, "created_at": "",
    }  # fmt: skip
    assert (machine.settings.image_dir / listed["sha256"]).read_bytes() == DISK
    assert machine.run("instance", "launch", "my disk").exit_code == 0


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="the program qemu-img is missing")
def test_an_image_that_is_refused_leaves_nothing(machine: Machine, tmp_path: Path) -> None:
    machine.json("key", "create")
    (tmp_path / "empty.qcow2").write_bytes(b"QFI\xfb" + bytes(600))
    done = machine.run("image", "add", str(tmp_path / "empty.qcow2"))
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("condor-cloud: ")
    assert machine.json("image", "list") == []


@pytest.mark.parametrize("location", ["/nowhere/disk.img", "missing.img"])
def test_a_file_that_is_not_there_is_named(machine: Machine, location: str) -> None:
    machine.json("key", "create")
    done = machine.run("image", "add", location)
    assert done.exit_code == 1
    assert location in done.stderr
    assert "does not exist" in done.stderr


def test_an_image_of_an_unknown_account_is_refused(machine: Machine) -> None:
    done = machine.run("image", "add", "/nowhere", "--account", "nobody")
    assert done.exit_code == 1
    assert "There is no account nobody" in done.stderr


def test_removing_images_removes_all_of_them_or_none(machine: Machine) -> None:
    both = {machine.image("first"), machine.image("second")}
    refused = machine.run("image", "remove", *both, "ami-0123456789abcdef0")
    assert refused.exit_code == 1
    assert refused.stderr == "condor-cloud: There is no image ami-0123456789abcdef0.\n"
    assert {one["id"] for one in machine.json("image", "list")} == both
    with machine.listens("importer") as receiver:
        assert machine.run("image", "remove", *both).exit_code == 0
        assert receiver.recv(1) == b""
    assert machine.json("image", "list") == []


def test_a_launch_is_written_down_and_wakes_the_reconciler(
    machine: Machine, tmp_path: Path
) -> None:
    image = machine.image()
    (tmp_path / "data").write_bytes(b"#!/bin/sh\n\xff")
    with database.writing(machine.engine) as db:
        account = accounts.ensure_account(db, "default", NOW)
        keypairs.create(db, account.id, "mine", "ed25519", tagged={}, now=NOW)
    given = ["--key", "mine", "--user-data", str(tmp_path / "data"), "--tag", "Name=a=b"]
    with machine.listens("reconciler") as receiver:
        launched = machine.json(
            *("instance", "launch", image, "--type", "medium", "--count", "2", *given)
        )
        assert receiver.recv(1) == b""
    assert launched == machine.json("instance", "list")
    assert len(launched) == 2
    for one in launched:
        assert (one["state"], one["type"], one["vcpus"], one["memory_mib"]) == (
            "pending", "medium", 2, 1024,
        )  # fmt: skip
        assert one["key"] == "mine"
        assert one["tags"] == {"Name": "a=b"}
        assert one["reason"] is None
    with database.reading(machine.engine) as db:
        assert instances.get_user_data(db, launched[0]["id"]) == b"#!/bin/sh\n\xff"
        waiting = instances.select_submit_state(db, "wanted")
    assert {one.id for one in waiting} == {one["id"] for one in launched}


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["IMAGE", "--type", "giant"], 1, "There is no flavor giant."),
        (["IMAGE", "--key", "missing"], 1, "There is no key pair missing."),
        (["IMAGE", "--tag", "aws:x=1"], 1, "reserved"),
        (["ami-0123456789abcdef0"], 1, "There is no image ami-0123456789abcdef0."),
        (["ami-x"], 1, "'ami-x' is not the id of an image."),
        (["no such name"], 1, "no such name"),
        (["IMAGE", "--tag", "name"], 2, "KEY=VALUE"),
        (["IMAGE", "--count", "0"], 2, "--count"),
        (["IMAGE", "--user-data", "/nowhere"], 2, "/nowhere"),
        ([], 2, "IMAGE"),
    ],
)
def test_a_wrong_launch_changes_nothing_and_says_why(
    machine: Machine, words: list[str], status: int, told: str
) -> None:
    image = machine.image()
    done = machine.run(
        "instance", "launch", *(image if word == "IMAGE" else word for word in words)
    )
    assert done.exit_code == status
    assert told in done.stderr
    assert "Traceback" not in done.output
    assert machine.json("instance", "list", "--all") == []


def test_too_much_user_data_is_refused_without_reading_it_all(machine: Machine) -> None:
    image = machine.image()
    done = machine.run("instance", "launch", image, "--user-data", "/dev/zero")
    assert done.exit_code == 1
    assert str(attributes.MAX_USER_DATA) in done.stderr


def test_a_stopped_instance_is_listed_with_the_node_that_has_its_disk(machine: Machine) -> None:
    machine.image()
    [made] = machine.json("instance", "launch", "disk")
    for parked, node in ((False, "node7"), (True, None)):
        with database.writing(machine.engine) as db:
            attributes_of = {"state": "stopped", "node": "node7", "parked": parked}
            instances.update_attributes(db, made["id"], attributes_of)
        assert machine.json("instance", "list")[0]["node"] == node
        assert ("node7" in machine.run("instance", "list").stdout) is (node is not None)


def test_terminated_instances_are_listed_with_all(machine: Machine) -> None:
    image = machine.image()
    first, second = (one["id"] for one in machine.json("instance", "launch", image, "--count", "2"))
    [told] = machine.json("instance", "terminate", first, "--wait")
    assert (told["id"], told["state"], told["reason_code"]) == (
        first, "terminated", "Client.UserInitiatedShutdown",
    )  # fmt: skip
    assert [one["id"] for one in machine.json("instance", "list")] == [second]
    assert len(machine.json("instance", "list", "--all")) == 2
    table = machine.run("instance", "list", "--all").stdout
    assert "User initiated shutdown" in table
    assert second in table


def test_terminating_names_every_unknown_instance_and_ends_none(machine: Machine) -> None:
    [known] = machine.json("instance", "launch", machine.image())
    done = machine.run("instance", "terminate", known["id"], "i-1", "i-2")
    assert done.exit_code == 1
    assert done.stderr == "condor-cloud: There is no instance i-1, i-2.\n"
    assert machine.json("instance", "list")[0]["state"] == "pending"


def test_waiting_for_a_gateway_that_does_not_run_ends(machine: Machine) -> None:
    done = machine.run("instance", "launch", machine.image(), "--wait", "--timeout", "0")
    assert done.exit_code == 1
    assert "is still pending" in done.stderr
    assert "condor-cloud doctor" in done.stderr


def test_a_table_does_not_pass_on_what_could_command_a_terminal(machine: Machine) -> None:
    machine.run("key", "create", "--description", "\x1b]0;title\x07[red]x")
    listed = machine.run("key", "list").stdout
    assert "\x1b" not in listed
    assert "\x07" not in listed
    assert "[red]x" in listed


def test_a_node_is_admitted_by_a_token_that_replaces_the_earlier_one(machine: Machine) -> None:
    first, second = (machine.json("node", "add", "node7") for _ in range(2))
    with database.reading(machine.engine) as db:
        assert nodes.get_by_token(db, credentials.token_hash(first["token"])) is None
        found = nodes.get_by_token(db, credentials.token_hash(second["token"]))
    assert found is not None
    assert found.name == "node7"
    assert "BEGIN CERTIFICATE" in Path(second["certificate"]).read_text()
    assert second["token"] not in machine.run("node", "list").output

    assert machine.run("node", "revoke", "node7").exit_code == 0
    assert machine.json("node", "list")[0]["revoked_at"] is not None
    assert machine.run("node", "revoke", "node8").exit_code == 1


def test_the_settings_show_values_defaults_and_no_password(machine: Machine) -> None:
    shown = machine.run(
        "settings", "--json", PORT="8080", DATABASE_URL="postgresql://me:sesame@db/cloud"
    )
    found = {one["name"]: one for one in json.loads(shown.stdout)}
    assert (found["port"]["value"], found["port"]["default"]) == (8080, 8773)
    assert found["state_dir"]["value"] == str(machine.settings.state_dir)
    assert all(one["help"] for one in found.values())
    assert found["database_url"]["value"] == "postgresql://me:***@db/cloud"
    assert "8080" in machine.run("settings", PORT="8080").stdout
