# SPDX-License-Identifier: Apache-2.0
"""The EC2 protocol cases that botocore publishes with its source, read in both directions.

They are not in botocore's wheel. Unpack botocore's source archive and point
``BOTOCORE_PROTOCOL_CASES`` at its folder ``tests/unit/protocols``.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import botocore.parsers
import pytest
from botocore.model import OperationModel, ServiceModel

from gateway import errors
from gateway.wire import model, query, xml

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = os.environ.get("BOTOCORE_PROTOCOL_CASES", "")
PARSER = botocore.parsers.create_parser("ec2")

# Traits that EC2's own model does not use; test_model.py fails on the day that it does.
NOT_IN_EC2 = {"map", "flattened", "timestampFormat", "xmlNamespace", "requestcompression"}
# Refused on purpose: EC2 has no parameter for which these are meaningful numbers.
NO_NUMBERS = {"NaN", "Infinity", "-Infinity"}


def cases(direction: str) -> Iterator[Any]:
    """Yield each case as (suite, case), or one that is skipped."""
    if not FOLDER:
        reason = "BOTOCORE_PROTOCOL_CASES is not set: no published cases to read"
        yield pytest.param({}, {}, marks=pytest.mark.skip(reason=reason))
        return
    for suite in json.loads((Path(FOLDER) / direction / "ec2.json").read_text()):
        for case in suite["cases"]:
            if not NOT_IN_EC2 & set(words(suite["shapes"]) | words(case["given"])):
                yield pytest.param(suite, case, id=case["id"])


def words(tree: Any) -> set[str]:
    """Return every key and every type in a part of a model."""
    if isinstance(tree, dict):
        found = {"map"} if tree.get("type") == "map" else set()
        return found.union(tree, *(words(below) for below in tree.values()))
    if isinstance(tree, list):
        return set().union(*(words(below) for below in tree))
    return set()


def operation_of(suite: dict[str, Any], case: dict[str, Any]) -> model.Operation:
    service = ServiceModel({"metadata": suite["metadata"], "shapes": suite["shapes"]}, "ec2")
    described = OperationModel(case["given"], service)
    nothing = model.StructureShape("Nothing", {"type": "structure", "members": {}})
    name = case["given"]["name"]
    return model.Operation(name, name, described.input_shape or nothing, described.output_shape, ())


def as_python(value: Any, shape: model.Shape) -> Any:
    """Return a value of the published JSON as botocore's user would write it."""
    if isinstance(shape, model.StructureShape):
        return {name: as_python(below, shape.members[name]) for name, below in value.items()}
    if isinstance(shape, model.ListShape):
        return [as_python(below, shape.member) for below in value]
    if shape.type_name == "timestamp":
        return datetime.fromtimestamp(value, UTC)
    if shape.type_name == "blob":
        return value.encode()
    if shape.type_name in {"float", "double"}:
        return float(value)
    return value


@pytest.mark.parametrize(("suite", "case"), list(cases("input")))
def test_a_published_request_is_read(suite: dict[str, Any], case: dict[str, Any]) -> None:
    operation = operation_of(suite, case)
    form = query.read(b"", case["serialized"]["body"].encode())
    assert form.action == operation.name
    if NO_NUMBERS & set(map(str, case["params"].values())):
        with pytest.raises(errors.InvalidParameterValue, match="A number is expected"):
            query.parse(operation, form.parameters)
        return
    wanted = as_python(case["params"], operation.input)
    wanted = {name: value for name, value in wanted.items() if value != []}
    parsed = query.parse(operation, form.parameters)
    for token in set(parsed) - set(wanted):
        assert parsed[token] == "00000000-0000-4000-8000-000000000000"  # filled in by SDKs
    assert parsed | wanted == parsed


def understood(operation: model.Operation, status: int, document: bytes) -> dict[str, Any]:
    """Return what botocore makes of a document, without the request's metadata."""
    response = {"status_code": status, "headers": {}, "body": document}
    parsed: dict[str, Any] = PARSER.parse(response, cast("model.Shape", operation.output))
    return {name: value for name, value in parsed.items() if name != "ResponseMetadata"}


@pytest.mark.parametrize(("suite", "case"), list(cases("output")))
def test_a_published_answer_is_written(suite: dict[str, Any], case: dict[str, Any]) -> None:
    operation = operation_of(suite, case)
    status, published = case["response"]["status_code"], case["response"]["body"].encode()
    wanted = understood(operation, status, published)
    if status != 200:
        error = {name: wanted["Error"][name] for name in ("Code", "Message")}
        ours = xml.error_document(error["Code"], error["Message"], "x")
        # One case has members beside these two; no error of EC2's has.
        assert understood(operation, status, ours)["Error"] == error
        return
    result = as_python(case["result"], operation.output) if operation.output else {}
    if NO_NUMBERS & set(map(str, case["result"].values())):
        with pytest.raises(xml.ResultError, match="a finite number"):
            xml.serialize(operation, result, version="2016-11-15", request_id="x")
        return
    ours = xml.serialize(operation, result, version="2016-11-15", request_id="x")
    assert understood(operation, status, ours) == wanted
