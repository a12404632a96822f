# SPDX-License-Identifier: Apache-2.0
"""The filters that EC2 documents: they are known here, and find what the answer shows."""

from __future__ import annotations

from datetime import datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from action_cases import case, new_world
from answers import code
from botocore.exceptions import ClientError
from botocore.loaders import Loader

from gateway.ec2 import (
    image_document,
    instance_document,
    instance_status,
    instance_types,
    interface_document,
    regions,
)
from gateway.ec2.actions import ACTIONS
from gateway.ec2.constants import timestamp
from gateway.wire.model import ListShape, Shape, StructureShape

MODEL = Loader().load_service_model("ec2", "service-2")

EXCEPTIONS: dict[tuple[str, str], str] = {}
"""What EC2 documents for an action and is refused here: (action, filter) and the reason."""

TABLES: dict[str, tuple[str, Any]] = {
    "DescribeAvailabilityZones": ("AvailabilityZones", regions.ZONE_FILTERS),
    "DescribeImages": ("Images", image_document.FILTERS),
    "DescribeInstanceStatus": ("InstanceStatuses", instance_status.FILTERS),
    "DescribeInstanceTypeOfferings": ("InstanceTypeOfferings", instance_types.OFFERING_FILTERS),
    "DescribeInstanceTypes": ("InstanceTypes", instance_types.FILTERS),
    "DescribeInstances": ("Reservations.Instances", instance_document.FILTERS),
    "DescribeNetworkInterfaces": ("NetworkInterfaces", interface_document.FILTERS),
    "DescribeRegions": ("Regions", regions.REGION_FILTERS),
}
"""Where the answer lists what the filters look at, and the filters."""

# These ask for everything that the documents of this account can have.
ASKED: dict[str, dict[str, Any]] = {"DescribeInstanceStatus": {"IncludeAllInstances": True}}


class Items(HTMLParser):
    """The texts of the items of a documentation's outermost list."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = 0
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        self.depth += tag == "ul"
        if tag == "li" and self.depth == 1:
            self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag == "ul"

    def handle_data(self, data: str) -> None:
        if self.depth == 1 and self.found:
            self.found[-1] += data


def member(action: str) -> str:
    return "Filter" if "Filter" in ACTIONS[action].operation.input.members else "Filters"


def documented(action: str) -> list[str]:
    """Return the names that the documentation of EC2's model lists: first words of its items."""
    shape = MODEL["shapes"][MODEL["operations"][action]["input"]["shape"]]
    items = Items()
    items.feed(shape["members"][member(action)].get("documentation", ""))
    texts = (item.replace(" :", ":").split() for item in items.found)
    names = [words[0].rstrip(":") for words in texts if words]
    return ["tag:Name" if name == "tag" or name.startswith("tag:") else name for name in names]


FILTERED = sorted(
    name for name, one in ACTIONS.items() if member(name) in one.operation.input.members
)


def describe(ec2: Any, action: str, *given: tuple[str, str]) -> Any:
    asked = [{"Name": name, "Values": [value]} for name, value in given]
    call = getattr(ec2, ACTIONS[action].operation.python_name)
    return call(**{member(action): asked}, **case(action).needed, **ASKED.get(action, {}))


@pytest.mark.parametrize("action", FILTERED)
def test_every_filter_that_ec2_documents_is_known(ec2: Any, action: str) -> None:
    names = [name for name in documented(action) if (action, name) not in EXCEPTIONS]
    assert names or action == "DescribeImportImageTasks", "the model's text has another form now"
    describe(ec2, action, *((name, "no such value") for name in names))


@pytest.mark.parametrize("action", FILTERED)
def test_an_exception_is_documented_and_refused(ec2: Any, action: str) -> None:
    for name in (name for of, name in EXCEPTIONS if of == action):
        assert name in documented(action)
        with pytest.raises(ClientError, match=f"The filter '{name}' is invalid") as caught:
            describe(ec2, action, (name, "x"))
        assert code(caught) == "InvalidParameterValue"


@pytest.mark.parametrize("action", FILTERED)
def test_a_filter_that_ec2_does_not_have_is_refused(ec2: Any, action: str) -> None:
    with pytest.raises(ClientError, match="The filter 'no-such-filter' is invalid") as caught:
        describe(ec2, action, ("no-such-filter", "x"))
    assert code(caught) == "InvalidParameterValue"


def ways(action: str) -> dict[str, list[str]]:
    """Return the filters that look at a document, each with the way to what it looks at."""
    _, table = TABLES[action]
    return {name: look.split(".") for name, look in table.items() if isinstance(look, str)}


def inside(shape: Shape | None) -> StructureShape:
    while isinstance(shape, ListShape):
        shape = shape.member
    assert isinstance(shape, StructureShape)
    return shape


@pytest.mark.parametrize("action", TABLES)
def test_a_way_leads_through_ec2_s_model_to_a_value(action: str) -> None:
    where, _ = TABLES[action]
    for name, way in ways(action).items():
        at: Shape | None = ACTIONS[action].operation.output
        for step in (*where.split("."), *way):
            assert step in inside(at).members, f"{name}: {step}"
            at = inside(at).members[step]
        while isinstance(at, ListShape):
            at = at.member
        assert not isinstance(at, StructureShape), name


def shown(document: Any, way: list[str]) -> list[Any]:
    if isinstance(document, list):
        return [value for item in document for value in shown(item, way)]
    if way:
        return shown(document[way[0]], way[1:]) if way[0] in document else []
    return [] if document == "" else [document]


def text(value: Any) -> str:
    if isinstance(value, datetime):
        return timestamp(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("action", TABLES)
def test_a_filter_finds_what_the_answer_shows_and_nothing_else(
    endpoint: Any, key: Any, action: str
) -> None:
    new_world(endpoint, key)
    ec2 = endpoint.client(key)
    where = TABLES[action][0].split(".")
    everything = shown(describe(ec2, action), where)
    assert everything
    for name, way in ways(action).items():
        having = [one for one in everything if shown(one, way)]
        assert shown(describe(ec2, action, (name, "*")), where) == having, name
        for value in {text(value) for one in having for value in shown(one, way)}:
            expected = [one for one in having if value in map(text, shown(one, way))]
            assert shown(describe(ec2, action, (name, value)), where) == expected, (name, value)
