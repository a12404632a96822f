# SPDX-License-Identifier: Apache-2.0
"""Pages neither skip nor repeat, whatever is added and deleted between two of them.

DescribeKeyPairs has no pages in EC2's model: its answer is always whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from answers import instance_ids
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Endpoint

SIZE = 5
LONG_AGO = datetime.now(UTC) - timedelta(days=3)

# What happens between two pages: something new, or the end of what stands at that part of the rest.
CHANGES = st.lists(
    st.lists(st.one_of(st.just(None), st.floats(0, 1)), max_size=4), min_size=1, max_size=6
)


@dataclass(frozen=True)
class Kind:
    """How a test lists, adds and deletes one kind of resource; each by one text that names it."""

    page: Callable[..., tuple[list[str], str | None]]
    add: Callable[[], str]
    delete: Callable[[str], object]


def instances(endpoint: Endpoint) -> Kind:
    key = endpoint.new_key()
    ec2, image = endpoint.client(key), endpoint.new_image(key.account_id)

    def page(**given: Any) -> tuple[list[str], str | None]:
        answer = ec2.describe_instances(**given)
        return instance_ids(answer), answer.get("NextToken")

    def add() -> str:
        launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)
        return str(launched["Instances"][0]["InstanceId"])

    return Kind(page, add, lambda name: endpoint.change_state(name, "terminated", LONG_AGO))


def images(endpoint: Endpoint) -> Kind:
    key = endpoint.new_key()
    ec2 = endpoint.client(key)

    def page(**given: Any) -> tuple[list[str], str | None]:
        answer = ec2.describe_images(Owners=["self"], **given)
        return [image["ImageId"] for image in answer["Images"]], answer.get("NextToken")

    return Kind(
        page,
        lambda: endpoint.new_image(key.account_id),
        lambda name: ec2.deregister_image(ImageId=name),
    )


def tags(endpoint: Endpoint) -> Kind:
    key = endpoint.new_key()
    ec2, numbers = endpoint.client(key), count()
    resources = [endpoint.new_image(key.account_id) for _ in range(4)]

    def page(**given: Any) -> tuple[list[str], str | None]:
        answer = ec2.describe_tags(**given)
        names = [f"{tag['ResourceId']} {tag['Key']}" for tag in answer["Tags"]]
        return names, answer.get("NextToken")

    def add() -> str:
        # Before, between and behind those that are there.
        number = next(numbers)
        resource, name = resources[number % 4], f"{number * 7919 % 1000:03}"
        ec2.create_tags(Resources=[resource], Tags=[{"Key": name, "Value": ""}])
        return f"{resource} {name}"

    def delete(name: str) -> None:
        resource, _, tag = name.partition(" ")
        ec2.delete_tags(Resources=[resource], Tags=[{"Key": tag}])

    return Kind(page, add, delete)


@pytest.mark.parametrize("make", [instances, images, tags])
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(first=st.integers(0, 17), changes=CHANGES)
def test_what_stays_is_on_one_page_and_nothing_is_on_two(
    endpoint: Endpoint,
    make: Callable[[Endpoint], Kind],
    first: int,
    changes: list[list[float | None]],
) -> None:
    kind = make(endpoint)
    stayed = {kind.add() for _ in range(first)}
    there, seen, token = set(stayed), list[str](), dict[str, str]()
    for between in (*changes, *([[]] * 20)):
        page, following = kind.page(MaxResults=SIZE, **token)
        assert set(page) <= there
        assert len(page) == SIZE or following is None
        seen += page
        if following is None:
            break
        token = {"NextToken": following}
        for change in between:
            if change is None:
                there.add(kind.add())
            elif there:
                gone = sorted(there)[min(int(change * len(there)), len(there) - 1)]
                kind.delete(gone)
                there.discard(gone)
                stayed.discard(gone)
    else:
        raise AssertionError("the pages have no end")
    assert len(seen) == len(set(seen))
    assert stayed <= set(seen)
