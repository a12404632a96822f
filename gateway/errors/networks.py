# SPDX-License-Identifier: Apache-2.0
"""The network: what every account has one of.

EC2 spells some of these codes with ``ID`` and some with ``Id``.
"""

from __future__ import annotations

from gateway.errors import base


class InvalidVpcIDNotFound(base.Absent):
    """Raised when the account has no VPC of that id."""

    code = "InvalidVpcID.NotFound"
    one, many = "The vpc ID '{}' does not exist", "The vpc IDs '{}' do not exist"


class InvalidVpcIDMalformed(base.About):
    """Raised for text that cannot be the id of a VPC."""

    code = "InvalidVpcID.Malformed"
    sentence = 'Invalid id: "{}" (expecting "vpc-...")'


class InvalidSubnetIDNotFound(base.Absent):
    """Raised when the account has no subnet of that id."""

    code = "InvalidSubnetID.NotFound"
    one, many = "The subnet ID '{}' does not exist", "The subnet IDs '{}' do not exist"


class InvalidSubnetIDMalformed(base.About):
    """Raised for text that cannot be the id of a subnet."""

    code = "InvalidSubnetID.Malformed"
    sentence = 'Invalid id: "{}" (expecting "subnet-...")'


class InvalidInternetGatewayIDNotFound(base.Absent):
    """Raised when the account has no internet gateway of that id."""

    code = "InvalidInternetGatewayID.NotFound"
    one, many = (
        "The internetGateway ID '{}' does not exist",
        "The internetGateway IDs '{}' do not exist",
    )


class InvalidInternetGatewayIdMalformed(base.About):
    """Raised for text that cannot be the id of an internet gateway."""

    code = "InvalidInternetGatewayId.Malformed"
    sentence = 'Invalid id: "{}" (expecting "igw-...")'


class InvalidRouteTableIDNotFound(base.Absent):
    """Raised when the account has no route table of that id."""

    code = "InvalidRouteTableID.NotFound"
    one, many = "The routeTable ID '{}' does not exist", "The routeTable IDs '{}' do not exist"


class InvalidRouteTableIdMalformed(base.About):
    """Raised for text that cannot be the id of a route table."""

    code = "InvalidRouteTableId.Malformed"
    sentence = 'Invalid id: "{}" (expecting "rtb-...")'


class InvalidNetworkAclIDNotFound(base.Absent):
    """Raised when the account has no network ACL of that id."""

    code = "InvalidNetworkAclID.NotFound"
    one, many = "The networkAcl ID '{}' does not exist", "The networkAcl IDs '{}' do not exist"


class InvalidNetworkAclIdMalformed(base.About):
    """Raised for text that cannot be the id of a network ACL."""

    code = "InvalidNetworkAclId.Malformed"
    sentence = 'Invalid id: "{}" (expecting "acl-...")'


class InvalidDhcpOptionIDNotFound(base.Absent):
    """Raised when the account has no set of DHCP options of that id."""

    code = "InvalidDhcpOptionID.NotFound"
    one, many = "The dhcpOption ID '{}' does not exist", "The dhcpOption IDs '{}' do not exist"


class InvalidDhcpOptionsIdMalformed(base.About):
    """Raised for text that cannot be the id of a set of DHCP options."""

    code = "InvalidDhcpOptionsId.Malformed"
    sentence = 'Invalid id: "{}" (expecting "dopt-...")'


class InvalidNetworkInterfaceIDNotFound(base.Absent):
    """Raised when the account has no network interface of that id."""

    code = "InvalidNetworkInterfaceID.NotFound"
    one, many = (
        "The networkInterface ID '{}' does not exist",
        "The networkInterface IDs '{}' do not exist",
    )


class InvalidNetworkInterfaceIdMalformed(base.About):
    """Raised for text that cannot be the id of a network interface."""

    code = "InvalidNetworkInterfaceId.Malformed"
    sentence = 'Invalid id: "{}" (expecting "eni-...")'


class InvalidSecurityGroupRuleIdNotFound(base.Absent):
    """Raised when the account has no security group rule of that id."""

    code = "InvalidSecurityGroupRuleId.NotFound"
    one, many = (
        "The security group rule ID '{}' does not exist",
        "The security group rule IDs '{}' do not exist",
    )


class InvalidSecurityGroupRuleIdMalformed(base.About):
    """Raised for text that cannot be the id of a security group rule."""

    code = "InvalidSecurityGroupRuleId.Malformed"
    sentence = 'Invalid id: "{}" (expecting "sgr-...")'


class InvalidGroupNotFound(base.Absent):
    """Raised when the account has no security group of that id or name."""

    code = "InvalidGroup.NotFound"
    one, many = "The security group '{}' does not exist", "The security groups '{}' do not exist"

    @classmethod
    def named(cls, name: str, vpc_id: str) -> InvalidGroupNotFound:
        """Say it of a name, which counts within a VPC."""
        error = cls(name)
        error.message = f"{error.message} in default VPC '{vpc_id}'"
        error.args = (error.message,)
        return error


class InvalidGroupIdMalformed(base.About):
    """Raised for text that cannot be the id of a security group."""

    code = "InvalidGroupId.Malformed"
    sentence = 'Invalid id: "{}" (expecting "sg-...")'


class AttachmentLimitExceeded(base.EC2Error):
    """Raised when an instance is asked for with more network interfaces than it can have."""

    def __init__(self, count: int, instance_type: str) -> None:
        super().__init__(f"Interface count {count} exceeds the limit for {instance_type}")
