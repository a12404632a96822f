# SPDX-License-Identifier: Apache-2.0
"""botocore itself says what is right: it writes our requests and reads our answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

import botocore.parsers
import botocore.serialize

from gateway.wire import model, query, xml

if TYPE_CHECKING:
    from tests.wire.conftest import RandomValues

SERIALIZER = botocore.serialize.create_serializer("ec2", include_validation=False)
PARSER = botocore.parsers.create_parser("ec2")


def sent_by_botocore(name: str, arguments: dict[str, Any]) -> bytes:
    request = SERIALIZER.serialize_to_request(arguments, model.load().operation_model(name))
    return urlencode(request["body"], doseq=True).encode()


def read_by_botocore(
    operation: model.Operation, document: bytes, status: int = 200
) -> dict[str, Any]:
    response = {"status_code": status, "headers": {}, "body": document}
    # botocore takes None for an operation without output; its type stubs do not say so.
    parsed: dict[str, Any] = PARSER.parse(response, cast("model.Shape", operation.output))
    return parsed


def every_operation() -> list[model.Operation]:
    operations = [model.operation(name) for name in model.operation_names()]
    return [operation for operation in operations if operation is not None]


def test_every_operation_reads_what_botocore_sends(values: RandomValues) -> None:
    for operation in every_operation():
        arguments = values.make(operation.input)
        form = query.read(b"", sent_by_botocore(operation.name, arguments))
        assert form.action == operation.name
        assert form.version == model.API_VERSION
        assert query.parse(operation, form.parameters) == arguments, operation.name


def test_every_operation_reads_the_same_from_the_url(values: RandomValues) -> None:
    for operation in every_operation()[::7]:
        arguments = values.make(operation.input)
        form = query.read(sent_by_botocore(operation.name, arguments), b"")
        assert query.parse(operation, form.parameters) == arguments, operation.name


def test_botocore_reads_the_answer_of_every_operation(values: RandomValues) -> None:
    for operation in every_operation():
        result = values.make(operation.output) if operation.output else {}
        document = xml.serialize(operation, result, version="2016-11-15", request_id="the-id")
        parsed = read_by_botocore(operation, document)
        assert parsed.pop("ResponseMetadata")["RequestId"] == "the-id"
        assert parsed == result, operation.name


def test_botocore_reads_empty_sets_and_empty_structures_as_empty() -> None:
    for operation in every_operation():
        if operation.output is None:
            continue
        empty = {"list": [], "structure": {}, "string": ""}
        result = {
            name: empty[member.type_name]
            for name, member in operation.output.members.items()
            if member.type_name in empty
        }
        document = xml.serialize(operation, result, version="2016-11-15", request_id="x")
        parsed = read_by_botocore(operation, document)
        del parsed["ResponseMetadata"]
        assert parsed == result, operation.name


def test_botocore_reads_an_error_document() -> None:
    message = 'Invalid id: "<i-é&>" \r\n\x00'
    document = xml.error_document("InvalidInstanceID.Malformed", message, "the-id")
    operation = model.operation("DescribeInstances")
    assert operation is not None
    parsed = read_by_botocore(operation, document, status=400)
    assert parsed["Error"] == {
        "Code": "InvalidInstanceID.Malformed",
        "Message": message.replace("\x00", "\ufffd"),
    }
    assert parsed["ResponseMetadata"]["RequestId"] == "the-id"
