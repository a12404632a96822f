# SPDX-License-Identifier: Apache-2.0
"""What EC2 has and there is none of here: these answer whatever id is asked for."""

from __future__ import annotations

from gateway.errors import base


class InvalidAllocationIDNotFound(base.Absent):
    """Raised when the allocation of a public address is asked for."""

    code = "InvalidAllocationID.NotFound"
    one = "The allocation ID '{}' does not exist"
    many = "The allocation IDs '{}' do not exist"


class InvalidAddressNotFound(base.Absent):
    """Raised when a public address is asked for."""

    code = "InvalidAddress.NotFound"
    one = many = "Address '{}' not found."


class InvalidVpnGatewayIDNotFound(base.Absent):
    """Raised when a virtual private gateway is asked for."""

    code = "InvalidVpnGatewayID.NotFound"
    one = "The vpnGateway ID '{}' does not exist"
    many = "The vpnGateway IDs '{}' do not exist"


class InvalidCustomerGatewayIDNotFound(base.Absent):
    """Raised when a customer gateway is asked for."""

    code = "InvalidCustomerGatewayID.NotFound"
    one = "The customerGateway ID '{}' does not exist"
    many = "The customerGateway IDs '{}' do not exist"


class NatGatewayNotFound(base.Absent):
    """Raised when a NAT gateway is asked for."""

    one = many = "NAT gateway {} was not found"


class InvalidVpcPeeringConnectionIDNotFound(base.Absent):
    """Raised when a VPC peering connection is asked for."""

    code = "InvalidVpcPeeringConnectionID.NotFound"
    one = "The vpcPeeringConnection ID '{}' does not exist"
    many = "The vpcPeeringConnection IDs '{}' do not exist"


class InvalidPrefixListIDNotFound(base.Absent):
    """Raised when a prefix list is asked for."""

    code = "InvalidPrefixListID.NotFound"
    one = "The prefix list ID '{}' does not exist"
    many = "The prefix list IDs '{}' do not exist"


class InvalidSpotInstanceRequestIDNotFound(base.Absent):
    """Raised when a request for a spot instance is asked for."""

    code = "InvalidSpotInstanceRequestID.NotFound"
    one = "The spot instance request ID '{}' does not exist"
    many = "The spot instance request IDs '{}' do not exist"


class InvalidReservedInstancesId(base.Absent):
    """Raised when a reserved instance is asked for."""

    one = many = "The ID '{}' of a Reserved Instance does not exist."


class InvalidCapacityReservationIdNotFound(base.Absent):
    """Raised when a capacity reservation is asked for."""

    code = "InvalidCapacityReservationId.NotFound"
    one = many = "The capacity reservation ID '{}' does not exist."


class InvalidPlacementGroupUnknown(base.Absent):
    """Raised when a placement group, by name or id is asked for."""

    code = "InvalidPlacementGroup.Unknown"
    one = many = "The placement group '{}' is unknown."


class InvalidLaunchTemplateIdNotFound(base.Absent):
    """Raised when a launch template, by id is asked for."""

    code = "InvalidLaunchTemplateId.NotFound"
    one = many = "The specified launch template, with template ID {}, does not exist."


class InvalidLaunchTemplateNameNotFoundException(base.Absent):
    """Raised when a launch template, by name is asked for."""

    code = "InvalidLaunchTemplateName.NotFoundException"
    one = many = "The specified launch template, with template name {}, does not exist."


class InvalidEgressOnlyInternetGatewayIdNotFound(base.Absent):
    """Raised when an egress-only internet gateway is asked for."""

    code = "InvalidEgressOnlyInternetGatewayId.NotFound"
    one = "The egressOnlyInternetGateway ID '{}' does not exist"
    many = "The egressOnlyInternetGateway IDs '{}' do not exist"


class InvalidHostIDNotFound(base.Absent):
    """Raised when a dedicated host is asked for."""

    code = "InvalidHostID.NotFound"
    one = "The host ID '{}' does not exist"
    many = "The host IDs '{}' do not exist"


class InvalidAssociationIDNotFound(base.Absent):
    """Raised when the association of an instance with an instance profile is asked for."""

    code = "InvalidAssociationID.NotFound"
    one = "The association ID '{}' does not exist"
    many = "The association IDs '{}' do not exist"


class InvalidVpcEndpointIdNotFound(base.Absent):
    """Raised when a VPC endpoint is asked for."""

    code = "InvalidVpcEndpointId.NotFound"
    one = "The vpcEndpoint ID '{}' does not exist"
    many = "The vpcEndpoint IDs '{}' do not exist"


class InvalidCustomerGatewayIdMalformed(base.About):
    """Raised for text that cannot be the id of a customer gateway."""

    code = "InvalidCustomerGatewayId.Malformed"
    sentence = 'Invalid id: "{}" (expecting "cgw-...")'


class NatGatewayMalformed(base.About):
    """Raised for text that cannot be the id of a NAT gateway."""

    sentence = 'Invalid id: "{}" (expecting "nat-...")'


class InvalidVpcPeeringConnectionIdMalformed(base.About):
    """Raised for text that cannot be the id of a VPC peering connection."""

    code = "InvalidVpcPeeringConnectionId.Malformed"
    sentence = 'Invalid id: "{}" (expecting "pcx-...")'


class InvalidPrefixListIdMalformed(base.About):
    """Raised for text that cannot be the id of a prefix list."""

    code = "InvalidPrefixListId.Malformed"
    sentence = 'Invalid id: "{}" (expecting "pl-...")'


class InvalidSpotInstanceRequestIDMalformed(base.About):
    """Raised for text that cannot be the id of a request for a spot instance."""

    code = "InvalidSpotInstanceRequestID.Malformed"
    sentence = 'Invalid id: "{}" (expecting "sir-...")'


class InvalidCapacityReservationIdMalformed(base.About):
    """Raised for text that cannot be the id of a capacity reservation."""

    code = "InvalidCapacityReservationId.Malformed"
    sentence = 'Invalid id: "{}" (expecting "cr-...")'


class InvalidPlacementGroupIdMalformed(base.About):
    """Raised for text that cannot be the id of a placement group."""

    code = "InvalidPlacementGroupId.Malformed"
    sentence = 'Invalid id: "{}" (expecting "pg-...")'


class InvalidLaunchTemplateIdMalformed(base.About):
    """Raised for text that cannot be the id of a launch template."""

    code = "InvalidLaunchTemplateId.Malformed"
    sentence = 'Invalid id: "{}" (expecting "lt-...")'


class InvalidEgressOnlyInternetGatewayIdMalformed(base.About):
    """Raised for text that cannot be the id of an egress-only internet gateway."""

    code = "InvalidEgressOnlyInternetGatewayId.Malformed"
    sentence = 'Invalid id: "{}" (expecting "eigw-...")'


class InvalidHostIDMalformed(base.About):
    """Raised for text that cannot be the id of a dedicated host."""

    code = "InvalidHostID.Malformed"
    sentence = 'Invalid id: "{}" (expecting "h-...")'


class InvalidVpcEndpointIdMalformed(base.About):
    """Raised for text that cannot be the id of a VPC endpoint."""

    code = "InvalidVpcEndpointId.Malformed"
    sentence = 'Invalid id: "{}" (expecting "vpce-...")'
