# SPDX-License-Identifier: Apache-2.0
"""CreateTags, DeleteTags, DescribeTags."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from answers import code, instance_ids
from botocore.exceptions import ClientError
from test_ec2_keypairs import ED25519

from gateway.ec2.pages import Page

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey


def tags(**pairs: str) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in pairs.items()]


def described(ec2: Any, **parameters: Any) -> list[tuple[str, str, str]]:
    found = ec2.describe_tags(**parameters)["Tags"]
    return [(tag["ResourceType"], tag["Key"], tag["Value"]) for tag in found]


@pytest.fixture
def instance(ec2: Any, image: str) -> str:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)
    return str(launched["Instances"][0]["InstanceId"])


@pytest.fixture
def pair(ec2: Any) -> str:
    return str(ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=ED25519)["KeyPairId"])


def test_resources_of_every_kind_are_tagged_in_one_request(
    ec2: Any, instance: str, image: str, pair: str
) -> None:
    ec2.create_tags(Resources=[instance, image, pair, image], Tags=tags(team="blue", note=""))
    shown = [
        ec2.describe_instances()["Reservations"][0]["Instances"][0],
        ec2.describe_images(ImageIds=[image])["Images"][0],
        ec2.describe_key_pairs()["KeyPairs"][0],
    ]
    for one in shown:
        assert sorted(one["Tags"], key=lambda tag: tag["Key"]) == tags(note="", team="blue")
    named = [{"Name": "tag:team", "Values": ["blue"]}]
    assert instance_ids(ec2.describe_instances(Filters=named)) == [instance]
    assert {tag["ResourceId"] for tag in ec2.describe_tags()["Tags"]} == {instance, image, pair}


def test_a_tag_that_is_there_takes_the_new_value(ec2: Any, instance: str) -> None:
    ec2.create_tags(Resources=[instance], Tags=tags(a="1", b="2"))
    ec2.create_tags(Resources=[instance], Tags=[{"Key": "a"}])
    assert described(ec2) == [("instance", "a", ""), ("instance", "b", "2")]


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        ([{"Key": "a"}], ["b", "empty"]),
        (tags(a="1", b="1"), ["b", "empty"]),
        (tags(b="", empty=""), ["a", "b"]),
        (tags(none="1"), ["a", "b", "empty"]),
        (None, []),
    ],
)
def test_tags_are_deleted_by_key_by_key_and_value_or_all(
    ec2: Any, instance: str, wanted: Any, left: list[str]
) -> None:
    ec2.create_tags(Resources=[instance], Tags=tags(a="1", b="2", empty=""))
    ec2.delete_tags(Resources=[instance], **({} if wanted is None else {"Tags": wanted}))
    assert [key for _, key, _ in described(ec2)] == left


@pytest.mark.parametrize(
    ("name", "value", "keys"),
    [
        ("key", "t*", ["team"]),
        ("value", "blue", ["team"]),
        ("resource-type", "key-pair", ["team"]),
        ("resource-type", "instance", ["size"]),
        ("resource-id", "key-*", ["team"]),
        ("tag:size", "?", ["size"]),
        ("tag:size", "blue", []),
    ],
)
def test_tags_are_filtered(  # noqa: PLR0917 - fixtures and cases
    ec2: Any, instance: str, pair: str, name: str, value: str, keys: list[str]
) -> None:
    ec2.create_tags(Resources=[instance], Tags=tags(size="9"))
    ec2.create_tags(Resources=[pair], Tags=tags(team="blue"))
    found = described(ec2, Filters=[{"Name": name, "Values": [value]}])
    assert [key for _, key, _ in found] == keys
    with pytest.raises(ClientError) as caught:
        ec2.describe_tags(Filters=[{"Name": "colour", "Values": ["x"]}])
    assert code(caught) == "InvalidParameterValue"


def test_pages_of_tags_neither_skip_nor_repeat(ec2: Any, instance: str, pair: str) -> None:
    many = {f"key-{number:02}": "v" for number in range(11)}
    ec2.create_tags(Resources=[instance, pair], Tags=tags(**many))
    first = ec2.describe_tags(MaxResults=8)
    seen = [(tag["ResourceId"], tag["Key"]) for tag in first["Tags"]]
    ec2.delete_tags(Resources=[instance, pair], Tags=[{"Key": "key-00"}, {"Key": "key-07"}])
    token = first["NextToken"]
    while token:
        page = ec2.describe_tags(MaxResults=8, NextToken=token)
        seen += [(tag["ResourceId"], tag["Key"]) for tag in page["Tags"]]
        token = page.get("NextToken")
    left = {(tag["ResourceId"], tag["Key"]) for tag in ec2.describe_tags()["Tags"]}
    assert len(seen) == len(set(seen))
    assert left <= set(seen)


@pytest.mark.parametrize("place", [["a"], ["a", "b", "c"], ["\ud800", "b"], [1, 2]])
def test_a_token_that_we_did_not_make_is_invalid(
    ec2: Any, key: AccessKey, place: list[Any]
) -> None:
    forger = Page(["DescribeTags", key.account_id, ()], 5, None)
    assert ec2.describe_tags(NextToken=forger._write(["a", "b"]))["Tags"] == []
    with pytest.raises(ClientError) as caught:
        ec2.describe_tags(NextToken=forger._write(place))
    assert code(caught) == "InvalidNextToken"


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ("i-12345678", "InvalidInstanceID.NotFound"),
        ("ami-12345678", "InvalidAMIID.NotFound"),
        ("key-12345678", "InvalidKeyPair.NotFound"),
        ("i-nonsense", "InvalidID"),
        ("vol-12345678", "InvalidVolume.NotFound"),
        ("vol-nonsense", "InvalidID"),
        ("snap-12345678", "InvalidSnapshot.NotFound"),
        ("snap-nonsense", "InvalidID"),
        ("r-12345678", "InvalidID"),
        ("", "InvalidID"),
    ],
)
def test_what_does_not_exist_is_not_tagged_and_nothing_else_is(
    ec2: Any, instance: str, resource: str, expected: str
) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: ec2.create_tags(Resources=[instance, resource], Tags=tags(a="1")),
        lambda: ec2.delete_tags(Resources=[instance, resource], Tags=tags(kept="1")),
    ]
    ec2.create_tags(Resources=[instance], Tags=tags(kept="1"))
    for call in calls:
        with pytest.raises(ClientError) as caught:
            call()
        assert code(caught) == expected
    assert described(ec2) == [("instance", "kept", "1")]


@pytest.mark.parametrize(
    "wrong",
    [
        tags(**{"aws:x": "1"}),
        tags(**{"k" * 129: "1"}),
        tags(a="v" * 257),
        [{"Value": "1"}],
        [{"Key": "a"}, {"Key": "a"}],
    ],
)
def test_tags_outside_ec2_s_rules_are_refused(ec2: Any, instance: str, wrong: Any) -> None:
    with pytest.raises(ClientError) as caught:
        ec2.create_tags(Resources=[instance], Tags=wrong)
    assert code(caught) == "InvalidParameterValue"
    assert described(ec2) == []


def test_a_reserved_key_is_refused_in_ec2_s_words(ec2: Any, instance: str) -> None:
    expected = (
        r"Value \( aws:x \) for parameter key is invalid\. Tag keys starting with 'aws:' are"
        " reserved for internal use"
    )
    with pytest.raises(ClientError, match=expected):
        ec2.create_tags(Resources=[instance], Tags=tags(**{"aws:x": "1"}))
    with pytest.raises(ClientError, match=expected):
        ec2.delete_tags(Resources=[instance], Tags=tags(**{"aws:x": "1"}))


def test_a_resource_has_fifty_tags_at_most(ec2: Any, instance: str) -> None:
    ec2.create_tags(Resources=[instance], Tags=tags(**{f"k{n}": "" for n in range(50)}))
    ec2.create_tags(Resources=[instance], Tags=tags(k49="again"))
    with pytest.raises(ClientError) as caught:
        ec2.create_tags(Resources=[instance], Tags=tags(k0="new", one_more=""))
    assert code(caught) == "TagLimitExceeded"
    assert len(described(ec2)) == 50
    assert ("instance", "k0", "") in described(ec2)


def test_accounts_neither_see_nor_change_each_other_s_tags(
    endpoint: Endpoint, ec2: Any, instance: str
) -> None:
    ec2.create_tags(Resources=[instance], Tags=tags(mine="1"))
    other = endpoint.client(endpoint.new_key())
    assert described(other) == []
    for call in (
        lambda: other.create_tags(Resources=[instance], Tags=tags(theirs="1")),
        lambda: other.delete_tags(Resources=[instance]),
    ):
        with pytest.raises(ClientError) as caught:
            call()
        assert code(caught) == "InvalidInstanceID.NotFound"
    assert described(ec2) == [("instance", "mine", "1")]


def test_another_account_s_public_image_cannot_be_tagged(endpoint: Endpoint, ec2: Any) -> None:
    public = endpoint.new_image(endpoint.new_key().account_id, public=True)
    with pytest.raises(ClientError, match=public) as caught:
        ec2.create_tags(Resources=[public], Tags=tags(a="1"))
    assert code(caught) == "UnsupportedOperation"


def test_tags_are_described_as_long_as_their_instance(
    endpoint: Endpoint, ec2: Any, instance: str
) -> None:
    ec2.create_tags(Resources=[instance], Tags=tags(a="1"))
    kept = timedelta(seconds=endpoint.settings.terminated_kept)
    endpoint.change_state(instance, "terminated", datetime.now(UTC) - kept)
    assert described(ec2) == []
