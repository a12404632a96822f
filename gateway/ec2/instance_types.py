# SPDX-License-Identifier: Apache-2.0
"""DescribeInstanceTypes, DescribeInstanceTypeOfferings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import boot_modes
from gateway.ec2 import constants, filters, pages
from gateway.ec2.dispatch import Result, action
from gateway.errors import InvalidInstanceType, InvalidParameterValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.cloud.flavors import Flavor
    from gateway.ec2.context import Context
    from gateway.ec2.filters import Look

ARCHITECTURES = ["i386", "x86_64"]

_EBS = "ebs-info.ebs-optimized-info"

FILTERS: dict[str, Look[Flavor]] = {
    "auto-recovery-supported": "AutoRecoverySupported",
    "bare-metal": "BareMetal",
    "burstable-performance-supported": "BurstablePerformanceSupported",
    "current-generation": "CurrentGeneration",
    "dedicated-hosts-supported": "DedicatedHostsSupported",
    "ebs-info.attachment-limit-type": "EbsInfo.AttachmentLimitType",
    f"{_EBS}.baseline-bandwidth-in-mbps": "EbsInfo.EbsOptimizedInfo.BaselineBandwidthInMbps",
    f"{_EBS}.baseline-iops": "EbsInfo.EbsOptimizedInfo.BaselineIops",
    f"{_EBS}.baseline-throughput-in-mbps": "EbsInfo.EbsOptimizedInfo.BaselineThroughputInMBps",
    f"{_EBS}.maximum-bandwidth-in-mbps": "EbsInfo.EbsOptimizedInfo.MaximumBandwidthInMbps",
    f"{_EBS}.maximum-iops": "EbsInfo.EbsOptimizedInfo.MaximumIops",
    f"{_EBS}.maximum-throughput-in-mbps": "EbsInfo.EbsOptimizedInfo.MaximumThroughputInMBps",
    "ebs-info.ebs-optimized-support": "EbsInfo.EbsOptimizedSupport",
    "ebs-info.encryption-support": "EbsInfo.EncryptionSupport",
    "ebs-info.maximum-ebs-attachments": "EbsInfo.MaximumEbsAttachments",
    "ebs-info.nvme-support": "EbsInfo.NvmeSupport",
    "free-tier-eligible": "FreeTierEligible",
    "hibernation-supported": "HibernationSupported",
    "hypervisor": "Hypervisor",
    "instance-storage-info.disk.count": "InstanceStorageInfo.Disks.Count",
    "instance-storage-info.disk.size-in-gb": "InstanceStorageInfo.Disks.SizeInGB",
    "instance-storage-info.disk.type": "InstanceStorageInfo.Disks.Type",
    "instance-storage-info.encryption-support": "InstanceStorageInfo.EncryptionSupport",
    "instance-storage-info.nvme-support": "InstanceStorageInfo.NvmeSupport",
    "instance-storage-info.total-size-in-gb": "InstanceStorageInfo.TotalSizeInGB",
    "instance-storage-supported": "InstanceStorageSupported",
    "instance-type": "InstanceType",
    "memory-info.size-in-mib": "MemoryInfo.SizeInMiB",
    "network-info.bandwidth-weightings": "NetworkInfo.BandwidthWeightings",
    "network-info.efa-info.maximum-efa-interfaces": "NetworkInfo.EfaInfo.MaximumEfaInterfaces",
    "network-info.efa-supported": "NetworkInfo.EfaSupported",
    "network-info.ena-support": "NetworkInfo.EnaSupport",
    "network-info.encryption-in-transit-supported": "NetworkInfo.EncryptionInTransitSupported",
    "network-info.flexible-ena-queues-support": "NetworkInfo.FlexibleEnaQueuesSupport",
    "network-info.ipv4-addresses-per-interface": "NetworkInfo.Ipv4AddressesPerInterface",
    "network-info.ipv6-addresses-per-interface": "NetworkInfo.Ipv6AddressesPerInterface",
    "network-info.ipv6-supported": "NetworkInfo.Ipv6Supported",
    "network-info.maximum-network-cards": "NetworkInfo.MaximumNetworkCards",
    "network-info.maximum-network-interfaces": "NetworkInfo.MaximumNetworkInterfaces",
    "network-info.network-performance": "NetworkInfo.NetworkPerformance",
    "nitro-enclaves-support": "NitroEnclavesSupport",
    "nitro-tpm-info.supported-versions": "NitroTpmInfo.SupportedVersions",
    "nitro-tpm-support": "NitroTpmSupport",
    "processor-info.supported-architecture": "ProcessorInfo.SupportedArchitectures",
    "processor-info.supported-features": "ProcessorInfo.SupportedFeatures",
    "processor-info.sustained-clock-speed-in-ghz": "ProcessorInfo.SustainedClockSpeedInGhz",
    "reboot-migration-support": "RebootMigrationSupport",
    "supported-boot-mode": "SupportedBootModes",
    "supported-root-device-type": "SupportedRootDeviceTypes",
    "supported-usage-class": "SupportedUsageClasses",
    "supported-virtualization-type": "SupportedVirtualizationTypes",
    "vcpu-info.default-cores": "VCpuInfo.DefaultCores",
    "vcpu-info.default-threads-per-core": "VCpuInfo.DefaultThreadsPerCore",
    "vcpu-info.default-vcpus": "VCpuInfo.DefaultVCpus",
    "vcpu-info.valid-cores": "VCpuInfo.ValidCores",
    "vcpu-info.valid-threads-per-core": "VCpuInfo.ValidThreadsPerCore",
}


@action(harmless={"IncludeUnsupportedInRegion": "there is one region and it has all types"})
def describe_instance_types(
    ctx: Context,
    *,
    InstanceTypes: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe the sizes that an instance can have, by name."""
    pages.refuse_with_ids("instanceTypesSet", InstanceTypes, MaxResults)
    wanted = filters.Filters(Filters, FILTERS, document=_describe)
    page = pages.Page(
        ["DescribeInstanceTypes", ctx.account_id, InstanceTypes, Filters],
        MaxResults,
        NextToken,
        most=100,
    )
    flavors = ctx.gateway.flavors
    if unknown := [name for name in InstanceTypes if name not in flavors]:
        raise InvalidInstanceType(unknown)
    passing = (
        flavors[name]
        for name in sorted(set(InstanceTypes) or flavors)
        if (page.after is None or [name] > page.after) and wanted.match(flavors[name])
    )
    found, next_token = page.cut(passing, lambda flavor: [flavor.name])
    return {
        "InstanceTypes": [_describe(flavor) for flavor in found],
        "NextToken": next_token,
    }


OFFERING_FILTERS: dict[str, Look[Result]] = {
    "instance-type": "InstanceType",
    "location": "Location",
}


@action()
def describe_instance_type_offerings(
    ctx: Context,
    *,
    LocationType: str = "region",
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe where each size is offered, by name: everywhere."""
    wanted = filters.Filters(Filters, OFFERING_FILTERS)
    page = pages.Page(
        ["DescribeInstanceTypeOfferings", ctx.account_id, LocationType, Filters],
        MaxResults,
        NextToken,
    )
    locations = {
        "region": [ctx.settings.region],
        "availability-zone": ctx.zone_names,
        "availability-zone-id": ctx.zone_names,
        "outpost": [],
    }
    if LocationType not in locations:
        raise InvalidParameterValue.of("LocationType", LocationType, "")
    offerings: Iterable[Result] = (
        {"InstanceType": name, "LocationType": LocationType, "Location": location}
        for name in sorted(ctx.gateway.flavors)
        for location in locations[LocationType]
        if page.after is None or [name, location] > page.after
    )
    found, next_token = page.cut(
        filter(wanted.match, offerings),
        lambda offering: [offering["InstanceType"], offering["Location"]],
    )
    return {"InstanceTypeOfferings": found, "NextToken": next_token}


def _describe(flavor: Flavor) -> Result:
    return {
        "InstanceType": flavor.name,
        "CurrentGeneration": True,
        "FreeTierEligible": False,
        "SupportedUsageClasses": ["on-demand", "spot"],
        "SupportedRootDeviceTypes": [constants.ROOT_DEVICE_TYPE],
        "SupportedVirtualizationTypes": [constants.VIRTUALIZATION_TYPE],
        "BareMetal": False,
        "Hypervisor": constants.HYPERVISOR,
        "ProcessorInfo": {"SupportedArchitectures": ARCHITECTURES},
        "VCpuInfo": {
            "DefaultVCpus": flavor.vcpus,
            "DefaultCores": flavor.vcpus,
            "DefaultThreadsPerCore": 1,
            "ValidCores": [flavor.vcpus],
            "ValidThreadsPerCore": [1],
        },
        "MemoryInfo": {"SizeInMiB": flavor.memory_mib},
        "InstanceStorageSupported": False,
        "EbsInfo": {
            "EbsOptimizedSupport": "unsupported",
            "EncryptionSupport": "unsupported",
            "NvmeSupport": "unsupported",
        },
        "NetworkInfo": {
            "MaximumNetworkCards": 1,
            "MaximumNetworkInterfaces": 1,
            "Ipv4AddressesPerInterface": 1,
            "Ipv6AddressesPerInterface": 0,
            "Ipv6Supported": False,
            "EnaSupport": "unsupported",
            "EfaSupported": False,
            "EncryptionInTransitSupported": False,
            "FlexibleEnaQueuesSupport": "unsupported",
        },
        "PlacementGroupInfo": {"SupportedStrategies": []},
        "HibernationSupported": False,
        "BurstablePerformanceSupported": False,
        "DedicatedHostsSupported": False,
        "AutoRecoverySupported": False,
        "NitroEnclavesSupport": "unsupported",
        "NitroTpmSupport": "unsupported",
        "RebootMigrationSupport": "unsupported",
        "SupportedBootModes": list(boot_modes.OF_MACHINES),
    }
