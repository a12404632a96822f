# SPDX-License-Identifier: Apache-2.0
"""The one place where the cloud's refusals become EC2's errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway import errors
from gateway.cloud.errors import (
    InUse,
    Invalid,
    LimitReached,
    Malformed,
    NotFound,
    NotOwner,
    NotReady,
    NotRunning,
    NotStopped,
    Protected,
    Refused,
    Taken,
    TokenReused,
    TokenSpent,
    WrongState,
)
from gateway.ec2.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.errors import EC2Error

# By class and subject; a class with None stands for its other subjects. What is not here is an id
# of one of KINDS.
_ERRORS: dict[tuple[type[Refused], str | None], Callable[[Any], EC2Error]] = {
    (NotFound, "key pair"): lambda r: errors.InvalidKeyPairNotFound(", ".join(r.ids)),
    (NotFound, "import image task"): lambda r: errors.InvalidConversionTaskIdMalformed(
        ", ".join(r.ids)
    ),
    (NotReady, "import image task"): lambda r: errors.IncorrectState(
        f"The import task {r.name} is {r.state}."
    ),
    (NotFound, "zone"): lambda r: errors.InvalidParameterValue.zone(r.ids[0]),
    (NotFound, "flavor"): lambda r: errors.InvalidParameterValue.instance_type(r.ids[0]),
    # EC2 has no code of its own for a malformed key pair id.
    (Malformed, "key pair"): lambda r: errors.InvalidKeyPairNotFound(r.text),
    # The tag actions do not say of which kind an id should have been.
    (Malformed, "resource"): lambda r: errors.InvalidID(r.text),
    (InUse, "snapshot"): lambda r: errors.InvalidSnapshotInUse(r.name, r.user),
    (NotOwner, "image"): lambda r: errors.AuthFailure(f"Not authorized for image:{r.name}"),
    (NotReady, "image"): lambda r: errors.InvalidAMIIDUnavailable(r.name),
    (NotStopped, "instance"): lambda r: errors.IncorrectInstanceState.not_stopped(r.name),
    (NotRunning, "instance"): lambda r: errors.IncorrectInstanceState.stopped(r.name),
    (Protected, "instance"): lambda r: errors.OperationNotPermitted.to_be(r.done, r.name),
    (WrongState, "instance"): lambda r: errors.IncorrectInstanceState.to_be(r.done, r.name),
    (Taken, "image"): lambda r: errors.InvalidAMINameDuplicate(r.name, r.holder),
    (Taken, "key pair"): lambda r: errors.InvalidKeyPairDuplicate(r.name),
    (LimitReached, "instance"): lambda r: errors.InstanceLimitExceeded(r.used + r.asked, r.limit),
    (LimitReached, "vcpu"): lambda r: errors.VcpuLimitExceeded(r.limit),
    (LimitReached, "spot instance"): lambda _: errors.MaxSpotInstanceCountExceeded(),
    (LimitReached, "key pair"): lambda r: errors.KeyPairLimitExceeded(r.limit),
    (LimitReached, "image byte"): lambda r: errors.ResourceLimitExceeded(
        "bytes of images", r.limit
    ),
    (LimitReached, "tag"): lambda r: errors.TagLimitExceeded(r.limit),
    (LimitReached, None): lambda r: errors.ResourceLimitExceeded(f"{r.kind}s", r.limit),
    (TokenReused, None): lambda _: errors.IdempotentParameterMismatch(),
    (TokenSpent, None): lambda _: errors.IdempotentInstanceTerminated(),
    (Invalid, "image name"): lambda _: errors.InvalidAMINameMalformed(),
    (Invalid, "image location"): lambda r: errors.InvalidManifest(r.sentence),
    (Invalid, "architecture"): lambda r: errors.InvalidAMIAttributeItemValue(
        r.value, "architecture"
    ),
    (Invalid, "boot mode"): lambda r: errors.InvalidParameterValue.of(
        "bootMode", r.value, r.sentence
    ),
    (Invalid, "description"): lambda r: errors.InvalidParameterValue.of(
        "description", r.value, r.sentence
    ),
    (Invalid, "disk format"): lambda r: errors.InvalidParameterValue.of(
        "format", r.value, r.sentence
    ),
    (Invalid, "platform"): lambda r: errors.InvalidParameterValue.of(
        "platform", r.value, r.sentence
    ),
    (Invalid, "launch permission userId"): lambda r: errors.InvalidAMIAttributeItemValue(
        r.value, "userId"
    ),
    (Invalid, "launch permission group"): lambda r: errors.InvalidAMIAttributeItemValue(
        r.value, "group"
    ),
    (Invalid, "block device"): lambda r: errors.UnsupportedOperation(r.sentence),
    (Invalid, "block devices"): lambda r: errors.InvalidBlockDeviceMapping(r.sentence),
    (Invalid, "volume type"): lambda r: errors.UnknownVolumeType(r.value),
    (Invalid, "root device"): lambda r: errors.InvalidParameterValue.of(
        "rootDeviceName", r.value, r.sentence
    ),
    (Invalid, "public key"): lambda _: errors.InvalidKeyFormat(),
    (Invalid, "tagged resource"): lambda r: errors.UnsupportedOperation(r.sentence),
    (Invalid, "client token"): lambda r: errors.InvalidParameterValue.of(
        "clientToken", r.value, r.sentence
    ),
    (Invalid, "shutdown behavior"): lambda r: errors.InvalidParameterValue.of(
        "instanceInitiatedShutdownBehavior", r.value, r.sentence
    ),
    (Invalid, "spot type"): lambda r: errors.InvalidParameterValue.of(
        "spotInstanceType", r.value, r.sentence
    ),
    (Invalid, "interruption behavior"): lambda r: errors.InvalidParameterValue.of(
        "instanceInterruptionBehavior", r.value, r.sentence
    ),
    (NotReady, "spot instances request"): lambda r: errors.IncorrectSpotRequestState(r.name),
    (Invalid, "spot instance"): lambda r: errors.UnsupportedOperation(r.sentence),
    (Invalid, "spot price"): lambda r: errors.InvalidParameterValue.of(
        "price", r.value, r.sentence
    ),
    (Invalid, "valid from"): lambda r: errors.InvalidParameterValue.of(
        "validFrom", r.value, r.sentence
    ),
    (Invalid, "valid until"): lambda r: errors.InvalidParameterValue.of(
        "validUntil", r.value, r.sentence
    ),
    (Invalid, None): lambda r: errors.InvalidParameterValue(r.sentence),
}


def translate(refused: Refused) -> EC2Error:
    """Return the error that EC2 gives for the same reason."""
    kind = type(refused)
    subject = getattr(refused, "what", None) or getattr(refused, "kind", None)
    made = _ERRORS.get((kind, subject)) or _ERRORS.get((kind, None))
    if made is not None:
        return made(refused)
    known = KINDS.get(subject or "")
    if known is not None and isinstance(refused, NotFound):
        return known.not_found(refused.ids)
    if known is not None and isinstance(refused, Malformed):
        return (known.malformed or known.not_found)(refused.text)
    raise refused
