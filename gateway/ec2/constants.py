# SPDX-License-Identifier: Apache-2.0
"""What EC2's documents say about every machine here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

HYPERVISOR = "xen"
"""What EC2 says for its machines on KVM too: the model has ``xen`` and ``ovm`` and no other."""

VIRTUALIZATION_TYPE = "hvm"

ROOT_DEVICE_TYPE = "ebs"
"""The disk has the size that the launch asks for, and is gone when the instance is terminated."""

_CHOICES: Mapping[str, Mapping[str, object]] = {
    "CapacityReservationSpecification": {"CapacityReservationPreference": "open"},
    "EnclaveOptions": {"Enabled": False},
    "HibernationOptions": {"Configured": False},
    "MaintenanceOptions": {"AutoRecovery": "disabled"},
    "PrivateDnsNameOptions": {
        "HostnameType": "resource-name",
        "EnableResourceNameDnsARecord": False,
        "EnableResourceNameDnsAAAARecord": False,
    },
}
OPTIONS: Mapping[str, Any] = {
    **_CHOICES,
    "EnaSupport": False,
    "Operator": {"Managed": False},
}
"""What can be chosen for an instance in EC2, as it always is here.

Terraform takes one that is missing for one that was changed. A guest's host name is the instance's
id, and a node that fails takes its guests with it.
"""

ONLY: Mapping[str, object] = {
    f"{name}.{member}": value
    for name, members in _CHOICES.items()
    for member, value in members.items()
}
"""What a launch may therefore say of them."""


def timestamp(instant: datetime) -> str:
    """Return a point in time as EC2 writes it: UTC, milliseconds, Z."""
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03}Z"
