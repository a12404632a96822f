# SPDX-License-Identifier: Apache-2.0
"""DescribeNetworkInterfaces: those that instances have; there are no others."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from gateway.cloud import ids, networks
from gateway.cloud.errors import NotFound, unknown
from gateway.ec2 import filters, pages, places
from gateway.ec2.dispatch import Result, action
from gateway.ec2.interface_document import FILTERS, describe
from gateway.store.instances import select_described, select_ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.ec2.context import Context
    from gateway.store.instances import Instance


@action(harmless={"IncludeManagedResources": "no other service manages network interfaces here"})
def describe_network_interfaces(
    ctx: Context,
    *,
    NetworkInterfaceIds: Sequence[str] = (),
    Filters: Sequence[Mapping[str, Any]] = (),
    MaxResults: int | None = None,
    NextToken: str | None = None,
) -> Result:
    """Describe the network interfaces of the account's instances, in the instances' order."""
    pages.refuse_with_ids("networkInterfaceIds", NetworkInterfaceIds, MaxResults)
    wanted = filters.Filters(Filters, FILTERS, tagged=True)
    query = ["DescribeNetworkInterfaces", ctx.account_id, NetworkInterfaceIds, Filters]
    page = pages.Page(query, MaxResults, NextToken)
    if NetworkInterfaceIds:
        having: Iterable[Instance] = _named(ctx, NetworkInterfaceIds)
    else:
        batches = select_described(
            ctx.db,
            ctx.account_id,
            terminated_after=ctx.now,
            after=places.read(page.after),
            among=wanted.exact("attachment.instance-id"),
        )
        having = chain.from_iterable(batches)
    passing = (one for one in having if one.state != "terminated" and wanted.match(one))
    found, next_token = page.cut(passing, places.write)
    return {"NetworkInterfaces": [describe(one) for one in found], "NextToken": next_token}


def _named(ctx: Context, interface_ids: Sequence[str]) -> list[Instance]:
    ids.check("network interface", interface_ids)
    named = dict.fromkeys(networks.instance_id(one) for one in interface_ids)
    found = [one for one in select_ids(ctx.db, ctx.account_id, named) if one.state != "terminated"]
    there = [networks.interface_id(one.id) for one in found]
    if missing := unknown(interface_ids, there):
        raise NotFound("network interface", *missing)
    return found
