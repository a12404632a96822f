# SPDX-License-Identifier: Apache-2.0
"""How it is asked: forms, parameters, filters, pages, dry runs."""

from __future__ import annotations

from gateway.errors import base


class MalformedQueryString(base.About):
    """Raised for a form that cannot be read: bad escapes, no UTF-8, contradicting parameters."""

    sentence = "The query string contains a syntax error. {}"


class MissingAction(base.Fixed):
    """Raised for a request without ``Action``."""

    sentence = "The request is missing an action or a required parameter."


class InvalidAction(base.About):
    """Raised for an action that we do not have; Terraform matches the text."""

    sentence = "The action {} is not valid for this web service."


class NoSuchVersion(base.About):
    """Raised for a ``Version`` that is no date of an EC2 API."""

    sentence = "The requested version ({}) of service AmazonEC2 does not exist"


class RequestEntityTooLarge(base.EC2Error):
    """Raised for a body, or a number of parameters, above our limit."""

    status = 413

    def __init__(self, limit: int, unit: str) -> None:
        super().__init__(f"The request is larger than the limit of {limit} {unit}.")


class MissingParameter(base.About):
    """Raised when a required parameter is absent; the name is spelled as on the wire."""

    sentence = "The request must contain the parameter {}"


class UnknownParameter(base.About):
    """Raised for a parameter that the action does not have in EC2's model."""

    sentence = "The parameter {} is not recognized"


class InvalidParameterValue(base.EC2Error):
    """Raised for a wrong type, form or range; takes the message, or words a usual one."""

    @classmethod
    def of(cls, parameter: str, value: str, reason: str) -> InvalidParameterValue:
        """Say ``Value (x) for parameter y is invalid. reason``."""
        return cls(f"Value ({value}) for parameter {parameter} is invalid. {reason}".rstrip())

    @classmethod
    def instance_type(cls, name: str) -> InvalidParameterValue:
        """Say ``Invalid value 'x' for InstanceType.``."""
        return cls(f"Invalid value '{name}' for InstanceType.")

    @classmethod
    def filter(cls, name: str) -> InvalidParameterValue:
        """Say ``The filter 'x' is invalid``."""
        return cls(f"The filter '{name}' is invalid")

    @classmethod
    def zone(cls, name: str) -> InvalidParameterValue:
        """Say ``Invalid availability zone: [x]``."""
        return cls(f"Invalid availability zone: [{name}]")

    @classmethod
    def zone_of_subnet(cls, name: str, subnet: str, zone: str) -> InvalidParameterValue:
        """Say that a subnet is in another zone than the one that was asked for."""
        return cls.of(
            "availabilityZone",
            name,
            f"Subnet '{subnet}' is in the availability zone {zone}",
        )

    @classmethod
    def user_data(cls) -> InvalidParameterValue:
        """Say ``Invalid BASE64 encoding of user data``, as RunInstances says it."""
        return cls("Invalid BASE64 encoding of user data")


class InvalidParameterCombination(base.EC2Error):
    """Raised for parameters that exclude one another; takes the whole message."""

    @classmethod
    def of(cls, parameter: str, other: str) -> InvalidParameterCombination:
        """Say that two parameters exclude one another."""
        return cls(f"The parameter {parameter} cannot be used with the parameter {other}")


class UnsupportedOperation(base.EC2Error):
    """Raised for what EC2 has and we refuse, naming the parameter or the value."""


class FilterLimitExceeded(base.About):
    """Raised for more filter values than one request may have (200, as in EC2)."""

    sentence = "The maximum number of filter values specified on a single call is {}"


class InvalidNextToken(base.Fixed):
    """Raised for a paging token that is not ours, or of another account or another query."""

    sentence = "The specified NextToken is not valid."


class IdempotentParameterMismatch(base.Fixed):
    """Raised when a client token comes again with other parameters."""

    sentence = (
        "Arguments on this idempotent request are inconsistent with arguments used in previous"
        " request(s)."
    )


class DryRunOperation(base.Fixed):
    """Raised after everything was checked and rolled back because ``DryRun`` was true."""

    status = 412
    sentence = "Request would have succeeded, but DryRun flag is set."
