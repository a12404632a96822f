# SPDX-License-Identifier: Apache-2.0
"""The kinds of resources that ids name, and what EC2 answers for ids that are none.

A well-formed id of nothing is not found, another text is malformed: two codes for each kind, as
"Error codes for the Amazon EC2 API" lists them, with EC2's own ``ID`` and ``Id``. For a few kinds
it lists no code for the second; there the first stands for both.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from gateway import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.errors import EC2Error

_HEXADECIMAL = r"[0-9a-f]{8}|[0-9a-f]{17}"
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class Kind(NamedTuple):
    """A kind of resource: what its ids look like, and its two errors."""

    prefix: str
    """With the dash at its end; empty where ids begin with nothing."""
    not_found: Callable[[Sequence[str] | str], EC2Error]
    malformed: Callable[[str], EC2Error] | None = None
    digits: str = _HEXADECIMAL

    def check(self, ids: Sequence[str]) -> None:
        """Raise what EC2 answers for the first text that cannot be an id of this kind."""
        for text in ids:
            digits = text.removeprefix(self.prefix)
            if not text.startswith(self.prefix) or not re.fullmatch(self.digits, digits):
                raise (self.malformed or self.not_found)(text)


KINDS: dict[str, Kind] = {
    # What there is; the names are those of gateway.cloud.ids.
    "instance": Kind("i-", errors.InvalidInstanceIDNotFound, errors.InvalidInstanceIDMalformed),
    "image": Kind("ami-", errors.InvalidAMIIDNotFound, errors.InvalidAMIIDMalformed),
    "vpc": Kind("vpc-", errors.InvalidVpcIDNotFound, errors.InvalidVpcIDMalformed),
    "subnet": Kind("subnet-", errors.InvalidSubnetIDNotFound, errors.InvalidSubnetIDMalformed),
    "internet gateway": Kind(
        "igw-", errors.InvalidInternetGatewayIDNotFound, errors.InvalidInternetGatewayIdMalformed
    ),
    "route table": Kind(
        "rtb-", errors.InvalidRouteTableIDNotFound, errors.InvalidRouteTableIdMalformed
    ),
    "security group": Kind("sg-", errors.InvalidGroupNotFound, errors.InvalidGroupIdMalformed),
    "security group rule": Kind(
        "sgr-",
        errors.InvalidSecurityGroupRuleIdNotFound,
        errors.InvalidSecurityGroupRuleIdMalformed,
    ),
    "network acl": Kind(
        "acl-", errors.InvalidNetworkAclIDNotFound, errors.InvalidNetworkAclIdMalformed
    ),
    "dhcp options": Kind(
        "dopt-", errors.InvalidDhcpOptionIDNotFound, errors.InvalidDhcpOptionsIdMalformed
    ),
    "network interface": Kind(
        "eni-", errors.InvalidNetworkInterfaceIDNotFound, errors.InvalidNetworkInterfaceIdMalformed
    ),
    "spot instances request": Kind(
        "sir-",
        errors.InvalidSpotInstanceRequestIDNotFound,
        errors.InvalidSpotInstanceRequestIDMalformed,
        # EC2's own are of letters and digits.
        digits="[0-9a-z]{8}|[0-9a-f]{17}",
    ),
    "volume": Kind("vol-", errors.InvalidVolumeNotFound, errors.InvalidVolumeIDMalformed),
    # What there is none of.
    "address": Kind("eipalloc-", errors.InvalidAllocationIDNotFound),
    "capacity reservation": Kind(
        "cr-",
        errors.InvalidCapacityReservationIdNotFound,
        errors.InvalidCapacityReservationIdMalformed,
    ),
    "customer gateway": Kind(
        "cgw-", errors.InvalidCustomerGatewayIDNotFound, errors.InvalidCustomerGatewayIdMalformed
    ),
    "egress-only internet gateway": Kind(
        "eigw-",
        errors.InvalidEgressOnlyInternetGatewayIdNotFound,
        errors.InvalidEgressOnlyInternetGatewayIdMalformed,
    ),
    "host": Kind("h-", errors.InvalidHostIDNotFound, errors.InvalidHostIDMalformed),
    "instance profile association": Kind("iip-assoc-", errors.InvalidAssociationIDNotFound),
    "launch template": Kind(
        "lt-", errors.InvalidLaunchTemplateIdNotFound, errors.InvalidLaunchTemplateIdMalformed
    ),
    "NAT gateway": Kind("nat-", errors.NatGatewayNotFound, errors.NatGatewayMalformed),
    "peering": Kind(
        "pcx-",
        errors.InvalidVpcPeeringConnectionIDNotFound,
        errors.InvalidVpcPeeringConnectionIdMalformed,
    ),
    "placement group": Kind(
        "pg-", errors.InvalidPlacementGroupUnknown, errors.InvalidPlacementGroupIdMalformed
    ),
    "prefix list": Kind(
        "pl-", errors.InvalidPrefixListIDNotFound, errors.InvalidPrefixListIdMalformed
    ),
    "reserved instances": Kind("", errors.InvalidReservedInstancesId, digits=_UUID),
    "snapshot": Kind("snap-", errors.InvalidSnapshotNotFound, errors.InvalidSnapshotIDMalformed),
    "VPC endpoint": Kind(
        "vpce-", errors.InvalidVpcEndpointIdNotFound, errors.InvalidVpcEndpointIdMalformed
    ),
    "VPN gateway": Kind("vgw-", errors.InvalidVpnGatewayIDNotFound),
}
