# SPDX-License-Identifier: Apache-2.0
"""What an owner may set of an instance, at its launch and later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud.errors import Invalid, NotFound, NotStopped, WrongState
from gateway.store import instances, spot_requests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from gateway.cloud.flavors import Flavor
    from gateway.store.instances import Instance

MAX_USER_DATA = 16 * 1024
"""Bytes of user data before base64; EC2's limit."""

SHUTDOWN_BEHAVIORS = ("stop", "terminate")
WHEN_STOPPED = frozenset({"instanceType", "userData"})
"""Attributes that a guest learns when it boots."""

_PROTECTING = {"disableApiTermination": "termination", "disableApiStop": "stop"}
_COLUMNS = {
    "disableApiTermination": "disable_api_termination",
    "disableApiStop": "disable_api_stop",
    "sourceDestCheck": "source_dest_check",
}


def check_shutdown_behavior(value: str) -> str:
    """Return what becomes of an instance whose guest powers off; raise :class:`Invalid`."""
    if value not in SHUTDOWN_BEHAVIORS:
        raise Invalid("shutdown behavior", value, "It is stop or terminate.")
    return value


def modify(
    db: Connection, instance: Instance, name: str, value: Any, flavors: Mapping[str, Flavor]
) -> None:
    """Set an attribute by EC2's name, to a value of its kind; user data is in bytes.

    Raises :class:`NotStopped`, :class:`WrongState` for what ends, :class:`Invalid`,
    :class:`NotFound` for a flavor.
    """
    if instance.state in {"shutting-down", "terminated"}:
        raise WrongState("instance", instance.id, "modified")
    if instance.is_spot and name in _PROTECTING and value:
        raise Invalid(
            "spot instance",
            instance.id,
            f"You can't enable {_PROTECTING[name]} protection for Spot Instances.",
        )
    if name == "instanceInitiatedShutdownBehavior" and value == "stop":
        _check_can_stop(db, instance)
    if name in WHEN_STOPPED and instance.state != "stopped":
        raise NotStopped("instance", instance.id)
    instances.update_attributes(db, instance.id, _columns(name, value, flavors))


def monitor(db: Connection, found: Sequence[Instance], *, on: bool) -> None:
    """Record whether detailed monitoring of the instances is wanted."""
    for instance in found:
        instances.update_attributes(db, instance.id, {"monitoring": on})


def check_user_data(data: bytes) -> bytes:
    """Return user data that is not too long; raise :class:`Invalid`."""
    if len(data) > MAX_USER_DATA:
        raise Invalid("user data", "", f"User data is limited to {MAX_USER_DATA} bytes.")
    return data


def _check_can_stop(db: Connection, instance: Instance) -> None:
    # Nothing would start it again: its request is closed once it does not run.
    request = spot_requests.get(db, instance.spot_request_id) if instance.spot_request_id else None
    if request is not None and request.type == "one-time":
        raise Invalid(
            "spot instance",
            instance.id,
            "Modifying 'instanceInitiatedShutdownBehavior' is not supported for spot instances"
            " of one-time requests.",
        )


def _columns(name: str, value: Any, flavors: Mapping[str, Flavor]) -> dict[str, object]:
    if name == "instanceType":
        flavor = flavors.get(value)
        if flavor is None:
            raise NotFound("flavor", value)
        return {
            "instance_type": flavor.name,
            "vcpus": flavor.vcpus,
            "memory_mib": flavor.memory_mib,
        }
    if name == "userData":
        return {"user_data": check_user_data(value or b"") or None}
    if name == "instanceInitiatedShutdownBehavior":
        return {"shutdown_behavior": check_shutdown_behavior(value)}
    return {_COLUMNS[name]: bool(value)}
