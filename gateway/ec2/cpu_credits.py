# SPDX-License-Identifier: Apache-2.0
"""DescribeInstanceCreditSpecifications: no type of instance earns or spends CPU credits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import instances
from gateway.ec2 import filters, pages
from gateway.ec2.dispatch import Result, action

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.ec2.context import Context
    from gateway.ec2.filters import Value
    from gateway.store.instances import Instance

FILTERS: dict[str, Callable[[Instance], Value]] = {"instance-id": lambda instance: instance.id}


@action()
def describe_instance_credit_specifications(
    ctx: Context,
    *,
    InstanceIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Say ``standard`` of named instances, as EC2 says it of types without credits.

    Without names EC2 describes the instances that have unlimited credits: none.
    """
    pages.refuse_with_ids("instanceIds", InstanceIds, MaxResults)
    wanted = filters.Filters(Filters, FILTERS)
    query = ["DescribeInstanceCreditSpecifications", ctx.account_id, InstanceIds, Filters]
    pages.Page(query, MaxResults, NextToken)
    named = instances.find(ctx.db, ctx.account_id, InstanceIds, ctx.terminated_after)
    return {
        "InstanceCreditSpecifications": [
            {"InstanceId": one.id, "CpuCredits": "standard"} for one in named if wanted.match(one)
        ]
    }
