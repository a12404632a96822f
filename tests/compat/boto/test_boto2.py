# SPDX-License-Identifier: Apache-2.0
"""boto 2.49, the last of its line: with its own signature and with that of older releases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAMS = Path(__file__).with_name("boto2_programs.py")
PUBLIC_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHr7Yvd7sZ0mcT4vJY2pZ3dT8l6m1Jm0Jm3Vt2rZJx8Y somebody"
)


@pytest.fixture(params=["2", "4"], ids=["signature V2", "signature V4"])
def boto2(request: pytest.FixtureRequest, program: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function: run one of the programs with the signature of this version."""
    return lambda name, *words: program("boto", PROGRAMS, name, request.param, *words)


def test_boto_discovers_region_zone_and_image(boto2: Any, ec2_environment: dict[str, str]) -> None:
    found = boto2("discover")
    assert found["regions"] == [ec2_environment["AWS_DEFAULT_REGION"]]
    [[zone, state]] = found["zones"]
    assert zone.startswith(ec2_environment["AWS_DEFAULT_REGION"])
    assert state == "available"
    assert found["image"] == [ec2_environment["DEMO_AMI"], "available", "machine", "ebs"]
    assert found["found by name"]
    assert found["found by owner"]


def test_boto_imports_a_key_pair_whose_name_has_blanks_and_signs(boto2: Any) -> None:
    did = boto2("keys", PUBLIC_KEY)
    imported, found = did["fingerprints"]
    assert imported == found
    assert imported
    assert did["deleted"] is True
    assert did["afterwards"] is None


def test_boto_takes_a_machine_from_launch_to_termination(boto2: Any) -> None:
    did = boto2("machine")
    assert did["material"].startswith("-----BEGIN")
    assert did["at first"] == "pending"
    assert did["tagged"] is True
    assert did["found"]
    *described, tags = did["described"]
    assert described == did["expected"]
    assert tags == {"Name": did["expected"][-1], "colour": "grün & 0x10"}
    assert did["address"]
    assert did["on the first page"]
    assert did["rebooted"] is True
    assert did["untagged"] is True
    assert did["tags left"] == ["Name"]
    assert did["terminating"] == ["shutting-down"]
    assert did["deleted"] is True
    assert did["reason"] == "Client.UserInitiatedShutdown"


def test_boto_raises_its_own_exception_with_the_code_and_the_request_id(boto2: Any) -> None:
    assert boto2("refusals") == {
        "unknown instance": [400, "InvalidInstanceID.NotFound", True],
        "malformed instance": [400, "InvalidInstanceID.Malformed", True],
        "unknown image": [400, "InvalidAMIID.NotFound", True],
        "unknown type": [400, "InvalidParameterValue", True],
        "unknown key pair": [400, "InvalidKeyPair.NotFound", True],
        "unknown filter": [400, "InvalidParameterValue", True],
        "unknown action": [400, "InvalidAction", True],
        "dry run": [412, "DryRunOperation", True],
        "wrong secret": [401, "AuthFailure", True],
    }
