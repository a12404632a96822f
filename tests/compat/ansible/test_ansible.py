# SPDX-License-Identifier: Apache-2.0
"""Ansible's collection amazon.aws, run by a playbook."""

from __future__ import annotations

import json
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 300.0
HERE = Path(__file__).parent
PUBLIC_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHr7Yvd7sZ0mcT4vJY2pZ3dT8l6m1Jm0Jm3Vt2rZJx8Y somebody"
)


def play(playbook: str, variables: dict[str, str], directory: Path) -> dict[str, Any]:
    """Run a playbook; return what its modules returned."""
    given = {
        "machine_name": f"ansible-{uuid4()}",
        "image": variables["DEMO_AMI"],
        "public_key": PUBLIC_KEY,
        "facts": str(directory / "facts.json"),
    }
    (directory / "given.json").write_text(json.dumps(given))
    done = subprocess.run(
        # The command's first line names its interpreter, which cannot be where there are blanks.
        [
            "python",
            "-m",
            "ansible",
            "playbook",
            "-e",
            f"@{directory}/given.json",
            str(HERE / playbook),
        ],
        env={**variables, "ANSIBLE_PIPELINING": "1", "ANSIBLE_NOCOLOR": "1"},
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    returned: dict[str, Any] = json.loads((directory / "facts.json").read_text())
    return returned


@pytest.fixture(scope="module")
def said(
    client_environment: Callable[[str], dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What modules say that need no machine."""
    return play("session.yml", client_environment("ansible"), tmp_path_factory.mktemp("ansible"))


@pytest.fixture(scope="module")
def machine(
    client_environment: Callable[[str], dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What ec2_instance and ec2_instance_info say of a machine from its launch to its end."""
    return play("machine.yml", client_environment("ansible"), tmp_path_factory.mktemp("ansible"))


def test_ansible_finds_zone_image_and_default_subnet(
    said: dict[str, Any], ec2_environment: dict[str, str]
) -> None:
    [zone] = said["zones"]
    assert zone["region_name"] == ec2_environment["AWS_DEFAULT_REGION"]
    [subnet] = said["subnets"]
    assert subnet["availability_zone"] == zone["zone_name"]
    assert [image["state"] for image in said["images"]] == ["available"]


def test_ansible_imports_a_key_pair_and_deletes_it(said: dict[str, Any]) -> None:
    assert said["key"]["changed"]
    assert said["key"]["key"]["tags"] == {"made-by": "ansible", "colour": "grün & 0x10"}
    assert said["key_deleted"]["changed"]


def test_ansible_tags_and_untags_it(said: dict[str, Any]) -> None:
    assert said["tagged"]["changed"]
    assert said["tagged"]["tags"]["size"] == "007"
    assert said["untagged"]["changed"]
    assert sorted(said["untagged"]["tags"]) == ["made-by", "size"]


def test_ansible_takes_an_unknown_instance_for_none_and_tells_the_error_of_tagging_it(
    said: dict[str, Any],
) -> None:
    assert said["unknown"] == []
    assert said["failed"]["failed"]
    assert "InvalidInstanceID.NotFound" in json.dumps(said["failed"])


def test_ansible_launches_a_machine_and_waits_until_it_runs(machine: dict[str, Any]) -> None:
    assert machine["launched"]["changed"]
    [launched] = machine["launched"]["instances"]
    assert launched["state"]["name"] == "running"
    assert launched["private_ip_address"]
    assert launched["monitoring"]["state"] == "enabled"
    assert launched["metadata_options"]["http_tokens"] == "required"
    assert launched["tags"].keys() == {"Name", "role", "size"}
    assert launched["tags"]["size"] == "007"
    assert launched["key_name"] == launched["tags"]["Name"]


def test_ansible_finds_the_machine_again_and_changes_nothing(machine: dict[str, Any]) -> None:
    assert not machine["again"]["changed"]
    assert machine["again"]["instance_ids"] == machine["launched"]["instance_ids"]


def test_ansible_changes_the_machine_s_tags_and_nothing_else(machine: dict[str, Any]) -> None:
    assert machine["changed"]["changed"]
    assert machine["changed"]["changes"] == []
    [instance] = machine["running"]
    assert instance["tags"].keys() == {"Name", "role"}
    assert instance["tags"]["role"] == "database"


def test_ansible_reads_the_machine_s_attributes_as_it_gave_them(machine: dict[str, Any]) -> None:
    [instance] = machine["running"]
    attributes = instance["attributes"]
    assert attributes["instance_initiated_shutdown_behavior"]["value"] == "terminate"
    assert attributes["root_device_name"]["value"] == instance["root_device_name"]
    told = b64decode(attributes["user_data"]["value"])
    assert told == b"#!/bin/sh\necho launched by ansible\n"


def test_ansible_makes_an_image_of_the_machine(machine: dict[str, Any]) -> None:
    [image] = machine["imaged"]
    assert image["source_instance_id"] == machine["launched"]["instance_ids"][0]
    assert image["tags"] == {"made-by": "ansible"}
    assert image["launch_permissions"] == [{"user_id": "123456789012"}]
    assert image["block_device_mappings"][0]["ebs"]["snapshot_id"].startswith("snap-")


def test_ansible_changes_the_image_and_removes_it_with_its_snapshot(
    machine: dict[str, Any],
) -> None:
    assert machine["image_changed"]["changed"]
    [before], [after] = machine["imaged"], machine["image_after"]
    assert (after["description"], after["tags"]) == ("of a machine", {"kept": "yes"})
    assert after["launch_permissions"] == [{"group": "all"}]
    [device] = before["block_device_mappings"]
    assert machine["image_gone"]["snapshots_deleted"] == [device["ebs"]["snapshot_id"]]


def test_ansible_stops_the_machine_and_starts_it(machine: dict[str, Any]) -> None:
    assert machine["stopping"]["changed"]
    assert machine["starting"]["changed"]
    [before], [after] = machine["running"], machine["started"]
    assert after["instance_id"] == before["instance_id"]
    assert after["launch_time"] > before["launch_time"]


def test_ansible_terminates_the_machine_by_its_name(machine: dict[str, Any]) -> None:
    assert machine["terminating"]["changed"]
    assert machine["terminating"]["terminate_success"] == machine["launched"]["instance_ids"]
    [ended] = machine["terminated"]
    assert ended["state_reason"]["code"] == "Client.UserInitiatedShutdown"
