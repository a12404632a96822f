# SPDX-License-Identifier: Apache-2.0
"""Why an instance is still pending, in terms of the pool: pure, from nodes to sentences."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.cloud import boot_modes
from gateway.cloud.states import Reason
from gateway.scheduler.submit import MEMORY_OVERHEAD_MIB, disk_kib
from gateway.store.machines import Machine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.scheduler.protocol import NodeSize
    from gateway.store.instances import Instance

LONGEST_REASON = 255
SHORT = "Server.InsufficientInstanceCapacity"


def machine(node: NodeSize, now: datetime) -> Machine:
    """Return what is to be remembered of a node; its drain's end counts while it is to come."""
    seen = Machine(node.name, node.host, node.zone, now)
    if node.drain is None:
        return seen
    since, until = (datetime.fromtimestamp(at, UTC) for at in (node.drain.since, node.drain.until))
    return seen._replace(
        up=False,
        drained_since=since,
        drained_by=until if until > now else None,
        drain_reason=node.drain.reason[:LONGEST_REASON],
    )


def in_vain(instance: Instance, nodes: Sequence[NodeSize]) -> Reason | None:
    """Return why no node can ever hold the instance; None where one can, or none is known."""
    candidates = _candidates(instance, nodes)
    if candidates and not any(_boots(node, instance) for node in candidates):
        return Reason(SHORT, f"{SHORT}: {_no_firmware(candidates)}")
    candidates = [node for node in candidates if _boots(node, instance)]
    if not candidates or any(_holds(node, instance) for node in candidates):
        return None
    large = [node for node in candidates if _has_processor(node, instance)]
    if large:
        most = max(node.disk_mib for node in large)
        return Reason(
            SHORT,
            f"{SHORT}: No node{_where(instance)} has room for a disk of {_disk(instance)} MiB; the"
            f" most that one of {len(candidates)} gives to instances is {most} MiB",
        )
    largest = max(candidates, key=lambda node: (node.memory_mib, node.cpus))
    return Reason(
        SHORT,
        f"{SHORT}: No node{_where(instance)} is large enough for {_need(instance)}; the largest of"
        f" {len(candidates)} has {largest.cpus} CPUs and {largest.memory_mib} MiB",
    )


def too_long(instance: Instance, nodes: Sequence[NodeSize]) -> Reason:
    """Return why an instance is given up that has waited for as long as it may."""
    return Reason(SHORT, f"{SHORT}: {_sentence(instance, nodes)}")


def helped(instance: Instance) -> Reason:
    """Return what an instance waits for that gets the room of interrupted spot instances."""
    told = f"Spot instances are interrupted to make room for {_need(instance)}"
    return Reason("pending", f"pending: {told}")


def waiting(instance: Instance, nodes: Sequence[NodeSize]) -> Reason:
    """Return what an instance waits for that may yet find a node."""
    return Reason("pending", f"pending: {_sentence(instance, nodes)}")


def large_enough(instance: Instance, nodes: Sequence[NodeSize]) -> list[NodeSize]:
    """Return the nodes that could run the instance if nothing else were on them."""
    return [
        node
        for node in _candidates(instance, nodes)
        if node.drain is None and _boots(node, instance) and _holds(node, instance)
    ]


def needs(instance: Instance) -> tuple[int, int, int]:
    """Return what an instance takes on its node: CPUs, MiB of memory, MiB of disk."""
    return instance.vcpus, _memory(instance), _disk(instance)


def _sentence(instance: Instance, nodes: Sequence[NodeSize]) -> str:
    there = _candidates(instance, nodes)
    candidates = [node for node in there if node.drain is None]
    if not candidates:
        return _nowhere(instance, drained=bool(there))
    if not any(_boots(node, instance) for node in there):
        return _no_firmware(there)
    fitting = [node for node in candidates if _boots(node, instance) and _holds(node, instance)]
    if not fitting:
        return f"Every node{_where(instance)} that could hold it is being drained"
    free = [node for node in fitting if _has_room(node, instance)]
    if free:
        where = _where(instance)
        return (
            f"Waiting for HTCondor to match it; {len(free)} of {len(nodes)} nodes have room{where}"
        )
    most = max(fitting, key=lambda node: (node.free_memory_mib, node.free_cpus))
    where = (
        f"No node{_where(instance)} has"
        if instance.home is None
        else f"The node {instance.home} has not"
    )
    return (
        f"{where} room now for {_need(instance)}: {len(fitting)} of {len(nodes)} nodes are large"
        f" enough, and the most that is free on one is {most.free_cpus} CPUs and"
        f" {most.free_memory_mib} MiB, with {most.free_disk_mib} MiB of disk"
    )


def _nowhere(instance: Instance, *, drained: bool) -> str:
    if instance.home is None:
        return f"No node{_where(instance) or ' of the pool'} takes instances now"
    what = "is being drained" if drained else "is not in the pool now"
    return f"The node {instance.home}, which has the instance's disk, {what}"


def _candidates(instance: Instance, nodes: Sequence[NodeSize]) -> list[NodeSize]:
    if instance.home is not None:
        return [node for node in nodes if node.host == instance.home]
    zone = instance.availability_zone
    return [node for node in nodes if not instance.zone_required or node.zone == zone]


def _where(instance: Instance) -> str:
    """Return where a node is looked for, if that was asked for."""
    return f" in the zone {instance.availability_zone}" if instance.zone_required else ""


def _boots(node: NodeSize, instance: Instance) -> bool:
    wanted = boot_modes.current(instance.boot_mode, instance.architecture)
    return node.uefi or wanted != boot_modes.UEFI


def _no_firmware(candidates: Sequence[NodeSize]) -> str:
    return f"The image boots by UEFI, and none of {len(candidates)} nodes has the firmware for it"


def _has_processor(node: NodeSize, instance: Instance) -> bool:
    return node.cpus >= instance.vcpus and node.memory_mib >= _memory(instance)


def _holds(node: NodeSize, instance: Instance) -> bool:
    return _has_processor(node, instance) and node.disk_mib >= _disk(instance)


def _has_room(node: NodeSize, instance: Instance) -> bool:
    return (
        node.free_cpus >= instance.vcpus
        and node.free_memory_mib >= _memory(instance)
        and node.free_disk_mib >= _disk(instance)
    )


def _memory(instance: Instance) -> int:
    return instance.memory_mib + MEMORY_OVERHEAD_MIB


def _disk(instance: Instance) -> int:
    return disk_kib(instance.disk_bytes or 0) // 1024


def _need(instance: Instance) -> str:
    return (
        f"{instance.instance_type} ({instance.vcpus} CPUs, {_memory(instance)} MiB with the"
        " machine's own need)"
    )
