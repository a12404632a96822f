# SPDX-License-Identifier: Apache-2.0
"""Each member of each action's input is honoured, accepted with one value, harmless or refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.ec2.actions import ACTIONS, capabilities
from gateway.ec2.contract import DRY_RUN, Contract, given_leaves, leaves, shortened
from gateway.errors import UnknownParameter, UnsupportedOperation
from gateway.wire import model, query
from gateway.wire.model import ListShape, Shape, StructureShape
from tools import reference

if TYPE_CHECKING:
    from collections.abc import Iterator

VALUES: dict[str, Any] = {"boolean": True, "integer": 7, "long": 7, "string": "other"}
EVERY = sorted(ACTIONS)


def nested(shape: Shape, path: list[str], value: Any) -> Any:
    """Return an input that has one leaf alone."""
    if isinstance(shape, ListShape):
        return [nested(shape.member, path, value)]
    if not path:
        return value
    assert isinstance(shape, StructureShape)
    return {path[0]: nested(shape.members[path[0]], path[1:], value)}


def value_for(shape: Shape) -> Any:
    while isinstance(shape, ListShape):
        shape = shape.member
    return VALUES.get(shape.type_name, "other")


def structures(shape: Shape, prefix: str = "", depth: int = 0) -> Iterator[str]:
    """Yield how a name within each structure begins on the wire, lists numbered and not."""
    if isinstance(shape, ListShape):
        yield from structures(shape.member, prefix, depth)
        yield from structures(shape.member, f"{prefix}1.", depth)
        yield from structures(shape.member, f"{prefix}0.", depth)
    elif isinstance(shape, StructureShape) and depth < 4:
        yield prefix
        for name, (_, member) in query._members(shape).items():
            yield from structures(member, f"{prefix}{name}.", depth + 1)


@pytest.mark.parametrize("name", EVERY)
def test_each_member_is_in_one_of_the_four_lists(name: str) -> None:
    told = capabilities()[name]
    lists = [list(told[kind]) for kind in ("honoured", "only", "harmless", "refused")]
    listed = [path for one in lists for path in one]
    assert len(listed) == len(set(listed))
    assert set(listed) == leaves(ACTIONS[name].operation.input).keys()
    assert all(told["harmless"].values())


@pytest.mark.parametrize("name", EVERY)
def test_each_member_is_treated_as_the_lists_say(name: str) -> None:
    chosen = ACTIONS[name]
    contract = chosen.contract
    for path, shape in leaves(chosen.operation.input).items():
        if path == DRY_RUN:
            continue
        allowed = contract.only.get(path)
        value = not allowed if isinstance(allowed, bool) else value_for(shape)
        alone = nested(chosen.operation.input, path.split("."), value)
        assert [one for one, _ in given_leaves(alone)] == [path]
        if path in contract.honoured or path in contract.harmless:
            contract.check(alone)
            continue
        with pytest.raises(UnsupportedOperation, match=rf"The parameter {path} is") as caught:
            contract.check(alone)
        if path in contract.only:
            right = nested(chosen.operation.input, path.split("."), contract.only[path])
            contract.check(right)
        else:
            assert str(caught.value) == f"The parameter {path} is not supported."


def test_an_empty_text_asks_for_nothing() -> None:
    contract = ACTIONS["RunInstances"].contract
    for given in ({"IamInstanceProfile": {"Name": ""}}, {"RamdiskId": ""}):
        contract.check(given)
    with pytest.raises(UnsupportedOperation):
        contract.check({"IamInstanceProfile": {"Name": "", "Arn": " "}})


@pytest.mark.parametrize("name", EVERY)
def test_a_name_that_the_model_does_not_have_is_unknown_at_every_level(name: str) -> None:
    operation = ACTIONS[name].operation
    for prefix in structures(operation.input):
        for unknown in ("Nope", "Nope.1", "Nope.0.Key", "nope", "DRYRUN"):
            sent = prefix + unknown
            with pytest.raises(UnknownParameter) as caught:
                query.parse(operation, [(sent, "x")])
            assert caught.value.message == f"The parameter {sent} is not recognized"


# boto 2 has it from the action's youth; tests/wire/test_forms.py says what it means.
ONCE_NUMBERED = {("GetConsoleOutput", "InstanceId.1")}


@pytest.mark.parametrize("name", EVERY)
def test_a_value_is_unknown_where_a_list_or_structure_is_not(name: str) -> None:
    operation = ACTIONS[name].operation
    for wire, (_, shape) in query._members(operation.input).items():
        wrong = {
            StructureShape: [wire, f"{wire}.1"],
            ListShape: [f"{wire}.x", f"{wire}.member.1"],
        }.get(type(shape), [f"{wire}.1", f"{wire}.Value"])
        for sent in wrong:
            if (name, sent) in ONCE_NUMBERED:
                continue
            with pytest.raises(UnknownParameter, match=rf"The parameter {sent} is not"):
                query.parse(operation, [(sent, "x")])


def declare(action: str, parameters: set[str], **lists: Any) -> Contract:
    operation = model.operation(action)
    assert operation is not None
    lists["members"] = frozenset(lists.get("members", ()))
    return Contract(operation, frozenset(parameters), **lists)


@pytest.mark.parametrize(
    ("parameters", "lists", "told"),
    [
        ({"Nothing"}, {}, "has no parameter Nothing"),
        (set(), {"only": {"Placement.Nothing": 1}}, "has no parameter Placement.Nothing"),
        (set(), {"harmless": {"ImageId.X": "why"}}, "has no parameter ImageId.X"),
        (set(), {"harmless": {"Monitoring": "why"}}, "Monitoring is a structure: name Monitoring."),
        ({"Placement"}, {}, "no member of Placement is honoured"),
        (set(), {"members": ["Placement.Tenancy"]}, "the function does not take it"),
        ({"KeyName"}, {"only": {"KeyName": "x"}}, "KeyName is honoured"),
        ({"KeyName"}, {"harmless": {"KeyName": "why"}}, "KeyName is honoured"),
        (
            {"Placement"},
            {"members": ["Placement.Tenancy"], "only": {"Placement.Tenancy": "default"}},
            "Placement.Tenancy is honoured",
        ),
        (
            set(),
            {"only": {"KernelId": "x"}, "harmless": {"KernelId": "why"}},
            "KernelId makes no difference",
        ),
        (set(), {"harmless": {"KernelId": ""}}, "but why"),
    ],
)
def test_a_contract_that_cannot_be_true_is_a_programming_error(
    parameters: set[str], lists: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        declare("RunInstances", parameters, **lists)


def test_a_structure_that_is_refused_as_a_whole_is_named_once() -> None:
    refused = ["A.B.C", "A.B.D", "A.E", "F.G", "H"]
    assert shortened(refused, ["F.I", "A.B.J"]) == ["A.B.C", "A.B.D", "A.E", "F.G", "H"]
    assert shortened(refused, ["A.K"]) == ["A.B", "A.E", "F", "H"]


def test_the_document_for_programs_is_what_a_running_endpoint_tells() -> None:
    kept = json.loads((reference.PAGES / "actions.json").read_text())
    assert kept == json.loads(json.dumps(capabilities()))


def test_a_note_is_about_what_is_honoured_and_stands_in_the_document() -> None:
    operation = model.operation("DescribeRegions")
    assert operation is not None
    noted = Contract(operation, frozenset({"RegionNames"}), frozenset(), notes={"RegionNames": "x"})
    assert noted.document()["notes"] == {"RegionNames": "x"}
    with pytest.raises(ValueError, match="is not honoured"):
        Contract(operation, frozenset(), frozenset(), notes={"AllRegions": "why"})
