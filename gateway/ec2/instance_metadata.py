# SPDX-License-Identifier: Apache-2.0
"""ModifyInstanceMetadataOptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cloud import metadata
from gateway.ec2 import metadata_options
from gateway.ec2.dispatch import Result, action

if TYPE_CHECKING:
    from gateway.ec2.context import Context


@action(writes=True, only={"HttpProtocolIpv6": "disabled"})
def modify_instance_metadata_options(
    ctx: Context,
    *,
    InstanceId: str,
    HttpTokens: str | None = None,
    HttpPutResponseHopLimit: int | None = None,
    HttpEndpoint: str | None = None,
    InstanceMetadataTags: str | None = None,
) -> Result:
    """Change how an instance's guest may read its metadata; pending until its node has it."""
    options = metadata.Options(
        HttpEndpoint, HttpTokens, HttpPutResponseHopLimit, InstanceMetadataTags
    )
    changed = metadata.modify(
        ctx.db,
        ctx.account_id,
        InstanceId,
        options,
        now=ctx.now,
        terminated_after=ctx.terminated_after,
    )
    ctx.wakes.add("nodelink")
    return {
        "InstanceId": InstanceId,
        "InstanceMetadataOptions": metadata_options.describe(changed),
    }
