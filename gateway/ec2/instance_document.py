# SPDX-License-Identifier: Apache-2.0
"""How an instance looks in EC2's answers, and what its filters look at.

What has no place in EC2's document, such as the node and the VNC port, is not in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import boot_modes
from gateway.cloud.states import STATES
from gateway.ec2 import constants, metadata_options, volume_document
from gateway.ec2.filters import NO_TAGS, nothing
from gateway.ec2.interface_document import INSTANCE_FILTERS, of_instance
from gateway.ec2.tagging import tag_set

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.ec2.filters import Look
    from gateway.store.instances import Instance

_CAPACITY = "capacity-reservation-specification"


def _shown_code(instance: Instance) -> str | None:
    """Return the code of an instance's reason, which one that waits does not have.

    HTCondor's client of EC2 takes any code for that of an end, and holds its job.
    """
    return None if instance.state == "pending" else instance.reason_code


# Some look at the row: they are asked for most, and need no document to be made.
FILTERS: dict[str, Look[Instance]] = {
    "architecture": lambda instance: instance.architecture,
    "availability-zone": lambda instance: instance.availability_zone,
    "client-token": lambda instance: instance.client_token,
    "hypervisor": lambda _: constants.HYPERVISOR,
    "image-id": lambda instance: instance.image_id,
    "instance-id": lambda instance: instance.id,
    "instance-state-code": lambda instance: STATES[instance.state].code,
    "instance-state-name": lambda instance: instance.state,
    "instance-type": lambda instance: instance.instance_type,
    "key-name": lambda instance: instance.key_name,
    "launch-index": lambda instance: instance.launch_index,
    "launch-time": lambda instance: constants.timestamp(instance.begun_at),
    "metadata-options.http-endpoint": lambda instance: instance.metadata_endpoint,
    "metadata-options.http-put-response-hop-limit": lambda i: str(i.metadata_hop_limit),
    "metadata-options.http-tokens": lambda instance: instance.metadata_tokens,
    "metadata-options.instance-metadata-tags": lambda instance: instance.metadata_tags,
    "monitoring-state": lambda instance: monitoring(instance)["State"],
    "owner-id": lambda instance: instance.account_id,
    "reason": lambda instance: instance.transition_reason,
    "reservation-id": lambda instance: instance.reservation_id,
    "root-device-name": lambda instance: instance.root_device_name,
    "root-device-type": lambda _: constants.ROOT_DEVICE_TYPE,
    "state-reason-code": _shown_code,
    "tenancy": lambda _: "default",
    "state-reason-message": lambda instance: instance.reason_message,
    "virtualization-type": lambda _: constants.VIRTUALIZATION_TYPE,
    "affinity": "Placement.Affinity",
    "availability-zone-id": "Placement.AvailabilityZoneId",
    "boot-mode": "BootMode",
    "capacity-reservation-id": "CapacityReservationId",
    f"{_CAPACITY}.capacity-reservation-preference": (
        "CapacityReservationSpecification.CapacityReservationPreference"
    ),
    f"{_CAPACITY}.capacity-reservation-target.capacity-reservation-id": (
        "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId"
    ),
    f"{_CAPACITY}.capacity-reservation-target.capacity-reservation-resource-group-arn": (
        "CapacityReservationSpecification.CapacityReservationTarget"
        ".CapacityReservationResourceGroupArn"
    ),
    "current-instance-boot-mode": "CurrentInstanceBootMode",
    "ebs-optimized": "EbsOptimized",
    "ena-support": "EnaSupport",
    "enclave-options.enabled": "EnclaveOptions.Enabled",
    "hibernation-options.configured": "HibernationOptions.Configured",
    "host-id": "Placement.HostId",
    "iam-instance-profile.arn": "IamInstanceProfile.Arn",
    "iam-instance-profile.id": "IamInstanceProfile.Id",
    "instance-lifecycle": "InstanceLifecycle",
    "kernel-id": "KernelId",
    "maintenance-options.auto-recovery": "MaintenanceOptions.AutoRecovery",
    # The member has no word for this one protocol: the endpoint is an IPv4 endpoint.
    "metadata-options.http-protocol-ipv4": "MetadataOptions.HttpEndpoint",
    "metadata-options.http-protocol-ipv6": "MetadataOptions.HttpProtocolIpv6",
    "metadata-options.state": "MetadataOptions.State",
    "network-performance-options.bandwidth-weighting": (
        "NetworkPerformanceOptions.BandwidthWeighting"
    ),
    "operator.managed": "Operator.Managed",
    "operator.principal": "Operator.Principal",
    "outpost-arn": "OutpostArn",
    "placement-group-name": "Placement.GroupName",
    "placement-partition-number": "Placement.PartitionNumber",
    "platform": "Platform",
    "platform-details": "PlatformDetails",
    "private-dns-name-options.enable-resource-name-dns-a-record": (
        "PrivateDnsNameOptions.EnableResourceNameDnsARecord"
    ),
    "private-dns-name-options.enable-resource-name-dns-aaaa-record": (
        "PrivateDnsNameOptions.EnableResourceNameDnsAAAARecord"
    ),
    "private-dns-name-options.hostname-type": "PrivateDnsNameOptions.HostnameType",
    "product-code": "ProductCodes.ProductCodeId",
    "product-code.type": "ProductCodes.ProductCodeType",
    "ramdisk-id": "RamdiskId",
    # EC2 shows it at the reservation: an account whose launches are another's are not here.
    "requester-id": nothing,
    "spot-instance-request-id": "SpotInstanceRequestId",
    "tpm-support": "TpmSupport",
    "usage-operation": "UsageOperation",
    "usage-operation-update-time": "UsageOperationUpdateTime",
    **INSTANCE_FILTERS,
    **volume_document.INSTANCE_FILTERS,
}


def untagged(instance: Instance) -> dict[str, Any]:
    """Return the structure ``Instance`` as the filters look at it: they know the tags."""
    return describe(instance, NO_TAGS)


def state(name: str) -> dict[str, Any]:
    """Return the member ``State``."""
    return {"Code": STATES[name].code, "Name": name}


def monitoring(instance: Instance) -> dict[str, Any]:
    """Return the member ``Monitoring``: whether detailed monitoring was asked for."""
    return {"State": "enabled" if instance.monitoring else "disabled"}


def describe(instance: Instance, tagged: Mapping[str, str]) -> dict[str, Any]:
    """Return the structure ``Instance``.

    Sets are empty rather than absent, as EC2 has them: clients index them without asking.
    The names are empty because nothing here resolves them.
    """
    return {
        "InstanceId": instance.id,
        "ImageId": instance.image_id,
        "State": state(instance.state),
        "PrivateDnsName": "",
        "PublicDnsName": "",
        "StateTransitionReason": instance.transition_reason or "",
        "StateReason": _state_reason(instance),
        "KeyName": instance.key_name,
        "AmiLaunchIndex": instance.launch_index,
        "ProductCodes": [],
        "InstanceType": instance.instance_type,
        "LaunchTime": instance.begun_at,
        "Placement": {
            "AvailabilityZone": instance.availability_zone,
            "AvailabilityZoneId": instance.availability_zone,
            "GroupName": "",
            "Tenancy": "default",
        },
        "Monitoring": monitoring(instance),
        "Architecture": instance.architecture,
        "BlockDeviceMappings": volume_document.of_instance(instance),
        "BootMode": instance.boot_mode,
        "ClientToken": instance.client_token or "",
        "CpuOptions": {"CoreCount": instance.vcpus, "ThreadsPerCore": 1},
        "CurrentInstanceBootMode": boot_modes.current(instance.boot_mode, instance.architecture),
        "EbsOptimized": False,
        "Hypervisor": constants.HYPERVISOR,
        "RootDeviceName": instance.root_device_name,
        "InstanceLifecycle": "spot" if instance.is_spot else None,
        "SpotInstanceRequestId": instance.spot_request_id,
        "RootDeviceType": constants.ROOT_DEVICE_TYPE,
        "Tags": tag_set(tagged),
        "VirtualizationType": constants.VIRTUALIZATION_TYPE,
        "MetadataOptions": metadata_options.describe(instance),
        **of_instance(instance),
        **constants.OPTIONS,
    }


def _state_reason(instance: Instance) -> dict[str, str] | None:
    if instance.reason_code is None:
        return None
    return {"Code": _shown_code(instance) or "", "Message": instance.reason_message or ""}
