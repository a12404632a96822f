# SPDX-License-Identifier: Apache-2.0
"""``condor-cloud account`` and the access keys of an account."""

from __future__ import annotations

import pytest
from test_cli import Machine, bare, empty_database, machine

__all__ = ["bare", "empty_database", "machine"]


def test_an_account_is_made_once(machine: Machine) -> None:
    made = machine.json("account", "create", "physics")
    assert made["name"] == "physics"
    assert len(made["id"]) == 12
    again = machine.run("account", "create", "physics")
    assert again.exit_code == 1
    assert "physics already" in again.stderr
    assert [one["id"] for one in machine.json("account", "list")] == [made["id"]]


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 256])
def test_a_name_that_cannot_be_shown_is_refused(machine: Machine, name: str) -> None:
    assert machine.run("account", "create", name).exit_code == 1
    assert machine.json("account", "list") == []


def test_a_quota_is_set_shown_and_given_back(machine: Machine) -> None:
    machine.run("account", "create", "physics")
    words = ("--instances", "50", "--vcpus", "200", "--image-bytes", "2G")
    changed = machine.json("account", "quota", "physics", *words)["quotas"]
    assert changed["instances"] == {"used": 0, "limit": 50, "own": True}
    assert changed["image-bytes"]["limit"] == 2 * 2**30
    assert changed["key-pairs"] == {"used": 0, "limit": 5000, "own": False}
    back = machine.json("account", "quota", "physics", "--vcpus", "default")["quotas"]
    assert back["vcpus"] == {"used": 0, "limit": 100_000, "own": False}
    assert back["instances"]["limit"] == 50
    assert machine.json("account", "show", "physics")["quotas"] == back


def test_tables_tell_what_is_used_of_what_is_allowed(machine: Machine) -> None:
    machine.image()
    machine.run("account", "quota", "default", "--images", "3")
    listed = machine.run("account", "list").stdout
    assert "1 of 3" in listed
    assert "1.0 KiB of 10.0 TiB" in listed
    shown = machine.run("account", "show", "default").stdout.splitlines()
    assert ["images", "1", "3", "account"] in [line.split() for line in shown]
    assert any(line.endswith("setting vcpu_limit") for line in shown)


@pytest.mark.parametrize(
    "words",
    [
        ("--instances", "-1"),
        ("--instances", "many"),
        ("--instances", "5G"),
        ("--vcpus", str(2**63)),
        ("--wishes", "3"),
    ],
)
def test_a_quota_that_makes_no_sense_changes_nothing(
    machine: Machine, words: tuple[str, str]
) -> None:
    before = machine.json("account", "create", "physics")
    done = machine.run("account", "quota", "physics", "--images", "7", *words)
    assert done.exit_code != 0
    assert "Traceback" not in done.output
    assert machine.json("account", "show", "physics") == before


def test_an_account_that_there_is_not_is_named(machine: Machine) -> None:
    for command in ("show", "quota"):
        done = machine.run("account", command, "nobody")
        assert done.exit_code == 1
        assert "nobody" in done.stderr


def test_all_keys_of_an_account_are_revoked_at_once(machine: Machine) -> None:
    mine = {machine.json("key", "create", "--account", "physics")["id"] for _ in range(2)}
    other = machine.json("key", "create", "--account", "chemistry")["id"]
    assert machine.run("key", "revoke").exit_code == 2
    assert machine.run("key", "revoke", "--all").exit_code == 2
    revoked = machine.json("key", "revoke", "--account", "physics", "--all")
    assert {one["id"] for one in revoked} == mine
    valid = {one["id"] for one in machine.json("key", "list") if one["revoked_at"] is None}
    assert valid == {other}


def test_a_key_of_another_account_is_not_revoked_for_this_one(machine: Machine) -> None:
    other = machine.json("key", "create", "--account", "chemistry")["id"]
    machine.run("account", "create", "physics")
    done = machine.run("key", "revoke", "--account", "physics", other)
    assert done.exit_code == 1
    assert machine.json("key", "list")[0]["revoked_at"] is None
