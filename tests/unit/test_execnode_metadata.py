# SPDX-License-Identifier: Apache-2.0
"""What the metadata service answers: the tree against a golden file, tokens, options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from execnode_gateway import INSTANCE, specification

from execnode import metadata_facts, metadata_http, spec
from execnode.metadata_facts import Facts, FactsError, Options
from execnode.metadata_http import Request, Tokens
from execnode.metadata_tree import LATEST, VERSIONS, Tree

if TYPE_CHECKING:
    from collections.abc import Iterator

GOLDEN = Path(__file__).parent / "golden" / "metadata-tree.txt"
ADDRESS = "10.77.0.83"
FACTS = metadata_facts.read(
    {
        "etag": "1",
        "options": {"instance_tags": "enabled"},
        "tags": {"Name": "web 1", "a+b@c": "d", "not/a file": "x", "..": "x"},
        "security_groups": ["default", "web"],
        "root_device": "/dev/sda1",
        "launched_at": "2026-11-22T17:00:00Z",
        "network": {"vpc-id": "vpc-1", "../../user-data": "x"},
    }
)


def tree(facts: Facts = FACTS, **changes: Any) -> Tree:
    return Tree(spec.read(specification(b"", **changes)), ADDRESS, facts)


def read(path: str, *, of: Tree | None = None) -> str | None:
    found = (of or tree()).find(path)
    return None if found is None else found.content.decode()


def walk(whole: Tree, path: str) -> Iterator[str]:
    """Yield everything below a directory, as a client that follows the listings finds it."""
    for line in str(read(path, of=whole)).split("\n"):
        name, _, comment = line.partition("=")
        below = f"{path}{name}"
        if name.endswith("/") or comment:
            yield from walk(whole, below.rstrip("/") + "/")
        else:
            yield f"{below}: {read(below, of=whole)!r}\n"


def test_the_tree_is_as_its_golden_file() -> None:
    text = "".join(walk(tree(), f"/{LATEST}/meta-data/"))
    if not GOLDEN.exists():
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_the_root_lists_the_versions_and_a_version_its_parts() -> None:
    assert read("/") == "\n".join((*VERSIONS, LATEST))
    assert read("/latest/") == read("/latest") == "dynamic\nmeta-data"
    assert read("/latest", of=tree(user_data="eA==")) == "dynamic\nmeta-data\nuser-data"


def test_a_slash_at_the_end_does_not_matter() -> None:
    for path in ("/latest/meta-data", "/latest/meta-data/placement", "/latest/meta-data/ami-id"):
        assert read(path) == read(f"{path}/")
        assert read(path)


def test_directories_are_listed_with_a_slash_and_keys_with_their_names() -> None:
    listing = str(read("/latest/meta-data/")).split("\n")
    assert "placement/" in listing
    assert "instance-id" in listing
    assert read("/latest/meta-data/public-keys/") == "0=k"
    assert read("/latest/meta-data/public-keys/0/") == "openssh-key"
    assert read("/latest/meta-data/public-keys/0=k/") is None


def test_without_a_key_there_is_no_directory_of_keys() -> None:
    assert read("/latest/meta-data/public-keys/", of=tree(ssh_keys=[])) is None


@pytest.mark.parametrize(
    ("version", "path", "there"),
    [
        ("1.0", "meta-data/instance-id", True),
        ("1.0", "meta-data/mac", False),
        ("2009-04-04", "meta-data/placement/availability-zone", True),
        ("2009-04-04", "meta-data/placement/region", False),
        ("2021-01-03", "meta-data/tags/instance/Name", False),
        ("2021-03-23", "meta-data/tags/instance/Name", True),
        ("2099-01-01", "meta-data/instance-id", False),
    ],
)
def test_a_dated_tree_has_what_was_there_at_its_date(
    version: str, path: str, *, there: bool
) -> None:
    assert (read(f"/{version}/{path}") is not None) is there


@pytest.mark.parametrize(
    "path",
    [
        "/latest/user-data",
        "/latest/meta-data/spot/instance-action",
        "/latest/meta-data/iam/",
        "/latest/dynamic/instance-identity/signature",
        "/latest/dynamic/instance-identity/pkcs7",
        "/latest/meta-data/instance-id/more",
        "/latest/../latest/meta-data",
        "/latest/meta-data/tags/instance/..",
        "/Latest/meta-data",
        "/latest//meta-data",
    ],
)
def test_what_is_not_there_is_not_found(path: str) -> None:
    assert read(path) is None


def test_user_data_is_any_bytes() -> None:
    found = tree(user_data="AP/+Cg==").find("/latest/user-data")
    assert found is not None
    assert found.content == b"\x00\xff\xfe\n"
    assert found.kind == "application/octet-stream"


def test_the_identity_document_has_ec2s_members() -> None:
    document = json.loads(str(read("/latest/dynamic/instance-identity/document")))
    assert document["instanceId"] == INSTANCE
    assert document["privateIp"] == ADDRESS
    assert document["pendingTime"] == "2026-11-22T17:00:00Z"
    assert document["kernelId"] is None
    assert read("/latest/dynamic/instance-identity/") == "document"


def test_tags_are_there_only_where_they_are_enabled() -> None:
    assert read("/latest/meta-data/tags/instance/") == "Name\na+b@c"
    shut = FACTS._replace(options=Options())
    assert read("/latest/meta-data/tags/", of=tree(shut)) is None


@pytest.mark.parametrize(("action", "ends"), [("terminate", True), ("stop", False)])
def test_a_spot_instance_reads_what_is_to_happen_to_it_once_it_is_known(
    action: str, *, ends: bool
) -> None:
    time = "2026-11-22T17:02:00Z"
    told = {"life_cycle": "spot", "spot": {"action": action, "time": time}}
    noticed = tree(metadata_facts.read(told))
    assert read("/latest/meta-data/instance-life-cycle", of=noticed) == "spot"
    text = read("/latest/meta-data/spot/instance-action", of=noticed)
    assert json.loads(str(text)) == {"action": action, "time": time}
    termination = read("/latest/meta-data/spot/termination-time", of=noticed)
    assert termination == (time if ends else None)
    before = tree(metadata_facts.read({"life_cycle": "spot"}))
    assert read("/latest/meta-data/spot/", of=before) is None


def test_a_gateway_that_says_nothing_means_ec2s_defaults() -> None:
    assert metadata_facts.read(None) == Facts()
    assert Options() == Options(
        enabled=True, tokens_required=False, hop_limit=1, instance_tags=False
    )


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"options": {"hop_limit": 0}},
        {"options": {"hop_limit": 65}},
        {"options": {"http_tokens": "perhaps"}},
        {"tags": {"a": 1}},
        {"security_groups": ["a\nb"]},
        {"root_device": "\x00"},
        {"spot": "soon"},
        {"spot": {"action": "terminate", "time": 5}},
    ],
)
def test_facts_that_make_no_sense_are_refused(document: object) -> None:
    with pytest.raises(FactsError):
        metadata_facts.read(document)


class Clock:
    """Time that passes when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Asked:
    """A service without its network."""

    def __init__(self, options: Options = Options()) -> None:  # noqa: B008 - it is a constant
        self.options = options
        self.clock = Clock()
        self.tokens = Tokens(self.clock)

    def __call__(self, method: str, path: str, **headers: str) -> metadata_http.Answer:
        named = {name.replace("_", "-").lower(): text for name, text in headers.items()}
        request = Request(method, path, named)
        return metadata_http.answer(request, tree(), self.options, self.tokens)

    def token(self, seconds: str = "60", **headers: str) -> metadata_http.Answer:
        ttl = {"x_aws_ec2_metadata_token_ttl_seconds": seconds}
        return self("PUT", "/latest/api/token", **ttl, **headers)

    def with_token(self, token: str) -> int:
        return self("GET", "/latest/meta-data/", x_aws_ec2_metadata_token=token).status


def test_a_token_is_good_for_its_time() -> None:
    ask = Asked()
    answered = ask.token("60")
    assert answered.status == 200
    assert answered.headers["X-Aws-Ec2-Metadata-Token-Ttl-Seconds"] == "60"
    token = answered.content.decode()
    assert ask.with_token(token) == 200
    ask.clock.now += 59
    told = ask("GET", "/latest/meta-data/ami-id", x_aws_ec2_metadata_token=token)
    assert told.headers["X-Aws-Ec2-Metadata-Token-Ttl-Seconds"] == "1"
    ask.clock.now += 1
    assert ask.with_token(token) == 401


def test_a_token_is_one_instance_s() -> None:
    token = Asked().token().content.decode()
    assert Asked().with_token(token) == 401


@pytest.mark.parametrize("token", ["", "x", "\xff", "A" * 64, "A" * 63 + "="])
def test_what_is_no_token_is_refused_also_where_none_is_needed(token: str) -> None:
    assert Asked().with_token(token) == 401


def test_a_token_that_was_changed_is_refused() -> None:
    ask = Asked()
    token = ask.token().content.decode()
    changed = ("B" if token[0] != "B" else "C") + token[1:]
    assert ask.with_token(changed) == 401


@pytest.mark.parametrize("seconds", ["", "0", "-1", "21601", "1.5", "ten", "9" * 400, "\u0661"])
def test_a_token_s_time_must_be_a_number_of_seconds_up_to_six_hours(seconds: str) -> None:
    assert Asked().token(seconds).status == 400
    assert Asked().token("21600").status == 200


def test_a_token_without_a_time_is_refused() -> None:
    assert Asked()("PUT", "/latest/api/token").status == 400


def test_a_token_is_not_made_for_a_proxy() -> None:
    assert Asked().token(x_forwarded_for="203.0.113.5").status == 403


def test_where_tokens_are_required_nothing_is_told_without_one() -> None:
    ask = Asked(Options(tokens_required=True))
    assert ask("GET", "/latest/meta-data/").status == 401
    assert ask.with_token(ask.token().content.decode()) == 200


def test_a_service_that_is_off_forbids_everything() -> None:
    ask = Asked(Options(enabled=False))
    assert ask("GET", "/latest/meta-data/").status == 403
    assert ask.token().status == 403


def test_a_path_may_be_percent_encoded_as_cloud_init_does_with_tags() -> None:
    for path in ("a+b@c", "a%2Bb%40c"):
        assert Asked()("GET", f"/latest/meta-data/tags/instance/{path}").content == b"d"


def test_only_a_token_travels_under_the_hop_limit() -> None:
    ask = Asked(Options(hop_limit=3))
    assert ask.token().hops == 3
    assert ask("GET", "/").hops == 64


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/latest/meta-data/", 405),
        ("PUT", "/latest/meta-data/", 405),
        ("GET", "/latest/api/token", 405),
        ("HEAD", "/latest/meta-data/", 200),
        ("GET", "/latest/nothing", 404),
        ("GET", "/latest/meta-data/ami-id?x=1", 200),
    ],
)
def test_methods_have_ec2s_statuses(method: str, path: str, status: int) -> None:
    assert Asked()(method, path).status == status


@pytest.mark.parametrize(
    "head",
    [
        *(b"", b"GET", b"GET / HTTP/2.0", b"GET latest HTTP/1.1", b"\x16\x03\x01\x02"),
        *(b"GET / HTTP/1.1\r\nno colon", b"GET / HTTP/1.1\r\n folded: x", b"GET  / HTTP/1.1"),
    ],
)
def test_what_is_not_http_is_a_bad_request(head: bytes) -> None:
    assert metadata_http.parse(head + b"\r\n\r\n") is None
