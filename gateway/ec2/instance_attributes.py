# SPDX-License-Identifier: Apache-2.0
"""Attributes of instances: described one at a time, modified one at a time, reset.

MonitorInstances and UnmonitorInstances set another one, for several instances.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from gateway.cloud import attributes, instances, networks
from gateway.ec2 import volume_document
from gateway.ec2.dispatch import Result, action
from gateway.errors import InvalidParameterCombination, InvalidParameterValue, UnsupportedOperation
from gateway.store.instances import get_user_data
from gateway.wire.scalars import read_blob

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.ec2.context import Context
    from gateway.store.instances import Instance

    Element = Callable[[Context, Instance], tuple[str, Any]]


def _value(element: str, value: Callable[[Instance], object]) -> Element:
    return lambda _ctx, instance: (element, {"Value": value(instance)})


def _absent(element: str) -> Element:
    return lambda _ctx, _instance: (element, {})


def _user_data(ctx: Context, instance: Instance) -> tuple[str, Any]:
    data = get_user_data(ctx.db, instance.id)
    return "UserData", {} if data is None else {"Value": base64.b64encode(data).decode()}


def _groups(ctx: Context, _instance: Instance) -> tuple[str, Any]:
    return "Groups", [{"GroupId": networks.of(ctx.account_id).security_group}]


ELEMENTS: dict[str, Element] = {
    "instanceType": _value("InstanceType", lambda one: one.instance_type),
    "userData": _user_data,
    "disableApiTermination": _value(
        "DisableApiTermination", lambda one: one.disable_api_termination
    ),
    "disableApiStop": _value("DisableApiStop", lambda one: one.disable_api_stop),
    "instanceInitiatedShutdownBehavior": _value(
        "InstanceInitiatedShutdownBehavior", lambda one: one.shutdown_behavior
    ),
    "sourceDestCheck": _value("SourceDestCheck", lambda one: one.source_dest_check),
    "groupSet": _groups,
    "ebsOptimized": _value("EbsOptimized", lambda _: False),
    "rootDeviceName": _value("RootDeviceName", lambda one: one.root_device_name),
    "blockDeviceMapping": lambda _ctx, instance: (
        "BlockDeviceMappings",
        volume_document.of_instance(instance),
    ),
    "productCodes": lambda _ctx, _instance: ("ProductCodes", []),
    "enaSupport": _value("EnaSupport", lambda _: False),
    "enclaveOptions": lambda _ctx, _instance: ("EnclaveOptions", {"Enabled": False}),
    # What no machine here has is there and empty: clients look into it without asking.
    "kernel": _absent("KernelId"),
    "ramdisk": _absent("RamdiskId"),
    "sriovNetSupport": _absent("SriovNetSupport"),
}
_RESET = {"sourceDestCheck": True}


@action()
def describe_instance_attribute(ctx: Context, *, InstanceId: str, Attribute: str) -> Result:
    """Tell one attribute of an instance; its element is always there."""
    instance = _own(ctx, InstanceId)
    element = ELEMENTS.get(Attribute)
    if element is None:
        raise _unknown(Attribute)
    return {"InstanceId": instance.id} | dict([element(ctx, instance)])


@action(
    writes=True,
    members=(
        "DisableApiStop.Value",
        "DisableApiTermination.Value",
        "InstanceInitiatedShutdownBehavior.Value",
        "InstanceType.Value",
        "SourceDestCheck.Value",
        "UserData.Value",
    ),
    only={"EbsOptimized.Value": False, "EnaSupport.Value": False, "EnclaveOptions.Enabled": False},
)
def modify_instance_attribute(
    ctx: Context,
    *,
    InstanceId: str,
    Attribute: str | None = None,
    Value: str | None = None,
    InstanceType: Mapping[str, Any] | None = None,
    UserData: Mapping[str, Any] | None = None,
    DisableApiTermination: Mapping[str, Any] | None = None,
    DisableApiStop: Mapping[str, Any] | None = None,
    InstanceInitiatedShutdownBehavior: Mapping[str, Any] | None = None,
    SourceDestCheck: Mapping[str, Any] | None = None,
    Groups: Sequence[str] = (),
) -> Result:
    """Set one attribute of an instance, named by its own member or by Attribute and Value."""
    given: dict[str, Any] = {
        name: structure.get("Value")
        for name, structure in {
            "instanceType": InstanceType,
            "userData": UserData,
            "disableApiTermination": DisableApiTermination,
            "disableApiStop": DisableApiStop,
            "instanceInitiatedShutdownBehavior": InstanceInitiatedShutdownBehavior,
            "sourceDestCheck": SourceDestCheck,
        }.items()
        if structure is not None
    }
    if Groups:
        given["groupSet"] = Groups
    if Attribute is not None and Value is not None:
        given[Attribute] = _spelled(Attribute, Value)
    if len(given) != 1:
        told = "No attributes specified." if not given else "Specify one attribute at a time."
        raise InvalidParameterCombination(told)
    [(name, value)] = given.items()
    instance = _own(ctx, InstanceId)
    if name == "groupSet":
        # There is one group, of which every instance is: naming it changes nothing.
        networks.check(ctx.account_id, "security group", value)
    else:
        given_bytes = value.encode() if name == "userData" and isinstance(value, str) else value
        attributes.modify(ctx.db, instance, name, given_bytes, ctx.gateway.flavors)
    return {}


@action(writes=True)
def reset_instance_attribute(ctx: Context, *, InstanceId: str, Attribute: str) -> Result:
    """Give an attribute its value at a launch; EC2 does so for three of them."""
    if Attribute in {"kernel", "ramdisk"}:
        raise UnsupportedOperation(f"The attribute {Attribute} is not supported.")
    if Attribute not in _RESET:
        raise _unknown(Attribute)
    instance = _own(ctx, InstanceId)
    attributes.modify(ctx.db, instance, Attribute, _RESET[Attribute], ctx.gateway.flavors)
    return {}


@action(writes=True)
def monitor_instances(ctx: Context, *, InstanceIds: Sequence[str]) -> Result:
    """Switch detailed monitoring on; it is read back, and there are no metrics."""
    return _monitor(ctx, InstanceIds, on=True)


@action(writes=True)
def unmonitor_instances(ctx: Context, *, InstanceIds: Sequence[str]) -> Result:
    """Switch detailed monitoring off."""
    return _monitor(ctx, InstanceIds, on=False)


def _monitor(ctx: Context, instance_ids: Sequence[str], *, on: bool) -> Result:
    found = instances.find(ctx.db, ctx.account_id, instance_ids, ctx.terminated_after)
    attributes.monitor(ctx.db, found, on=on)
    told = {"State": "enabled" if on else "disabled"}
    return {
        "InstanceMonitorings": [
            {"InstanceId": name, "Monitoring": told} for name in dict.fromkeys(instance_ids)
        ]
    }


def _own(ctx: Context, instance_id: str) -> Instance:
    return instances.find(ctx.db, ctx.account_id, [instance_id], ctx.terminated_after)[0]


def _unknown(attribute: str) -> InvalidParameterValue:
    return InvalidParameterValue.of(
        "attribute", attribute, "It is not an attribute of an instance that this action has."
    )


def _spelled(attribute: str, value: str) -> object:
    """Return the value that a text stands for."""
    if attribute in {"disableApiTermination", "disableApiStop", "sourceDestCheck"}:
        if value.lower() not in {"true", "false"}:
            raise InvalidParameterValue.of("value", value, "It is true or false.")
        return value.lower() == "true"
    if attribute == "userData":
        try:
            return read_blob(value)
        except ValueError:
            raise InvalidParameterValue.user_data() from None
    if attribute in {"instanceType", "instanceInitiatedShutdownBehavior"}:
        return value
    if attribute == "groupSet":
        return [value]
    if attribute in ELEMENTS:
        raise UnsupportedOperation(f"The attribute {attribute} cannot be changed here.")
    raise _unknown(attribute)
