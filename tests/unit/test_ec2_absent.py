# SPDX-License-Identifier: Apache-2.0
"""What nobody has: an empty set, checked as EC2 checks what it is asked."""

from __future__ import annotations

from typing import Any

import pytest
from action_cases import CASES, stranger
from answers import code
from botocore.exceptions import ClientError

from gateway.cloud import ids
from gateway.ec2 import connections, purchases, volumes
from gateway.ec2.absent import Absent
from gateway.ec2.actions import ACTIONS
from gateway.ec2.kinds import KINDS

ABSENT = [
    kind
    for module in (connections, purchases, volumes)
    for kind in vars(module).values()
    if isinstance(kind, Absent)
]
of_each_kind = pytest.mark.parametrize("kind", ABSENT, ids=lambda kind: kind.action)


def call(ec2: Any, kind: Absent, **parameters: Any) -> Any:
    asked = {**CASES[kind.action].needed, **parameters}
    answer = getattr(ec2, ACTIONS[kind.action].operation.python_name)(**asked)
    answer.pop("ResponseMetadata")
    return answer


def ids_member(kind: Absent) -> str | None:
    honoured = ACTIONS[kind.action].contract.honoured
    return next((one for one in honoured if one.endswith("Ids")), None)


@of_each_kind
def test_the_set_is_there_and_empty(ec2: Any, kind: Absent) -> None:
    assert list(call(ec2, kind).values()) == [[]]


@of_each_kind
def test_every_filter_of_ec2_is_known_and_no_other(ec2: Any, kind: Absent) -> None:
    members = ACTIONS[kind.action].operation.input.members
    member = "Filter" if "Filter" in members else "Filters"
    names = kind.filters.split()
    assert len(names) == len(set(names))
    for name in (*names, *(("tag-key", "tag:Name") if kind.tagged else ())):
        found = call(ec2, kind, **{member: [{"Name": name, "Values": ["*"]}]})
        assert list(found.values()) == [[]]
    for wrong, expected in (
        ({"Name": "color", "Values": ["red"]}, "InvalidParameterValue"),
        ({"Name": [*names, "tag-key"][0]}, "MissingParameter"),
    ):
        with pytest.raises(ClientError) as caught:
            call(ec2, kind, **{member: [wrong]})
        assert code(caught) == expected


@of_each_kind
def test_an_id_is_unknown_or_malformed(ec2: Any, kind: Absent) -> None:
    member = ids_member(kind)
    if member is None:
        assert kind.kind is None
        return
    known = KINDS[kind.kind or ""]
    expected, wrong = CASES[kind.action].wrong[0]
    [unknown] = wrong(stranger())[member]
    with pytest.raises(ClientError, match=unknown) as caught:
        call(ec2, kind, **{member: [unknown]})
    assert code(caught) == expected
    malformed = known.malformed or known.not_found
    wrong_digits = ("xyz", "1234567", "123456789", "ABCDEF01", "0123456789abcdefg")
    for text in ("", "x", "i.12345678", *(known.prefix + one for one in wrong_digits)):
        with pytest.raises(ClientError) as caught:
            call(ec2, kind, **{member: [unknown, text]})
        assert code(caught) == malformed("x").code
        assert text in str(caught.value)


def test_a_kind_of_ec2_s_that_there_is_has_the_prefix_of_its_ids() -> None:
    named = {kind: f"{prefix}-" for kind, prefix in ids.PREFIXES.items()}
    for kind in named.keys() & KINDS.keys():
        assert KINDS[kind].prefix == named[kind]
        KINDS[kind].check([ids.new(kind)])


@of_each_kind
def test_a_page_has_ec2_s_bounds_and_no_token_is_ours(ec2: Any, kind: Absent) -> None:
    if "MaxResults" not in ACTIONS[kind.action].contract.honoured:
        return
    assert list(call(ec2, kind, MaxResults=kind.most).values()) == [[]]
    for wrong in ({"MaxResults": kind.least - 1}, {"MaxResults": kind.most + 1}):
        with pytest.raises(ClientError) as caught:
            call(ec2, kind, **wrong)
        assert code(caught) == "InvalidParameterValue"
    with pytest.raises(ClientError) as caught:
        call(ec2, kind, NextToken="nonsense")
    assert code(caught) == "InvalidNextToken"
    if (member := ids_member(kind)) is not None:
        with pytest.raises(ClientError) as caught:
            call(ec2, kind, MaxResults=kind.most, **{member: ["x"]})
        assert code(caught) == "InvalidParameterCombination"


@pytest.mark.parametrize(
    ("call_name", "parameters", "expected"),
    [
        ("describe_addresses", {"PublicIps": ["192.0.2.1"]}, "InvalidAddress.NotFound"),
        ("describe_placement_groups", {"GroupNames": ["g"]}, "InvalidPlacementGroup.Unknown"),
        (
            "describe_launch_templates",
            {"LaunchTemplateNames": ["web"]},
            "InvalidLaunchTemplateName.NotFoundException",
        ),
    ],
)
def test_a_name_is_unknown_too(
    ec2: Any, call_name: str, parameters: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ClientError) as caught:
        getattr(ec2, call_name)(**parameters)
    assert code(caught) == expected


def test_a_volume_that_is_waited_for_to_be_deleted_is_deleted(ec2: Any) -> None:
    ec2.get_waiter("volume_deleted").wait(
        VolumeIds=["vol-12345678"], WaiterConfig={"Delay": 0, "MaxAttempts": 1}
    )


def test_no_instance_type_earns_credits(ec2: Any, image: str) -> None:
    named = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    everything = ec2.describe_instance_credit_specifications()
    assert everything["InstanceCreditSpecifications"] == []
    # What EC2 answers for a named instance whose type has no credits.
    found = ec2.describe_instance_credit_specifications(InstanceIds=[named])
    expected = [{"InstanceId": named, "CpuCredits": "standard"}]
    assert found["InstanceCreditSpecifications"] == expected
    with pytest.raises(ClientError) as caught:
        ec2.describe_instance_credit_specifications(InstanceIds=["i-12345678"])
    assert code(caught) == "InvalidInstanceID.NotFound"
