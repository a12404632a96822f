# SPDX-License-Identifier: Apache-2.0
"""StopInstances, StartInstances, RebootInstances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import power
from gateway.ec2.dispatch import Result, action
from gateway.ec2.instance_document import state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.cloud.instances import Change
    from gateway.ec2.context import Context


@action(writes=True, only={"Hibernate": False})
def stop_instances(
    ctx: Context, *, InstanceIds: Sequence[str], Force: bool = False, SkipOsShutdown: bool = False
) -> Result:
    """Shut guests down, of all the named instances or none; disks and addresses are kept."""
    done = power.stop(
        ctx.db,
        ctx.account_id,
        InstanceIds,
        ctx.now,
        ctx.terminated_after,
        grace=ctx.settings.shutdown_grace,
        force=Force or SkipOsShutdown,
    )
    ctx.wakes.add("nodelink")
    return {"StoppingInstances": state_changes(done)}


@action(writes=True)
def start_instances(ctx: Context, *, InstanceIds: Sequence[str]) -> Result:
    """Start all of the named instances or none, each on the node that has its disk."""
    done = power.start(
        ctx.db, ctx.account_id, InstanceIds, ctx.now, ctx.terminated_after, limits=ctx.limits
    )
    ctx.wakes.add("reconciler")
    return {"StartingInstances": state_changes(done)}


@action(writes=True)
def reboot_instances(ctx: Context, *, InstanceIds: Sequence[str]) -> Result:
    """Boot guests anew, of all the named instances or none; disk and address stay."""
    power.reboot(
        ctx.db,
        ctx.account_id,
        InstanceIds,
        ctx.now,
        ctx.terminated_after,
        grace=ctx.settings.shutdown_grace,
    )
    ctx.wakes.add("nodelink")
    return {}


def state_changes(done: Sequence[Change]) -> list[dict[str, Any]]:
    """Return EC2's list of what a request did to instances."""
    return [
        {
            "InstanceId": one.instance_id,
            "CurrentState": state(one.after),
            "PreviousState": state(one.before),
        }
        for one in done
    ]
