# SPDX-License-Identifier: Apache-2.0
"""DescribeAccountAttributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cloud import networks, quotas
from gateway.ec2.dispatch import Result, action
from gateway.errors import InvalidParameterValue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.ec2.context import Context


@action()
def describe_account_attributes(ctx: Context, *, AttributeNames: Sequence[str] = ()) -> Result:
    """Describe what the account may have."""
    limits = quotas.current(ctx.db, ctx.account_id, ctx.settings)
    attributes = {
        "supported-platforms": "VPC",
        "default-vpc": networks.of(ctx.account_id).vpc,
        "max-instances": str(limits["instances"]),
        "max-elastic-ips": "0",
        "vpc-max-elastic-ips": "0",
        "vpc-max-security-groups-per-interface": "1",
    }
    for name in AttributeNames:
        if name not in attributes:
            raise InvalidParameterValue.of("attributeName", name, "")
    return {
        "AccountAttributes": [
            {"AttributeName": name, "AttributeValues": [{"AttributeValue": value}]}
            for name, value in attributes.items()
            if not AttributeNames or name in AttributeNames
        ]
    }
