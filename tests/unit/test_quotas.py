# SPDX-License-Identifier: Apache-2.0
"""What an account may have: by the settings, or by a quota of its own."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from answers import code
from botocore.exceptions import ClientError
from served import serving

from gateway.cloud import images, quotas
from gateway.cloud.errors import Invalid, LimitReached
from gateway.store import database, instances
from gateway.store import images as image_rows
from gateway.store.images import Content

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey

PUBLIC_KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE"
Quota = dict[str, int]


@pytest.fixture
def allow(endpoint: Endpoint, key: AccessKey) -> Callable[[Quota], None]:
    """Set quotas of the test's account."""

    def put(wanted: Quota) -> None:
        with database.writing(endpoint.database) as db:
            for kind, value in wanted.items():
                quotas.put(db, key.account_id, kind, value)

    return put


def usage(endpoint: Endpoint, key: AccessKey) -> Quota:
    with database.reading(endpoint.database) as db:
        return quotas.usage(db, key.account_id)


def run(ec2: Any, image: str, least: int, most: int, **more: Any) -> list[str]:
    answer = ec2.run_instances(ImageId=image, MinCount=least, MaxCount=most, **more)
    return [instance["InstanceId"] for instance in answer["Instances"]]


def test_a_quota_holds_for_its_account_alone(
    endpoint: Endpoint, ec2: Any, image: str, allow: Callable[[Quota], None]
) -> None:
    allow({"instances": 0})
    with pytest.raises(ClientError) as caught:
        run(ec2, image, 1, 1)
    assert code(caught) == "InstanceLimitExceeded"
    other = endpoint.new_key()
    assert run(endpoint.client(other), endpoint.new_image(other.account_id), 1, 1)


def test_more_instances_than_allowed_are_refused_as_ec2_words_it(
    ec2: Any, image: str, allow: Callable[[Quota], None]
) -> None:
    allow({"instances": 3})
    run(ec2, image, 2, 2)
    with pytest.raises(ClientError) as caught:
        run(ec2, image, 2, 2)
    error = caught.value.response
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert error["Error"]["Message"].startswith(
        "You have requested more instances (4) than your current instance limit of 3 allows for"
        " the specified instance type."
    )


def test_more_vcpus_than_allowed_are_refused_as_ec2_words_it(
    ec2: Any, image: str, allow: Callable[[Quota], None]
) -> None:
    allow({"vcpus": 5})
    run(ec2, image, 1, 1, InstanceType="large")
    with pytest.raises(ClientError) as caught:
        run(ec2, image, 1, 1, InstanceType="medium")
    assert code(caught) == "VcpuLimitExceeded"
    assert caught.value.response["Error"]["Message"].startswith(
        "You have requested more vCPU capacity than your current vCPU limit of 5 allows for the"
        " instance bucket that the specified instance type belongs to."
    )


@pytest.mark.parametrize(
    ("quota", "launched"),
    [
        ({"instances": 4}, 4),
        ({"vcpus": 5}, 2),
        ({"instances": 3, "vcpus": 4}, 2),
        ({"instances": 1, "vcpus": 100}, 1),
    ],
)
def test_a_launch_gets_as_many_as_the_quotas_allow_from_its_minimum_on(
    ec2: Any,
    image: str,
    allow: Callable[[Quota], None],
    quota: Quota,
    launched: int,
) -> None:
    allow(quota)
    assert len(run(ec2, image, 1, 10, InstanceType="medium")) == launched


def test_a_refused_launch_leaves_nothing(
    endpoint: Endpoint, key: AccessKey, ec2: Any, image: str, allow: Callable[[Quota], None]
) -> None:
    allow({"instances": 1})
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "k", "Value": "v"}]}]
    with pytest.raises(ClientError):
        run(ec2, image, 2, 2, ClientToken="refused", TagSpecifications=tags)
    assert usage(endpoint, key)["instances"] == 0
    assert ec2.describe_tags()["Tags"] == []
    # The token is free: the same request is carried out once there is room.
    allow({"instances": 2})
    made = run(ec2, image, 2, 2, ClientToken="refused", TagSpecifications=tags)
    assert len(made) == 2


def test_a_token_that_came_before_is_answered_above_the_quota(
    ec2: Any, image: str, allow: Callable[[Quota], None]
) -> None:
    allow({"instances": 2})
    first = run(ec2, image, 1, 5, ClientToken="once")
    assert run(ec2, image, 1, 5, ClientToken="once") == first


def test_a_dry_run_tells_that_the_quota_is_exceeded(
    ec2: Any, image: str, allow: Callable[[Quota], None]
) -> None:
    allow({"vcpus": 1})
    with pytest.raises(ClientError) as caught:
        run(ec2, image, 1, 1, DryRun=True)
    assert code(caught) == "DryRunOperation"
    with pytest.raises(ClientError) as caught:
        run(ec2, image, 2, 2, DryRun=True)
    assert code(caught) == "VcpuLimitExceeded"


def test_a_start_takes_vcpus_and_is_refused_without_any_effect_where_there_are_none(
    endpoint: Endpoint, key: AccessKey, image: str, allow: Callable[[Quota], None]
) -> None:
    ec2 = endpoint.client(key)
    stopped = run(ec2, image, 2, 2)
    for instance_id in stopped:
        for state in ("running", "stopping", "stopped"):
            endpoint.change_state(instance_id, state)
    allow({"vcpus": 1})
    for given in ({}, {"DryRun": True}):
        with pytest.raises(ClientError) as caught:
            ec2.start_instances(InstanceIds=stopped, **given)
        assert code(caught) == "VcpuLimitExceeded"
    assert usage(endpoint, key)["vcpus"] == 0
    ec2.start_instances(InstanceIds=stopped[:1])
    assert usage(endpoint, key)["vcpus"] == 1
    with pytest.raises(ClientError):
        ec2.start_instances(InstanceIds=stopped)
    # The one that is starting already takes nothing more.
    ec2.start_instances(InstanceIds=stopped[:1])


def test_what_has_ended_makes_room(
    endpoint: Endpoint, ec2: Any, image: str, allow: Callable[[Quota], None]
) -> None:
    allow({"instances": 1})
    [first] = run(ec2, image, 1, 1)
    endpoint.change_state(first, "running")
    endpoint.change_state(first, "shutting-down")
    with pytest.raises(ClientError):
        run(ec2, image, 1, 1)
    endpoint.change_state(first, "terminated")
    assert run(ec2, image, 1, 1)


@pytest.mark.parametrize(
    ("state", "counted"),
    [
        ("pending", (1, 2)),
        ("running", (1, 2)),
        ("stopping", (1, 0)),
        ("stopped", (1, 0)),
        ("shutting-down", (1, 0)),
        ("terminated", (0, 0)),
    ],
)
def test_a_stopped_instance_counts_and_its_vcpus_do_not(
    endpoint: Endpoint, key: AccessKey, image: str, state: str, counted: tuple[int, int]
) -> None:
    [made] = run(endpoint.client(key), image, 1, 1, InstanceType="medium")
    with database.writing(endpoint.database) as db:
        instances.update_state(db, made, "pending", {"state": state})
    used = usage(endpoint, key)
    assert (used["instances"], used["vcpus"]) == counted
    with database.writing(endpoint.database) as db:
        instances.update_state(db, made, state, {"state": "terminated"})


def test_parallel_launches_over_several_workers_do_not_overshoot(
    endpoint: Endpoint, key: AccessKey, image: str, allow: Callable[[Quota], None]
) -> None:
    allow({"instances": 20, "vcpus": 17})

    def launch(number: int) -> tuple[int, str]:
        try:
            return len(run(client, image, 1, 1 + number % 3)), ""
        except ClientError as error:
            return 0, error.response["Error"]["Code"]

    with serving(endpoint, workers=3) as url, ThreadPoolExecutor(16) as pool:
        client = dataclasses.replace(endpoint, url=url).client(key)
        results = list(pool.map(launch, range(60)))
    assert sum(count for count, _ in results) == 17
    assert {refused for _, refused in results} == {"", "VcpuLimitExceeded"}
    assert usage(endpoint, key)["instances"] == 17


def test_more_key_pairs_than_allowed_are_refused(ec2: Any, allow: Callable[[Quota], None]) -> None:
    allow({"key-pairs": 2})
    ec2.create_key_pair(KeyName="made", KeyType="ed25519")
    ec2.import_key_pair(KeyName="imported", PublicKeyMaterial=PUBLIC_KEY)
    for refused in (
        lambda: ec2.create_key_pair(KeyName="third", KeyType="ed25519"),
        lambda: ec2.import_key_pair(KeyName="third", PublicKeyMaterial=PUBLIC_KEY),
    ):
        with pytest.raises(ClientError) as caught:
            refused()
        assert code(caught) == "KeyPairLimitExceeded"
    ec2.delete_key_pair(KeyName="made")
    ec2.import_key_pair(KeyName="third", PublicKeyMaterial=PUBLIC_KEY)


def test_more_images_than_allowed_are_refused(ec2: Any, allow: Callable[[Quota], None]) -> None:
    allow({"images": 1})
    first = ec2.register_image(Name="first", ImageLocation="http://localhost/1")["ImageId"]
    with pytest.raises(ClientError) as caught:
        ec2.register_image(Name="second", ImageLocation="http://localhost/2")
    assert code(caught) == "ResourceLimitExceeded"
    assert caught.value.response["Error"]["Message"] == (
        "You have reached your quota of 1 for the number of images allowed in this Region."
    )
    ec2.deregister_image(ImageId=first)
    ec2.register_image(Name="second", ImageLocation="http://localhost/2")


def test_an_image_is_not_registered_where_there_is_no_room_for_a_byte(
    ec2: Any, image: str, allow: Callable[[Quota], None]
) -> None:
    assert image  # of 1024 bytes
    allow({"image-bytes": 1024})
    with pytest.raises(ClientError) as caught:
        ec2.register_image(Name="more", ImageLocation="http://localhost/1")
    assert code(caught) == "ResourceLimitExceeded"


def test_bytes_count_as_long_as_an_instance_needs_them(
    endpoint: Endpoint, key: AccessKey, ec2: Any, image: str
) -> None:
    run(ec2, image, 1, 1)
    ec2.deregister_image(ImageId=image)
    used = usage(endpoint, key)
    assert (used["images"], used["image-bytes"]) == (0, 1024)


def test_an_image_that_turns_out_too_large_is_not_taken_in(
    endpoint: Endpoint, key: AccessKey, ec2: Any
) -> None:
    made = ec2.register_image(Name="large", ImageLocation="http://localhost/1")["ImageId"]
    content = Content("1" * 64, 2049, 4096, "raw")
    with (
        database.writing(endpoint.database) as db,
        pytest.raises(LimitReached, match="2049 image bytes more than the 0 that"),
    ):
        images.imported(db, made, content, {"image-bytes": 2048})
    with database.reading(endpoint.database) as db:
        row = image_rows.get(db, made)
    assert row is not None
    assert row.state == "pending"
    assert usage(endpoint, key)["image-bytes"] == 0


def test_the_account_is_told_its_own_number_of_instances(
    endpoint: Endpoint, ec2: Any, allow: Callable[[Quota], None]
) -> None:
    def told() -> str:
        asked = ec2.describe_account_attributes(AttributeNames=["max-instances"])
        value: str = asked["AccountAttributes"][0]["AttributeValues"][0]["AttributeValue"]
        return value

    assert told() == str(endpoint.settings.instance_limit)
    allow({"instances": 7})
    assert told() == "7"


def test_without_a_quota_of_its_own_the_settings_hold_again(
    endpoint: Endpoint, key: AccessKey
) -> None:
    with database.writing(endpoint.database) as db:
        quotas.put(db, key.account_id, "vcpus", 4)
        assert quotas.own(db, key.account_id) == {"vcpus": 4}
        assert quotas.binding(db, key.account_id, endpoint.settings)["vcpus"] == 4
        quotas.put(db, key.account_id, "vcpus", None)
        assert quotas.own(db, key.account_id) == {}
        assert quotas.current(db, key.account_id, endpoint.settings) == quotas.defaults(
            endpoint.settings
        )


@pytest.mark.parametrize(("kind", "value"), [("wishes", 3), ("vcpus", -1), ("vcpus", 2**63)])
def test_a_quota_is_a_number_of_a_known_kind(
    endpoint: Endpoint, key: AccessKey, kind: str, value: int
) -> None:
    with database.writing(endpoint.database) as db, pytest.raises(Invalid):
        quotas.put(db, key.account_id, kind, value)


def test_every_kind_has_a_setting_and_can_be_counted(endpoint: Endpoint, key: AccessKey) -> None:
    assert quotas.defaults(endpoint.settings).keys() == quotas.KINDS.keys()
    assert set(usage(endpoint, key).values()) == {0}
