# SPDX-License-Identifier: Apache-2.0
"""What the reconciler asks of a scheduler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

# HTCondor's JobStatus: https://htcondor.readthedocs.io/en/latest/codes-other-values/job-status-codes.html
IDLE, RUNNING, REMOVED, COMPLETED, HELD = 1, 2, 3, 4, 5


class SchedulerError(Exception):
    """The scheduler refused or could not be reached; nothing is known to have happened."""


class CallTimeoutError(SchedulerError):
    """A call took longer than its limit and was given up: it may or may not take effect."""


@dataclass(frozen=True)
class Zoning:
    """The zone of a launch: whether it has to run there, and whether nodes that name none do.

    Where it does not have to, a node of the zone comes first among equals.
    """

    name: str
    required: bool
    default: bool


@dataclass(frozen=True)
class LaunchRequest:
    """One cluster: the instances of a reservation that start together.

    ``gateway_id`` tells this database's jobs from those of another gateway on the same pool.
    ``disk_bytes`` is the size of each instance's disk, all of which a guest may write.
    """

    gateway_id: str
    reservation_id: str
    account_id: str
    image_sha256: str
    vcpus: int
    memory_mib: int
    run: int
    architecture: str
    instance_ids: tuple[str, ...]
    disk_bytes: int = 0
    home: str | None = None
    """the host that has the instances' disks; None where they are yet to be made"""
    uefi: bool = False
    """whether the node must be able to boot by UEFI"""
    zone: Zoning | None = None
    priority: int = 0
    """HTCondor's JobPrio: of two instances that wait, the one with more gets the room"""


@dataclass(frozen=True)
class Job:
    """A job of ours in the queue.

    ``slot`` is the one that runs it; ``startd_began`` when the startd began that gave it (seconds
    since 1970, the node's clock).
    """

    cluster: int
    proc: int
    instance_id: str
    run: int
    status: int
    hold_reason: str | None = None
    slot: str | None = None
    startd_began: int | None = None


@dataclass(frozen=True)
class Drain:
    """That a node is being drained: since when, until when jobs may stay (seconds since 1970)."""

    since: float
    until: float
    reason: str


@dataclass(frozen=True)
class NodeSize:
    """The most that one node of the pool can give to one instance, and what of it is free now.

    ``name`` is unique in the pool. ``host`` is what the node calls itself, which is how an instance
    knows the node of its disk; ``zone`` what it says of its availability zone. One that is being
    drained takes no instance. ``began`` is when its startd began (seconds since 1970, its clock).
    """

    name: str
    cpus: int
    memory_mib: int
    disk_mib: int
    free_cpus: int = 0
    free_memory_mib: int = 0
    free_disk_mib: int = 0
    host: str | None = None
    uefi: bool = False
    """whether it has the firmware to boot by UEFI"""
    zone: str | None = None
    drain: Drain | None = None
    began: int | None = None


@dataclass(frozen=True)
class CacheReport:
    """A node's image cache: its images by SHA-256, bytes, and what it has done since it was made.

    A launch that found its image there, or waited for another's download, is a hit.
    """

    images: tuple[str, ...]
    size: int
    limit: int
    hits: int
    misses: int
    evictions: int
    downloaded_bytes: int
    download_seconds: float


@dataclass(frozen=True)
class NodeReport:
    """What a machine of the pool tells of itself, whether or not it can run instances.

    ``accepts`` is None where the machine says nothing of instances: it is no node of ours.
    ``ahead`` is by how many seconds its clock is ahead of the collector's.
    """

    name: str
    accepts: bool | None
    partitionable: bool
    problem: str | None
    virt_type: str | None
    version: str | None
    cpus: int
    memory_mib: int
    ahead: float | None
    cache: CacheReport | None = None


class Scheduler(Protocol):
    """The queue and the pool. Every method may raise :class:`SchedulerError`."""

    def submit(self, request: LaunchRequest) -> int:
        """Submit one cluster with a proc for each instance, in their order; return its number."""

    def remove(self, jobs: list[tuple[int, int]], reason: str, *, nowhere: bool = False) -> None:
        """Remove these (cluster, proc); those that are no longer there are no error.

        ``nowhere``: it is known that no node runs them, so the queue need not wait for one to
        say so.
        """

    def jobs(self, gateway_id: str | None = None, reservation_id: str | None = None) -> list[Job]:
        """Return the instances' jobs in the queue: all, one gateway's, one reservation's."""

    def nodes(self) -> list[NodeSize]:
        """Return the pool's nodes that can run instances."""

    def machines(self) -> list[NodeReport]:
        """Return every machine of the pool with what it tells of itself."""

    def hurry(self) -> None:
        """Ask for a match for what is idle now; without it, HTCondor's own interval decides."""

    def close(self) -> None:
        """End what the scheduler keeps running."""
