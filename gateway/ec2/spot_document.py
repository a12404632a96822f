# SPDX-License-Identifier: Apache-2.0
"""How a request for a spot instance looks in EC2's answers, and what its filters look at."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gateway.cloud import networks, spot, spot_launch
from gateway.ec2 import constants
from gateway.ec2.tagging import tag_set

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.cloud.instances import Launch
    from gateway.ec2.filters import Value
    from gateway.store.spot_requests import SpotRequest

PRODUCT = "Linux/UNIX"


@lru_cache(maxsize=1024)
def _launch(text: str) -> Launch:
    return spot_launch.read(text)


def _fault(request: SpotRequest) -> dict[str, str] | None:
    if request.state != "failed":
        return None
    return {"Code": request.status_code, "Message": spot.MESSAGES[request.status_code]}


def _price(request: SpotRequest) -> str | None:
    return None if request.max_price is None else f"{Decimal(request.max_price):.6f}"


def _zone(request: SpotRequest) -> str | None:
    return _launch(request.launch).zone if request.instance_id is not None else None


def _sizes(request: SpotRequest) -> list[Value]:
    return [device.gib for device in _launch(request.launch).devices]


def _group(request: SpotRequest) -> str:
    return networks.of(request.account_id).security_group


def _subnet(request: SpotRequest) -> str:
    return networks.subnet(request.account_id, _launch(request.launch).zone)


def _none(_: SpotRequest) -> None:
    return None


FILTERS: dict[str, Callable[[SpotRequest], Value | Iterable[Value]]] = {
    "availability-zone-group": _none,
    "create-time": lambda request: constants.timestamp(request.created_at),
    "fault-code": lambda request: (_fault(request) or {}).get("Code"),
    "fault-message": lambda request: (_fault(request) or {}).get("Message"),
    "instance-id": lambda request: request.instance_id,
    "launch-group": _none,
    "launch.block-device-mapping.delete-on-termination": lambda request: [
        True for _ in _sizes(request)
    ],
    "launch.block-device-mapping.device-name": lambda request: [
        device.name for device in _launch(request.launch).devices
    ],
    "launch.block-device-mapping.snapshot-id": _none,
    "launch.block-device-mapping.volume-size": _sizes,
    "launch.block-device-mapping.volume-type": _none,
    "launch.group-id": _group,
    "launch.group-name": lambda _: networks.GROUP_NAME,
    "launch.image-id": lambda request: _launch(request.launch).image_id,
    "launch.instance-type": lambda request: _launch(request.launch).flavor,
    "launch.kernel-id": _none,
    "launch.key-name": lambda request: _launch(request.launch).key_name,
    "launch.monitoring-enabled": lambda request: _launch(request.launch).monitoring,
    "launch.ramdisk-id": _none,
    "launched-availability-zone": _zone,
    "launched-availability-zone-id": _zone,
    "network-interface.addresses.primary": _none,
    "network-interface.delete-on-termination": _none,
    "network-interface.description": _none,
    "network-interface.device-index": _none,
    "network-interface.group-id": _none,
    "network-interface.network-interface-id": _none,
    "network-interface.private-ip-address": _none,
    "network-interface.subnet-id": _none,
    "product-description": lambda _: PRODUCT,
    "spot-instance-request-id": lambda request: request.id,
    "spot-price": _price,
    "state": lambda request: request.state,
    "status-code": lambda request: request.status_code,
    "status-message": lambda request: spot.MESSAGES[request.status_code],
    "type": lambda request: request.type,
    "valid-from": lambda request: _instant(request, "valid_from"),
    "valid-until": lambda request: _instant(request, "valid_until"),
}


def describe(request: SpotRequest, tagged: Mapping[str, str]) -> dict[str, Any]:
    """Return the structure ``SpotInstanceRequest``."""
    launch = _launch(request.launch)
    return {
        "SpotInstanceRequestId": request.id,
        "CreateTime": request.created_at,
        "Fault": _fault(request),
        "InstanceId": request.instance_id,
        "InstanceInterruptionBehavior": request.interruption_behavior,
        "LaunchSpecification": {
            "ImageId": launch.image_id,
            "InstanceType": launch.flavor,
            "KeyName": launch.key_name,
            "BlockDeviceMappings": [
                {
                    "DeviceName": device.name,
                    "Ebs": {"DeleteOnTermination": True, "VolumeSize": device.gib},
                }
                for device in launch.devices
            ],
            "EbsOptimized": False,
            "Monitoring": {"Enabled": launch.monitoring},
            "NetworkInterfaces": [],
            "Placement": {"AvailabilityZone": launch.zone},
            "SecurityGroups": [{"GroupId": _group(request), "GroupName": networks.GROUP_NAME}],
            "SubnetId": _subnet(request),
        },
        "LaunchedAvailabilityZone": _zone(request),
        "ProductDescription": PRODUCT,
        "SpotPrice": _price(request),
        "State": request.state,
        "Status": {
            "Code": request.status_code,
            "Message": spot.MESSAGES[request.status_code],
            "UpdateTime": request.status_at,
        },
        "Tags": tag_set(tagged),
        "Type": request.type,
        "ValidFrom": request.valid_from,
        "ValidUntil": request.valid_until,
    }


def _instant(request: SpotRequest, name: str) -> str | None:
    found = getattr(request, name)
    return None if found is None else constants.timestamp(found)
