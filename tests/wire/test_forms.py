# SPDX-License-Identifier: Apache-2.0
"""Forms as old and odd clients write them, and forms that nobody should."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest

from gateway import errors
from gateway.wire import model, query, scalars


def parse(action: str, **parameters: str) -> dict[str, Any]:
    """Parse parameters whose dots are written as double underscores."""
    pairs = [(name.replace("__", "."), value) for name, value in parameters.items()]
    return parse_pairs(action, pairs)


def parse_pairs(action: str, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    operation = model.operation(action)
    assert operation is not None
    return query.parse(operation, pairs)


def read(query_string: str = "", body: str = "") -> query.Form:
    return query.read(query_string.encode(), body.encode())


# -- the form -------------------------------------------------------------------------------------


def test_parameters_may_be_split_between_url_and_body() -> None:
    form = read("Action=DescribeInstances&InstanceId.1=i-1", "Version=2012-10-01&InstanceId.2=i-2")
    assert form == query.Form(
        "DescribeInstances", "2012-10-01", [("InstanceId.1", "i-1"), ("InstanceId.2", "i-2")]
    )


def test_what_signatures_add_is_set_aside() -> None:
    signed = urlencode(
        {
            "Action": "DescribeInstances",
            "Version": "2016-11-15",
            "AWSAccessKeyId": "AK",
            "Signature": "s",
            "SignatureMethod": "HmacSHA256",
            "SignatureVersion": "2",
            "Timestamp": "2016-11-15T00:00:00Z",
            "Expires": "2016-11-15T00:00:00Z",
            "SecurityToken": "t",
            "X-Amz-Algorithm": "a",
            "X-Amz-Credential": "c",
            "X-Amz-Signature": "d",
            "MaxResults": "5",
        }
    )
    assert read(signed).parameters == [("MaxResults", "5")]


def test_a_plus_is_a_blank_and_an_escaped_plus_a_plus() -> None:
    form = read(body="Action=A&Version=2016-11-15&X=a+b%2Bc%20d%7E~")
    assert form.parameters == [("X", "a b+c d~~")]


def test_text_is_utf_8() -> None:
    assert read("Action=A&Version=2016-11-15&X=%E6%BC%A2").parameters == [("X", "漢")]
    with pytest.raises(errors.MalformedQueryString, match="UTF-8"):
        read("Action=A&Version=2016-11-15&X=%E9")


@pytest.mark.parametrize("piece", ["X=%", "X=%4", "X=%zz", "%g1=x"])
def test_a_broken_escape_is_malformed(piece: str) -> None:
    with pytest.raises(errors.MalformedQueryString, match="percent"):
        read(f"Action=A&Version=2016-11-15&{piece}")


@pytest.mark.parametrize("form", ["", "Version=2016-11-15", "Action=&Version=2016-11-15"])
def test_a_form_without_action_says_so(form: str) -> None:
    with pytest.raises(errors.MissingAction):
        read(form)


def test_a_form_without_version_says_so() -> None:
    with pytest.raises(errors.MissingParameter, match=r"parameter Version$"):
        read("Action=DescribeInstances")


@pytest.mark.parametrize("version", ["2006-06-26", "2009-04-04", "2012-10-01", "2016-11-15"])
def test_every_version_of_the_api_is_taken(version: str) -> None:
    assert read(f"Action=A&Version={version}").version == version


@pytest.mark.parametrize("version", ["2005-12-31", "2016-02-31", "x", "2016-11-15/", "20161115"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(errors.NoSuchVersion):
        read(f"Action=A&Version={version}")


def test_an_action_given_twice_is_malformed() -> None:
    with pytest.raises(errors.MalformedQueryString, match="Action is given twice"):
        read("Action=DescribeInstances&Version=2016-11-15", "Action=TerminateInstances")


def test_too_many_parameters_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(errors.RequestEntityTooLarge):
        read("Action=A&Version=2016-11-15" + "&a=b" * 6000)


def test_a_thousand_instances_can_be_named() -> None:
    pairs = [(f"InstanceId.{n}", f"i-{n:017x}") for n in range(1, 1001)]
    assert len(parse_pairs("TerminateInstances", pairs)["InstanceIds"]) == 1000


# -- lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "numbers", [[1, 2, 3], [0, 1, 2], [1, 3, 9], [0, 5, 100], [7, 8, 10], [1, 2, 999_999_999]]
)
def test_lists_begin_anywhere_and_may_have_gaps(numbers: list[int]) -> None:
    pairs = [(f"InstanceId.{n}", f"i-{n}") for n in numbers]
    parsed = parse_pairs("DescribeInstances", pairs)
    assert parsed == {"InstanceIds": [f"i-{n}" for n in numbers]}


def test_lists_are_in_the_order_of_their_numbers() -> None:
    pairs = [(f"InstanceId.{n}", f"i-{n}") for n in (10, 2, 12, 1, 11, 3)]
    parsed = parse_pairs("DescribeInstances", pairs)
    assert parsed == {"InstanceIds": ["i-1", "i-2", "i-3", "i-10", "i-11", "i-12"]}


def test_a_list_of_one_needs_no_number() -> None:
    assert parse("DescribeKeyPairs", KeyName="x") == {"KeyNames": ["x"]}
    assert parse("CreateTags", ResourceId="i-1", Tag__0__Key="k") == {
        "Resources": ["i-1"],
        "Tags": [{"Key": "k"}],
    }
    assert parse("DescribeInstances", Filter__1__Name="n", Filter__1__Value="v") == {
        "Filters": [{"Name": "n", "Values": ["v"]}]
    }


def test_boto_2_numbers_the_instance_whose_console_it_asks_for() -> None:
    assert parse("GetConsoleOutput", InstanceId__1="i-1") == {"InstanceId": "i-1"}
    with pytest.raises(errors.MalformedQueryString, match="twice"):
        parse("GetConsoleOutput", InstanceId__1="i-1", InstanceId="i-2")
    with pytest.raises(errors.UnknownParameter, match=r"parameter InstanceId\.2 is"):
        parse("GetConsoleOutput", InstanceId__2="i-1")


def test_an_empty_value_is_a_list_of_one_empty_text() -> None:
    # Not an empty list: that would mean all instances.
    assert parse("DescribeInstances", InstanceId="") == {"InstanceIds": [""]}


@pytest.mark.parametrize("name", ["InstanceId.x", "InstanceId.", "InstanceId.-1", "InstanceId.1.2"])
def test_what_is_no_number_is_unknown(name: str) -> None:
    with pytest.raises(errors.UnknownParameter) as caught:
        parse_pairs("DescribeInstances", [(name, "i-1")])
    assert caught.value.message == f"The parameter {name} is not recognized"


def test_one_number_in_two_spellings_is_malformed() -> None:
    with pytest.raises(errors.MalformedQueryString, match="given twice"):
        parse_pairs("DescribeInstances", [("InstanceId.1", "i-1"), ("InstanceId.01", "i-2")])


def test_lists_have_a_limit() -> None:
    pairs = [(f"InstanceId.{n}", "i-1") for n in range(query.MAX_LIST + 1)]
    with pytest.raises(errors.InvalidParameterValue, match="InstanceId has more than"):
        parse_pairs("DescribeInstances", pairs)


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Nonsense",
        "imageId",
        "Placement.Nonsense",
        "TagSpecification.1.Tag.1.Nonsense",
        "",
        ".",
        "..",
    ],
)
def test_an_unknown_parameter_is_named_in_full(name: str) -> None:
    with pytest.raises(errors.UnknownParameter) as caught:
        parse_pairs("RunInstances", [("ImageId", "ami-1"), (name, "x")])
    assert caught.value.message == f"The parameter {name} is not recognized"


def test_a_value_for_a_structure_is_unknown() -> None:
    with pytest.raises(errors.UnknownParameter, match="parameter Placement is"):
        parse("RunInstances", Placement="x", MinCount="1", MaxCount="1")


def test_a_list_for_a_single_value_is_unknown() -> None:
    with pytest.raises(errors.UnknownParameter, match=r"parameter ImageId\.1 is"):
        parse("RunInstances", ImageId__1="ami-1", MinCount="1", MaxCount="1")


def test_a_parameter_given_twice_is_malformed() -> None:
    with pytest.raises(errors.MalformedQueryString, match="ImageId is given twice"):
        parse_pairs("RunInstances", [("ImageId", "ami-1"), ("ImageId", "ami-2")])


@pytest.mark.parametrize("names", [("Placement", "Placement.Tenancy"), ("A.B", "A")])
def test_a_parameter_that_is_both_value_and_prefix_is_malformed(names: tuple[str, str]) -> None:
    with pytest.raises(errors.MalformedQueryString):
        parse_pairs("RunInstances", [(name, "x") for name in names])


def test_a_name_without_end_is_unknown() -> None:
    with pytest.raises(errors.UnknownParameter):
        parse_pairs("RunInstances", [("A" + ".1" * 100_000, "x")])


def test_missing_parameters_are_named_as_on_the_wire() -> None:
    with pytest.raises(errors.MissingParameter) as caught:
        parse("RunInstances", MinCount="1")
    assert caught.value.message == "The request must contain the parameter MaxCount"
    with pytest.raises(errors.MissingParameter) as caught:
        parse("TerminateInstances")
    assert caught.value.message == "The request must contain the parameter InstanceId"


# -- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["007", "0x10", "None", "TRUE", "1e5", "[]", " x ", "", "null"])
def test_text_stays_as_it_is(text: str) -> None:
    parsed = parse("CreateTags", ResourceId__1="i-1", Tag__1__Key="k", Tag__1__Value=text)
    assert parsed["Tags"] == [{"Key": "k", "Value": text}]


@pytest.mark.parametrize(("text", "value"), [("true", True), ("True", True), ("FALSE", False)])
def test_booleans_are_read_in_any_case(text: str, value: bool) -> None:
    assert parse("DescribeInstances", DryRun=text) == {"DryRun": value}


@pytest.mark.parametrize("text", ["", "1", "0", "yes", "truee", " true"])
def test_what_is_no_boolean_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidParameterValue) as caught:
        parse("DescribeInstances", DryRun=text)
    assert caught.value.message == (
        f"Value ({text}) for parameter DryRun is invalid. Either true or false is expected."
    )


@pytest.mark.parametrize(("text", "value"), [("5", 5), ("007", 7), ("-1", -1), ("+3", 3)])
def test_integers_are_decimal(text: str, value: int) -> None:
    assert parse("DescribeInstances", MaxResults=text) == {"MaxResults": value}


@pytest.mark.parametrize(
    "text", ["", "x", "1.0", "1_000", "0x10", " 1", "1e3", "٣", "2147483648", "9" * 5000]
)
def test_what_is_no_integer_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="MaxResults is invalid"):
        parse("DescribeInstances", MaxResults=text)


@pytest.mark.parametrize(
    "text", ["nan", "NaN", "inf", "Infinity", "1e999", "0x1p3", "1_0", "", "."]
)
def test_numbers_are_finite_and_decimal(text: str) -> None:
    with pytest.raises(ValueError, match="number is expected"):
        scalars.read_float(text)


@pytest.mark.parametrize("text", ["10.8", "+10.8", "10.80", "108e-1", "1.08E1"])
def test_numbers_may_have_exponents(text: str) -> None:
    assert scalars.read_float(text) == 10.8


@pytest.mark.parametrize(
    "text",
    [
        "2015-01-25T08:00:00Z",
        "2015-01-25T08:00:00.000Z",
        "2015-01-25T08:00:00.000000000Z",
        "2015-01-25t08:00:00z",
        "2015-01-25T08:00:00",
        "2015-01-25T09:30:00+01:30",
        "2015-01-25T04:00:00.000-0400",
        "1422172800",
        "1422172800.0",
        "Sun, 25 Jan 2015 08:00:00 GMT",
    ],
)
def test_dates_are_read_in_every_form_that_sdks_send(text: str) -> None:
    assert scalars.read_timestamp(text) == datetime(2015, 1, 25, 8, tzinfo=UTC)


def test_fractions_of_a_second_are_kept() -> None:
    read_back = scalars.read_timestamp("2015-01-25T08:00:00.12Z")
    assert read_back.microsecond == 120_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2015-02-31T00:00:00Z",
        "2015-01-25",
        "2015-01-25T25:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "1e999",
        "1e15",
        "Xyz, 99 Abc 2015 08:00:00 GMT",
        "Sun, 31 Feb 2015 08:00:00 GMT",
        "٢٠١٥-01-25T08:00:00Z",
    ],
)
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="date and time"):
        scalars.read_timestamp(text)


def test_blobs_may_have_line_ends() -> None:
    parsed = parse("ImportKeyPair", KeyName="k", PublicKeyMaterial="c3No\r\nLXJz\nYQ==\n")
    assert parsed["PublicKeyMaterial"] == b"ssh-rsa"


@pytest.mark.parametrize("text", ["c3NoLXJzYQ", "c3No LXJzYQ==", "####", "c3NoLXJzYQ==é", "a-_="])
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="PublicKeyMaterial is invalid"):
        parse("ImportKeyPair", KeyName="k", PublicKeyMaterial=text)


def test_user_data_that_is_no_base64_gets_the_sentence_of_ec2() -> None:
    with pytest.raises(errors.InvalidParameterValue) as caught:
        parse("ModifyInstanceAttribute", InstanceId="i-1", UserData__Value="#!/bin/sh")
    assert caught.value.message == "Invalid BASE64 encoding of user data"


def test_user_data_of_a_launch_stays_base64() -> None:
    parsed = parse("RunInstances", MinCount="1", MaxCount="1", UserData="I3dvcmxk\n")
    assert parsed["UserData"] == "I3dvcmxk\n"


@pytest.mark.parametrize("character", ["\x00", "\x0b", "\x1f", "\ufffe", "\uffff", "\ud800"])
def test_what_xml_could_not_send_back_is_refused(character: str) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="XML"):
        parse("CreateKeyPair", KeyName=f"a{character}b")
