# SPDX-License-Identifier: Apache-2.0
"""How an instance's one network interface looks, in its own description and by itself.

A terminated instance has none: its card is gone and its address is somebody else's. A network
interface has no address before its node has told it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import networks
from gateway.ec2.constants import timestamp
from gateway.ec2.filters import nothing
from gateway.ec2.network_document import group

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.ec2.filters import Look, Value
    from gateway.store.instances import Instance

STATUS = "in-use"
_ATTACHED = {"pending": "attaching", "shutting-down": "detaching"}


def of_instance(instance: Instance) -> dict[str, Any]:
    """Return what the network adds to the structure ``Instance``."""
    if instance.state == "terminated":
        return {"NetworkInterfaces": [], "SecurityGroups": []}
    own = networks.of(instance.account_id)
    return {
        "VpcId": own.vpc,
        "SubnetId": _subnet_id(instance),
        "PrivateIpAddress": instance.private_ip,
        "SourceDestCheck": instance.source_dest_check,
        "SecurityGroups": [group(instance.account_id)],
        # Without the instance's id: clients take any that they find for another instance's.
        "NetworkInterfaces": [_interface(instance) | {"Attachment": _attachment(instance)}],
    }


def describe(instance: Instance) -> dict[str, Any]:
    """Return the structure ``NetworkInterface``."""
    attachment = _attachment(instance) | {
        "InstanceId": instance.id,
        "InstanceOwnerId": instance.account_id,
    }
    return _interface(instance) | {
        "Attachment": attachment,
        "AvailabilityZone": instance.availability_zone,
        "AvailabilityZoneId": instance.availability_zone,
        "RequesterManaged": False,
        "TagSet": [],
    }


def _interface(instance: Instance) -> dict[str, Any]:
    own = networks.of(instance.account_id)
    address = instance.private_ip
    return {
        "NetworkInterfaceId": networks.interface_id(instance.id),
        "InterfaceType": "interface",
        "Description": "",
        "OwnerId": instance.account_id,
        "VpcId": own.vpc,
        "SubnetId": _subnet_id(instance),
        "Groups": [group(instance.account_id)],
        "MacAddress": instance.mac,
        "PrivateIpAddress": address,
        "PrivateIpAddresses": [{"Primary": True, "PrivateIpAddress": address}] if address else [],
        "Ipv6Addresses": [],
        "SourceDestCheck": instance.source_dest_check,
        "Status": STATUS,
        "Operator": {"Managed": False},
    }


def _attachment(instance: Instance) -> dict[str, Any]:
    return {
        "AttachmentId": networks.attachment_id(instance.id),
        "AttachTime": instance.launched_at,
        "DeleteOnTermination": True,
        "DeviceIndex": 0,
        "NetworkCardIndex": 0,
        "Status": _ATTACHED.get(instance.state, "attached"),
    }


def _subnet_id(instance: Instance) -> str:
    return networks.subnet(instance.account_id, instance.availability_zone)


def _group_id(instance: Instance) -> str:
    return networks.of(instance.account_id).security_group


# What the filters of both actions look at; terminated instances are asked for by INSTANCE_FILTERS.
_INTERFACE: dict[str, Callable[[Instance], Value]] = {
    "addresses.primary": lambda instance: True if instance.private_ip else None,
    "addresses.private-ip-address": lambda instance: instance.private_ip,
    "attachment.attach-time": lambda instance: timestamp(instance.launched_at),
    "attachment.attachment-id": lambda instance: networks.attachment_id(instance.id),
    "attachment.delete-on-termination": lambda _: True,
    "attachment.device-index": lambda _: 0,
    "attachment.instance-id": lambda instance: instance.id,
    "attachment.instance-owner-id": lambda instance: instance.account_id,
    "attachment.status": lambda instance: _ATTACHED.get(instance.state, "attached"),
    "availability-zone": lambda instance: instance.availability_zone,
    "description": lambda _: "",
    "group-id": _group_id,
    "mac-address": lambda instance: instance.mac,
    "network-interface-id": lambda instance: networks.interface_id(instance.id),
    "owner-id": lambda instance: instance.account_id,
    "private-ip-address": lambda instance: instance.private_ip,
    "requester-managed": lambda _: False,
    "source-dest-check": lambda instance: instance.source_dest_check,
    "status": lambda _: STATUS,
    "subnet-id": _subnet_id,
    "vpc-id": lambda instance: networks.of(instance.account_id).vpc,
}

# Public and IPv6 addresses, names, and what other services make: nothing here has them.
_NOTHING = (
    "association.allocation-id",
    "association.association-id",
    "association.ip-owner-id",
    "association.public-dns-name",
    "association.public-ip",
    "ipv6-addresses.ipv6-address",
    "operator.principal",
    "private-dns-name",
    "requester-id",
)


FILTERS: dict[str, Look[Instance]] = {
    **_INTERFACE,
    "availability-zone-id": lambda instance: instance.availability_zone,
    "interface-type": lambda _: "interface",
    "operator.managed": lambda _: False,
    **dict.fromkeys(
        (
            *_NOTHING,
            "addresses.association.allocation-id",
            "addresses.association.owner-id",
            "addresses.association.public-ip",
        ),
        nothing,
    ),
}
"""DescribeNetworkInterfaces."""


def _while_it_lives(look: Callable[[Instance], Value]) -> Callable[[Instance], Value]:
    return lambda instance: None if instance.state == "terminated" else look(instance)


INSTANCE_FILTERS: dict[str, Look[Instance]] = {
    **{f"network-interface.{name}": _while_it_lives(look) for name, look in _INTERFACE.items()},
    "instance.group-id": _while_it_lives(_group_id),
    "instance.group-name": _while_it_lives(lambda _: networks.GROUP_NAME),
    # The names that these two have without "instance.", from before there were VPCs.
    "group-id": _while_it_lives(_group_id),
    "group-name": _while_it_lives(lambda _: networks.GROUP_NAME),
    "network-interface.attachment.network-card-index": _while_it_lives(lambda _: 0),
    "network-interface.group-name": _while_it_lives(lambda _: networks.GROUP_NAME),
    "private-ip-address": _while_it_lives(_INTERFACE["private-ip-address"]),
    "source-dest-check": _while_it_lives(_INTERFACE["source-dest-check"]),
    "subnet-id": _while_it_lives(_INTERFACE["subnet-id"]),
    "vpc-id": _while_it_lives(_INTERFACE["vpc-id"]),
    "network-interface.ipv4-prefixes.ipv4-prefix": "NetworkInterfaces.Ipv4Prefixes.Ipv4Prefix",
    "network-interface.ipv6-address": "NetworkInterfaces.Ipv6Addresses.Ipv6Address",
    "network-interface.ipv6-addresses.is-primary-ipv6": (
        "NetworkInterfaces.Ipv6Addresses.IsPrimaryIpv6"
    ),
    "network-interface.ipv6-prefixes.ipv6-prefix": "NetworkInterfaces.Ipv6Prefixes.Ipv6Prefix",
    "network-interface.operator.managed": "NetworkInterfaces.Operator.Managed",
    **dict.fromkeys((f"network-interface.{name}" for name in _NOTHING), nothing),
    **dict.fromkeys(
        (
            "dns-name",
            "ip-address",
            "ipv6-address",
            "network-interface.addresses.association.allocation-id",
            "network-interface.addresses.association.carrier-ip",
            "network-interface.addresses.association.customer-owned-ip",
            "network-interface.addresses.association.association-id",
            "network-interface.addresses.association.ip-owner-id",
            "network-interface.addresses.association.public-dns-name",
            "network-interface.addresses.association.public-ip",
            "network-interface.addresses.private-dns-name",
            "network-interface.association.carrier-ip",
            "network-interface.association.customer-owned-ip",
            # EC2 has no member for these among an instance's own interfaces.
            "network-interface.deny-all-igw-traffic",
            "network-interface.ipv6-native",
            "network-interface.outpost-arn",
            "network-interface.public-dns-name",
            "network-interface.tag-key",
            "network-interface.tag-value",
            "private-dns-name",
        ),
        nothing,
    ),
}
"""What the network adds to the filters of DescribeInstances."""
