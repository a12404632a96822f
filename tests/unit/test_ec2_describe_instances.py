# SPDX-License-Identifier: Apache-2.0
"""DescribeInstances: filters, pages, and whose instances they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from answers import code, instance_ids
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Endpoint


@pytest.mark.parametrize(
    ("name", "value", "count"),
    [
        ("instance-state-name", "pending", 2),
        ("instance-state-name", "running", 1),
        ("instance-state-code", "16", 1),
        ("instance-type", "t3.*", 1),
        ("instance-type", "t3.?ano", 1),
        ("instance-type", "T3.nano", 0),
        ("tag:Name", "web-*", 2),
        ("tag:Name", "web-\\*", 0),
        ("tag:Other", "*", 0),
        ("tag-key", "Name", 2),
        ("architecture", "x86_64", 3),
        ("launch-index", "1", 1),
        ("availability-zone", "condor-a", 3),
    ],
)
def test_instances_are_filtered(
    endpoint: Endpoint, ec2: Any, image: str, *, name: str, value: str, count: int
) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "web-1"}]}]
    two = ec2.run_instances(ImageId=image, MinCount=2, MaxCount=2, TagSpecifications=tags)
    ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.nano")
    endpoint.change_state(two["Instances"][0]["InstanceId"], "running")
    assert (
        len(instance_ids(ec2.describe_instances(Filters=[{"Name": name, "Values": [value]}])))
        == count
    )


def test_filters_add_up_and_their_values_are_alternatives(ec2: Any, image: str) -> None:
    one = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="medium")
    pending = {"Name": "instance-state-name", "Values": ["running", "pending"]}
    assert len(instance_ids(ec2.describe_instances(Filters=[pending]))) == 2
    only = {"Name": "instance-id", "Values": [one, "i-12345678"]}
    assert instance_ids(ec2.describe_instances(Filters=[pending, only])) == [one]


def test_a_filter_value_longer_than_anything_is_refused(ec2: Any) -> None:
    with pytest.raises(ClientError) as caught:
        ec2.describe_instances(Filters=[{"Name": "tag:x", "Values": ["*a" * 1000]}])
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValue"


def test_an_unknown_filter_is_refused(ec2: Any) -> None:
    with pytest.raises(ClientError, match="The filter 'instance-stat' is invalid") as caught:
        ec2.describe_instances(Filters=[{"Name": "instance-stat", "Values": ["x"]}])
    assert code(caught) == "InvalidParameterValue"


def test_without_max_results_everything_is_described(ec2: Any, image: str) -> None:
    ec2.run_instances(ImageId=image, MinCount=1000, MaxCount=1000)
    ec2.run_instances(ImageId=image, MinCount=100, MaxCount=100)
    answer = ec2.describe_instances()
    assert len(instance_ids(answer)) == 1100
    assert "NextToken" not in answer


def test_pages_neither_skip_nor_repeat_while_instances_come_and_go(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    for _ in range(4):
        ec2.run_instances(ImageId=image, MinCount=4, MaxCount=4)
    everything = instance_ids(ec2.describe_instances())
    first = ec2.describe_instances(MaxResults=6)
    seen = instance_ids(first)
    long_ago = datetime.now(UTC) - timedelta(days=1)
    endpoint.change_state(seen[0], "terminated", long_ago)
    endpoint.change_state(seen[-1], "terminated", long_ago)
    endpoint.change_state(everything[7], "terminated", long_ago)
    token = first["NextToken"]
    ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)
    while token:
        page = ec2.describe_instances(MaxResults=6, NextToken=token)
        assert 0 < len(instance_ids(page)) <= 6
        seen += instance_ids(page)
        token = page.get("NextToken")
    expected = [one for one in everything if one != everything[7]]
    assert seen[:-1] == expected
    assert len(set(seen)) == len(seen)


def test_the_last_page_has_no_token(ec2: Any, image: str) -> None:
    ec2.run_instances(ImageId=image, MinCount=10, MaxCount=10)
    first = ec2.describe_instances(MaxResults=5)
    last = ec2.describe_instances(MaxResults=5, NextToken=first["NextToken"])
    assert len(instance_ids(last)) == 5
    assert "NextToken" not in last


def test_a_token_is_bound_to_its_account_and_query(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    ec2.run_instances(ImageId=image, MinCount=10, MaxCount=10)
    token = ec2.describe_instances(MaxResults=5)["NextToken"]
    other = endpoint.client(endpoint.new_key())
    pending = [{"Name": "instance-state-name", "Values": ["pending"]}]
    calls: list[Callable[[], Any]] = [
        lambda: other.describe_instances(NextToken=token),
        lambda: ec2.describe_instances(NextToken=token, Filters=pending),
        lambda: ec2.describe_images(NextToken=token),
        lambda: ec2.describe_instances(NextToken=token[:-4]),
        lambda: ec2.describe_instances(NextToken="nonsense"),
    ]
    for call in calls:
        with pytest.raises(ClientError) as caught:
            call()
        assert code(caught) == "InvalidNextToken"
    assert len(instance_ids(ec2.describe_instances(NextToken=token))) == 5


@pytest.mark.parametrize("max_results", [-1, 0, 4, 1001])
def test_max_results_outside_ec2_s_range_is_refused(ec2: Any, max_results: int) -> None:
    with pytest.raises(ClientError) as caught:
        ec2.describe_instances(MaxResults=max_results)
    assert code(caught) == "InvalidParameterValue"


def test_max_results_cannot_be_combined_with_ids(ec2: Any) -> None:
    expected = "The parameter instancesSet cannot be used with the parameter maxResults"
    with pytest.raises(ClientError, match=expected) as caught:
        ec2.describe_instances(InstanceIds=["i-12345678"], MaxResults=5)
    assert code(caught) == "InvalidParameterCombination"


def test_malformed_and_unknown_instance_ids_are_told_apart(ec2: Any) -> None:
    with pytest.raises(ClientError, match='Invalid id: "foobar"') as caught:
        ec2.describe_instances(InstanceIds=["foobar"])
    assert code(caught) == "InvalidInstanceID.Malformed"
    with pytest.raises(ClientError, match="'i-12345678' does not exist") as caught:
        ec2.get_console_output(InstanceId="i-12345678")
    assert code(caught) == "InvalidInstanceID.NotFound"


def test_accounts_do_not_see_each_other_s_instances(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    other = endpoint.client(endpoint.new_key())
    assert other.describe_instances()["Reservations"] == []
    named = launched["InstanceId"]
    calls: list[Callable[[], Any]] = [
        lambda: other.describe_instances(InstanceIds=[named]),
        lambda: other.terminate_instances(InstanceIds=[named]),
        lambda: other.get_console_output(InstanceId=named),
    ]
    for call in calls:
        with pytest.raises(ClientError) as caught:
            call()
        assert code(caught) == "InvalidInstanceID.NotFound"
