# SPDX-License-Identifier: Apache-2.0
"""Instances and their types."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gateway.errors import base

if TYPE_CHECKING:
    from collections.abc import Mapping

# AWS names a page of its own here.
_ADVICE = "Please ask the administrator of this region for an adjustment to this limit."


class InvalidInstanceIDNotFound(base.Absent):
    """Raised when instances do not exist, or are another account's."""

    code = "InvalidInstanceID.NotFound"
    one, many = "The instance ID '{}' does not exist", "The instance IDs '{}' do not exist"


class InvalidInstanceIDMalformed(base.About):
    """Raised for text that cannot be an instance id."""

    code = "InvalidInstanceID.Malformed"
    sentence = 'Invalid id: "{}"'


class InvalidInstanceType(base.Absent):
    """Raised when instance types are asked for that there are not."""

    one = many = "The following supplied instance types do not exist: [{}]"


class IdempotentInstanceTerminated(base.Fixed):
    """Raised when a client token comes again whose instances are all terminated."""

    sentence = (
        "The client token you have provided is associated with a terminated instance. Please use"
        " a different client token."
    )


class InstanceLimitExceeded(base.EC2Error):
    """Raised when the launch would exceed the account's limit of instances.

    ``requested`` is what the account would have with them.
    """

    def __init__(self, requested: int, limit: int) -> None:
        super().__init__(
            f"You have requested more instances ({requested}) than your current instance limit of"
            f" {limit} allows for the specified instance type. {_ADVICE}"
        )


class VcpuLimitExceeded(base.EC2Error):
    """Raised when the vCPUs of pending and running instances would exceed the account's limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"You have requested more vCPU capacity than your current vCPU limit of {limit} allows"
            " for the instance bucket that the specified instance type belongs to."
            f" {_ADVICE}"
        )


class MaxSpotInstanceCountExceeded(base.Fixed):
    """Raised when requests for spot instances would exceed one of the account's limits."""

    sentence = "Max spot instance count exceeded"


class IncorrectInstanceState(base.EC2Error):
    """Raised when the instance's state does not allow what is asked, as stopping one that ends."""

    @classmethod
    def not_stopped(cls, instance_id: str) -> IncorrectInstanceState:
        """Return the error for an attribute that can be set while the instance is stopped."""
        return cls(f"The instance '{instance_id}' is not in the 'stopped' state.")

    @classmethod
    def stopped(cls, instance_id: str) -> IncorrectInstanceState:
        """Return the error for what needs a node that has the instance's disk."""
        told = "is stopped and no node has its disk; start it first"
        return cls(f"The instance '{instance_id}' {told}.")

    @classmethod
    def to_be(cls, done: str, instance_id: str) -> IncorrectInstanceState:
        """Return the error for an instance that cannot be ``done`` ("rebooted") now."""
        return cls(f"The instance '{instance_id}' is not in a state from which it can be {done}.")


class IncorrectSpotRequestState(base.About):
    """Raised when a stopped spot instance waits for room, or its request is cancelled."""

    sentence = (
        "You can't start the Spot Instance '{}' because the associated Spot Instance request is"
        " not in an appropriate state to support start."
    )


class OperationNotPermitted(base.EC2Error):
    """Raised when an attribute of the instance forbids what is asked."""

    _ATTRIBUTES: ClassVar[Mapping[str, str]] = {
        "terminated": "disableApiTermination",
        "stopped": "disableApiStop",
    }

    @classmethod
    def to_be(cls, done: str, instance_id: str) -> OperationNotPermitted:
        """Return the error for a protected instance; ``done`` is "terminated" or "stopped"."""
        return cls(
            f"The instance '{instance_id}' may not be {done}. Modify its"
            f" '{cls._ATTRIBUTES[done]}' instance attribute and try again."
        )
