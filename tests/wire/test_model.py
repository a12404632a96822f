# SPDX-License-Identifier: Apache-2.0
"""What the code assumes of the model; a new botocore that breaks it fails here, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.wire import model, query

if TYPE_CHECKING:
    from collections.abc import Iterator

SCALARS = {"string", "integer", "long", "float", "double", "boolean", "timestamp", "blob"}


def shapes_below(shape: model.Shape, seen: set[str]) -> Iterator[model.Shape]:
    """Yield every shape reference below this one, each structure once."""
    yield shape
    if isinstance(shape, model.ListShape):
        yield from shapes_below(shape.member, seen)
    elif isinstance(shape, model.StructureShape) and shape.name not in seen:
        seen.add(shape.name)
        for member in shape.members.values():
            yield from shapes_below(member, seen)


def operations() -> Iterator[model.Operation]:
    for name in model.operation_names():
        operation = model.operation(name)
        assert operation is not None
        yield operation


def inputs() -> Iterator[model.Shape]:
    seen: set[str] = set()
    for operation in operations():
        yield from shapes_below(operation.input, seen)


def outputs() -> Iterator[model.Shape]:
    seen: set[str] = set()
    for operation in operations():
        if operation.output is not None:
            yield from shapes_below(operation.output, seen)


def longest_name(shape: model.Shape, inside: frozenset[str] = frozenset()) -> int:
    if isinstance(shape, model.ListShape):
        return 1 + longest_name(shape.member, inside)
    if isinstance(shape, model.StructureShape):
        assert shape.name not in inside, f"the input {shape.name} contains itself"
        below = [longest_name(member, inside | {shape.name}) for member in shape.members.values()]
        return 1 + max(below, default=0)
    return 0


def test_every_operation_has_an_input() -> None:
    for name in model.operation_names():
        assert model.load().operation_model(name).input_shape is not None, name


def test_no_request_is_compressed() -> None:
    for name in model.operation_names():
        assert model.load().operation_model(name).request_compression is None, name


def test_shapes_are_structures_lists_and_known_scalars() -> None:
    for shape in [*inputs(), *outputs()]:
        assert shape.type_name in SCALARS | {"structure", "list"}, shape.name


def test_no_list_is_flattened_or_holds_lists() -> None:
    for shape in [*inputs(), *outputs()]:
        assert "flattened" not in shape.serialization, shape.name
        if isinstance(shape, model.ListShape):
            assert not isinstance(shape.member, model.ListShape), shape.name


def test_no_shape_has_a_timestamp_format_an_attribute_or_a_place_outside_the_body() -> None:
    for shape in [*inputs(), *outputs()]:
        assert set(shape.serialization) <= {"name", "queryName"}, shape.name


def test_no_two_members_share_a_name_on_the_wire() -> None:
    for shape in inputs():
        if isinstance(shape, model.StructureShape):
            assert len(query._members(shape)) == len(shape.members), shape.name
    for shape in outputs():
        if isinstance(shape, model.StructureShape):
            tags = [m.serialization.get("name", name) for name, m in shape.members.items()]
            assert len(set(tags)) == len(tags), shape.name


def test_no_input_has_the_name_of_a_protocol_parameter() -> None:
    for operation in operations():
        for name in query._members(operation.input):
            assert name not in query._PROTOCOL, operation.name
            assert not name.lower().startswith("x-amz-"), operation.name


def test_the_depth_limit_leaves_room_for_the_longest_name() -> None:
    deepest = max(longest_name(operation.input) for operation in operations())
    assert deepest < query.MAX_DEPTH


def test_names_are_those_of_python_clients() -> None:
    operation = model.operation("RunInstances")
    assert operation is not None
    assert operation.python_name == "run_instances"
    assert operation.token_members == ("ClientToken",)


def test_operations_without_output_are_told_apart() -> None:
    reboot, describe = model.operation("RebootInstances"), model.operation("DescribeInstances")
    assert reboot is not None
    assert describe is not None
    assert reboot.output is None
    assert describe.output is not None


def test_an_unknown_operation_is_none() -> None:
    for name in ("", "Nonsense", "runInstances", "RunInstances ", "__class__", "\x00", "é" * 9999):
        assert model.operation(name) is None
