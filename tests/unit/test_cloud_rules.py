# SPDX-License-Identifier: Apache-2.0
"""Flavors, tags, ids and console output."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cloud import console, flavors, ids, tags
from gateway.cloud.errors import Invalid, LimitReached, Malformed
from gateway.store import console as console_rows
from gateway.store import database

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Endpoint

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "vcpus", "memory_mib"),
    [
        ("small", 1, 512),
        ("medium", 2, 1024),
        ("large", 4, 2048),
        ("t2.micro", 1, 1024),
        ("t3.nano", 2, 512),
        ("t3.2xlarge", 8, 32768),
        ("m5.large", 2, 8192),
        ("m5.xlarge", 4, 16384),
    ],
)
def test_the_usual_types_have_their_usual_sizes(name: str, vcpus: int, memory_mib: int) -> None:
    assert flavors.load()[name] == (name, vcpus, memory_mib)


def test_an_administrator_adds_and_changes_types(tmp_path: Path) -> None:
    file = tmp_path / "types.toml"
    file.write_text('["x.big"]\nvcpus = 64\nmemory_mib = 99\n[small]\nvcpus = 2\nmemory_mib = 7')
    loaded = flavors.load(file)
    assert loaded["x.big"] == ("x.big", 64, 99)
    assert loaded["small"] == ("small", 2, 7)
    assert "t3.nano" in loaded


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("[", "types.toml"),
        ("small = 3", "table"),
        ("[t3.nano]\nvcpus = 1\nmemory_mib = 1", "nothing else"),
        ('["a b"]\nvcpus = 1\nmemory_mib = 1', "a name has"),
        ("[a]\nvcpus = 1", "memory_mib"),
        ("[a]\nvcpus = 0\nmemory_mib = 1", "vcpus must be"),
        ("[a]\nvcpus = true\nmemory_mib = 1", "vcpus must be"),
        ("[a]\nvcpus = 1\nmemory_mib = 0.5", "memory_mib must be"),
        ("[a]\nvcpus = 1\nmemory_mib = 1\ngpu = 1", "nothing else"),
    ],
)
def test_a_bad_table_of_types_is_one_sentence(tmp_path: Path, text: str, about: str) -> None:
    file = tmp_path / "types.toml"
    file.write_text(text)
    with pytest.raises(flavors.FlavorsError, match=about) as caught:
        flavors.load(file)
    assert "\n" not in str(caught.value)


def test_a_missing_table_of_types_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(flavors.FlavorsError, match="No such file"):
        flavors.load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "pairs",
    [
        [("a", "1"), ("a", "2")],
        [("", "1")],
        [("k" * 129, "1")],
        [("aws:x", "1")],
        [("AWS:x", "1")],
        [("a", "v" * 257)],
    ],
)
def test_tags_outside_the_rules_are_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(Invalid):
        tags.collect(pairs)


def test_fifty_tags_are_enough() -> None:
    pairs = [(str(number), "") for number in range(51)]
    assert len(tags.collect(pairs[:50])) == 50
    with pytest.raises(LimitReached):
        tags.collect(pairs)


def test_ids_have_their_prefix_and_seventeen_digits_or_a_spot_request_s_eight() -> None:
    for kind, prefix in ids.PREFIXES.items():
        made = ids.new(kind)
        assert len(made) == len(prefix) + 1 + (8 if prefix == "sir" else 17)
        ids.check(kind, [made])


@pytest.mark.parametrize("text", ["", "i-", "i-1", "i-1234567g", "ami-12345678", "i-12345678\n"])
def test_texts_that_cannot_be_ids_are_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        ids.check("instance", [text])


@pytest.fixture
def instance_id(ec2: Any, image: str) -> str:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)
    return str(launched["Instances"][0]["InstanceId"])


def append(
    endpoint: Endpoint, instance_id: str, offset: int, data: bytes, run: int = 1
) -> tuple[int, bytes]:
    with database.writing(endpoint.database) as db:
        console.append(db, instance_id, run, offset=offset, data=data, now=NOW)
        kept = console_rows.get(db, instance_id)
    assert kept is not None
    return kept.total, kept.data


def test_console_output_is_joined_whatever_is_repeated(
    endpoint: Endpoint, instance_id: str
) -> None:
    assert append(endpoint, instance_id, 0, b"one ") == (4, b"one ")
    assert append(endpoint, instance_id, 0, b"one ") == (4, b"one ")
    assert append(endpoint, instance_id, 2, b"e two") == (7, b"one two")
    assert append(endpoint, instance_id, 3, b" t") == (7, b"one two")


def test_missing_console_output_is_missing(endpoint: Endpoint, instance_id: str) -> None:
    append(endpoint, instance_id, 0, b"one")
    assert append(endpoint, instance_id, 10, b"two") == (13, b"onetwo")


def test_the_end_of_the_console_is_kept(endpoint: Endpoint, ec2: Any, instance_id: str) -> None:
    append(endpoint, instance_id, 0, b"a" * console.KEPT)
    assert append(endpoint, instance_id, console.KEPT, b"login: ")[1].endswith(b"aalogin: ")
    shown = ec2.get_console_output(InstanceId=instance_id, Latest=True)
    assert shown["Timestamp"] == NOW
    assert shown["Output"].endswith("aalogin: ")
    assert len(shown["Output"]) == console.KEPT


def test_a_new_run_begins_a_new_console(endpoint: Endpoint, instance_id: str) -> None:
    append(endpoint, instance_id, 0, b"first run")
    assert append(endpoint, instance_id, 0, b"second", run=2) == (6, b"second")
    assert append(endpoint, instance_id, 9, b"late", run=1) == (6, b"second")
