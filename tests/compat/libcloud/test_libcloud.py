# SPDX-License-Identifier: Apache-2.0
"""Apache Libcloud's EC2 driver: with its own signature for us-east-1 (V2) and with V4."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAMS = Path(__file__).with_name("libcloud_programs.py")
PUBLIC_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHr7Yvd7sZ0mcT4vJY2pZ3dT8l6m1Jm0Jm3Vt2rZJx8Y somebody"
)


@pytest.fixture(params=["2", "4"], ids=["signature V2", "signature V4"])
def libcloud(request: pytest.FixtureRequest, program: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function: run one of the programs with the signature of this version."""
    return lambda name, *words: program("libcloud", PROGRAMS, name, request.param, *words)


def test_libcloud_discovers_zone_image_and_limits(
    libcloud: Any, ec2_environment: dict[str, str]
) -> None:
    found = libcloud("discover")
    [[zone, state]] = found["zones"]
    assert zone.startswith(ec2_environment["AWS_DEFAULT_REGION"])
    assert state == "available"
    assert found["image"] == [ec2_environment["DEMO_AMI"], "available", "x86_64"]
    assert found["found by name"]
    assert found["found by owner"]
    assert "max-instances" in found["limits"]


def test_libcloud_imports_a_key_pair_whose_name_has_blanks_and_signs(libcloud: Any) -> None:
    did = libcloud("keys", PUBLIC_KEY)
    imported, found = did["fingerprints"]
    assert imported == found
    assert imported
    assert did["listed"]
    assert did["deleted"] is True
    assert did["missing"] is True


def test_libcloud_takes_a_machine_from_launch_to_termination(
    libcloud: Any, ec2_environment: dict[str, str]
) -> None:
    did = libcloud("machine")
    assert did["material"].startswith("-----BEGIN")
    assert did["at first"] == "pending"
    assert did["addresses"] == 1
    assert did["found"] == [True, "running"]
    assert did["described"] == ["small", ec2_environment["DEMO_AMI"]]
    assert did["tagged"] is True
    assert did["named"]
    assert did["tags"] == {"colour": "grün & 0x10", "size": "007"}
    assert did["untagged"] is True
    assert did["tags left"] == ["Name", "size"]
    assert did["rebooted"] is True
    assert did["terminating"] is True
    assert did["deleted"] is True
    assert did["reason"].startswith("User initiated")


def test_libcloud_raises_its_own_exceptions_with_the_code(libcloud: Any) -> None:
    assert libcloud("refusals") == {
        "unknown instance": ["BaseHTTPError", "InvalidInstanceID.NotFound"],
        "malformed image": ["BaseHTTPError", "InvalidAMIID.Malformed"],
        "unknown image": ["BaseHTTPError", "InvalidAMIID.NotFound"],
        "unknown type": ["BaseHTTPError", "InvalidParameterValue"],
        "unknown filter": ["BaseHTTPError", "InvalidParameterValue"],
        "unknown key pair": ["KeyPairDoesNotExistError", "no such"],
        "wrong secret": ["InvalidCredsError", "'AuthFailure"],
    }
