# SPDX-License-Identifier: Apache-2.0
"""The rules that every error class keeps, and the messages that clients match."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING

import pytest

from gateway import errors
from gateway.errors import EC2Error

if TYPE_CHECKING:
    from collections.abc import Iterator

CODES = sorted(
    (kind for kind in vars(errors).values() if isinstance(kind, type)
     and issubclass(kind, EC2Error) and kind is not EC2Error and not kind.__name__.startswith("_")),
    key=lambda kind: kind.__name__,
)  # fmt: skip
NOT_400 = {
    "AuthFailure": 401,
    "RequestExpired": 401,
    "MissingAuthenticationToken": 403,
    "DryRunOperation": 412,
    "RequestEntityTooLarge": 413,
    "RequestLimitExceeded": 503,
    "InternalError": 500,
    "ServiceUnavailable": 503,
}


for _module in pkgutil.iter_modules(errors.__path__):
    importlib.import_module(f"gateway.errors.{_module.name}")


def subclasses(kind: type[EC2Error]) -> Iterator[type[EC2Error]]:
    for one in kind.__subclasses__():
        if one.__module__.startswith("gateway.errors."):
            yield one
        yield from subclasses(one)


@pytest.mark.parametrize("kind", CODES)
def test_a_class_is_named_as_its_code_without_dots(kind: type[EC2Error]) -> None:
    assert kind.__name__ == kind.code.replace(".", "")


@pytest.mark.parametrize("kind", CODES)
def test_a_status_is_400_unless_ec2_has_another(kind: type[EC2Error]) -> None:
    assert kind.status == NOT_400.get(kind.__name__, 400)


@pytest.mark.parametrize("kind", CODES)
def test_a_docstring_says_when_it_is_raised(kind: type[EC2Error]) -> None:
    assert (kind.__doc__ or "").startswith("Raised ")


def test_every_class_stands_in_the_module_of_a_family_that_the_package_names() -> None:
    families = {module.name for module in pkgutil.iter_modules(errors.__path__)} - {"base"}
    for family in families:
        assert f"``{family}``" in (errors.__doc__ or "")
    for kind in CODES:
        assert kind.__module__.removeprefix("gateway.errors.") in families


def test_every_class_of_a_family_can_be_had_from_the_package() -> None:
    defined = {kind.__name__ for kind in subclasses(EC2Error) if "code" in vars(kind)}
    assert defined - {"Fixed", "About", "Absent"} == {kind.__name__ for kind in CODES}


@pytest.mark.parametrize("kind", CODES)
def test_braces_in_a_value_are_only_text(kind: type[EC2Error]) -> None:
    parameters = [p for p in inspect.signature(kind).parameters.values() if p.default is p.empty]
    error = kind(*["{0} {} {code.__class__} %s" for _ in parameters])
    assert error.message == str(error)
    assert error.message
    if parameters:
        assert "{code.__class__}" in error.message or "[{" in error.message


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.AuthFailure(), "AWS was not able to validate the provided access credentials"),
        (errors.InvalidAction("Fly"), "The action Fly is not valid for this web service."),
        (errors.MissingParameter("ImageId"), "The request must contain the parameter ImageId"),
        (errors.UnknownParameter("X"), "The parameter X is not recognized"),
        (errors.InvalidInstanceIDNotFound("i-1"), "The instance ID 'i-1' does not exist"),
        (errors.InvalidInstanceIDNotFound(["i-1"]), "The instance ID 'i-1' does not exist"),
        (
            errors.InvalidInstanceIDNotFound(["i-1", "i-2"]),
            "The instance IDs 'i-1, i-2' do not exist",
        ),
        (errors.InvalidInstanceIDMalformed("foobar"), 'Invalid id: "foobar"'),
        (errors.InvalidAMIIDNotFound("ami-1"), "The image id '[ami-1]' does not exist"),
        (
            errors.InvalidAMIIDNotFound(["ami-1", "ami-2"]),
            "The image ids '[ami-1, ami-2]' do not exist",
        ),
        (errors.InvalidAMIIDMalformed("x"), 'Invalid id: "x" (expecting "ami-...")'),
        (errors.InvalidKeyPairNotFound("k"), "The key pair 'k' does not exist"),
        (errors.DryRunOperation(), "Request would have succeeded, but DryRun flag is set."),
        (
            errors.InvalidParameterValue.instance_type("t3.huge"),
            "Invalid value 't3.huge' for InstanceType.",
        ),
        (errors.InvalidParameterValue.filter("x"), "The filter 'x' is invalid"),
        (
            errors.InvalidParameterValue.of("maxResults", "3", "Too few."),
            "Value (3) for parameter maxResults is invalid. Too few.",
        ),
        (
            errors.InvalidParameterCombination.of("instancesSet", "maxResults"),
            "The parameter instancesSet cannot be used with the parameter maxResults",
        ),
        (
            errors.NoSuchVersion("x"),
            "The requested version (x) of service AmazonEC2 does not exist",
        ),
    ],
)
def test_messages_are_worded_as_in_ec2(error: EC2Error, message: str) -> None:
    assert error.message == message
