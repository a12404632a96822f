# SPDX-License-Identifier: Apache-2.0
"""The documents as bytes: what clients match that no parser shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire import model, xml

PROLOG = '<?xml version="1.0" encoding="UTF-8"?>\n'


def serialize(action: str, result: dict[str, Any], version: str = "2016-11-15") -> str:
    operation = model.operation(action)
    assert operation is not None
    return xml.serialize(operation, result, version=version, request_id="the-id").decode()


def test_an_answer_is_in_the_form_of_ec2() -> None:
    result = {
        "Instances": [{"State": {"Name": "pending", "Code": 0}, "InstanceId": "i-1", "Tags": []}],
        "ReservationId": "r-1",
    }
    assert serialize("RunInstances", result) == (
        f'{PROLOG}<RunInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
        "<requestId>the-id</requestId><reservationId>r-1</reservationId><instancesSet><item>"
        "<instanceId>i-1</instanceId><tagSet/><instanceState><code>0</code><name>pending</name>"
        "</instanceState></item></instancesSet></RunInstancesResponse>"
    )


def test_the_namespace_has_the_version_asked_for_and_ends_in_a_slash() -> None:
    text = serialize("DescribeInstances", {}, version="2012-10-01")
    assert 'xmlns="http://ec2.amazonaws.com/doc/2012-10-01/"' in text


def test_an_operation_without_output_answers_return_true() -> None:
    assert serialize("RebootInstances", {}) == (
        f'{PROLOG}<RebootInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
        "<requestId>the-id</requestId><return>true</return></RebootInstancesResponse>"
    )


def test_an_operation_without_output_has_no_result() -> None:
    with pytest.raises(xml.ResultError, match="RebootInstances has no output"):
        serialize("RebootInstances", {"Return": True})


def test_an_error_document_has_no_namespace_and_two_children_in_error() -> None:
    document = xml.error_document("RequestLimitExceeded", "Request limit exceeded.", "the-id")
    assert document.decode() == (
        f"{PROLOG}<Response><Errors><Error><Code>RequestLimitExceeded</Code>"
        "<Message>Request limit exceeded.</Message></Error></Errors>"
        "<RequestID>the-id</RequestID></Response>"
    )


@given(st.text())
def test_no_text_breaks_a_document(text: str) -> None:
    parsed = ET.fromstring(xml.error_document(text, text, text))  # noqa: S314 - our own document
    message = parsed.findtext("Errors/Error/Message") or ""
    answer = ET.fromstring(serialize("CreateKeyPair", {"KeyName": text}))  # noqa: S314
    assert (answer[1].text or "") == message
    assert len(message) == len(text)
    if text.isprintable():
        assert message == text


def test_absent_and_none_are_not_written_but_empty_is() -> None:
    text = serialize("CreateKeyPair", {"KeyName": "", "KeyFingerprint": None, "Tags": []})
    assert "<keyName/>" in text
    assert "<tagSet/>" in text
    assert "keyFingerprint" not in text
    assert "keyMaterial" not in text


def test_order_is_the_models_whatever_the_order_of_the_keys() -> None:
    one = {"KeyName": "k", "KeyMaterial": "m", "KeyPairId": "key-1"}
    other = dict(reversed(one.items()))
    assert serialize("CreateKeyPair", one) == serialize("CreateKeyPair", other)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2012, 10, 16, 20, 0, 13, tzinfo=UTC), "2012-10-16T20:00:13.000Z"),
        (datetime(2012, 10, 16, 20, 0, 13, 999_999, tzinfo=UTC), "2012-10-16T20:00:13.999Z"),
        (
            datetime(2012, 10, 17, 1, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
            "2012-10-16T20:00:00.000Z",
        ),
    ],
)
def test_dates_have_milliseconds_and_a_z(moment: datetime, text: str) -> None:
    assert f"<timestamp>{text}</timestamp>" in serialize("GetConsoleOutput", {"Timestamp": moment})


@pytest.mark.parametrize(
    ("action", "result", "sentence"),
    [
        ("DescribeInstances", {"Instances": []}, "DescribeInstancesResult has no Instances"),
        ("DescribeInstances", {"Reservations": {}}, "DescribeInstancesResult.Reservations: a list"),
        ("DescribeInstances", {"Reservations": [None]}, "a dictionary is expected for Reservation"),
        (
            "DescribeInstances",
            {"Reservations": [{"Instances": [{"State": {"Code": "16"}}]}]},
            "Reservation.Instances: Instance.State: InstanceState.Code: an integer is expected",
        ),
        ("DescribeInstances", {"NextToken": 5}, "NextToken: a string is expected"),
        ("RunInstances", {"Instances": [{"AmiLaunchIndex": True}]}, "an integer is expected"),
        ("RunInstances", {"Instances": [{"EbsOptimized": 1}]}, "a boolean is expected"),
        ("GetConsoleOutput", {"Timestamp": "2016"}, "an aware datetime is expected"),
        ("GetConsoleOutput", {"Timestamp": datetime(2016, 1, 1)}, "an aware"),  # noqa: DTZ001
        (
            "DescribeSpotPriceHistory",
            {"SpotPriceHistory": [{"SpotPrice": 0.1}]},
            "a string is expected",
        ),
    ],
)
def test_a_result_that_does_not_fit_is_our_mistake(
    action: str, result: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(xml.ResultError) as caught:
        serialize(action, result)
    assert sentence in str(caught.value)
