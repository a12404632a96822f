# SPDX-License-Identifier: Apache-2.0
"""A scheduler without a pool: keeps its queue in memory, and refuses or loses what it is told to.

For the tests of the reconciler, and the other half of the tests that describe a scheduler.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gateway.scheduler.protocol import (
    IDLE,
    RUNNING,
    CallTimeoutError,
    Job,
    LaunchRequest,
    NodeReport,
    NodeSize,
    SchedulerError,
)


@dataclass
class FakeScheduler:
    """Honours :class:`~gateway.scheduler.protocol.Scheduler`.

    ``refusing`` makes every submission an error; ``losing`` lets that many submissions take
    effect and their answers get lost. What is ``waiting_for_a_node`` stays in the queue when it is
    removed, as a job does whose shadow hopes to reach the node again.
    """

    node_sizes: list[NodeSize] = field(default_factory=list)
    refusing: bool = False
    losing: int = 0
    submissions: list[LaunchRequest] = field(default_factory=list)
    removals: list[tuple[int, int]] = field(default_factory=list)
    hurries: int = 0
    reports: list[NodeReport] = field(default_factory=list)
    waiting_for_a_node: set[tuple[int, int]] = field(default_factory=set)
    _queue: dict[tuple[int, int], tuple[LaunchRequest, Job]] = field(default_factory=dict)

    def submit(self, request: LaunchRequest) -> int:
        """Put the instances into the queue, idle."""
        if self.refusing:
            raise SchedulerError("the schedd says no")
        self.submissions.append(request)
        cluster = len(self.submissions)
        for proc, instance_id in enumerate(request.instance_ids):
            job = Job(cluster, proc, instance_id, request.run, IDLE)
            self._queue[cluster, proc] = (request, job)
        if self.losing:
            self.losing -= 1
            raise CallTimeoutError("the answer is lost")
        return cluster

    def remove(self, jobs: list[tuple[int, int]], reason: str, *, nowhere: bool = False) -> None:
        """Take the jobs out of the queue, but for those that it keeps until told ``nowhere``."""
        if not reason:
            raise SchedulerError("a removal has a reason")
        self.removals += jobs
        for job in jobs:
            if nowhere or job not in self.waiting_for_a_node:
                self._queue.pop(job, None)

    def begin(
        self, cluster: int, proc: int, *, slot: str | None = None, startd_began: int | None = None
    ) -> None:
        """Let a node run one of the jobs."""
        request, job = self._queue[cluster, proc]
        begun = replace(job, status=RUNNING, slot=slot, startd_began=startd_began)
        self._queue[cluster, proc] = (request, begun)

    def jobs(self, gateway_id: str | None = None, reservation_id: str | None = None) -> list[Job]:
        """Return what is in the queue."""
        return [
            job
            for request, job in self._queue.values()
            if gateway_id in {None, request.gateway_id}
            and reservation_id in {None, request.reservation_id}
        ]

    def nodes(self) -> list[NodeSize]:
        """Return the nodes that it was given."""
        return self.node_sizes

    def machines(self) -> list[NodeReport]:
        """Return the reports that it was given."""
        return self.reports

    def hurry(self) -> None:
        """Count the call."""
        self.hurries += 1

    def close(self) -> None:
        """Keep the queue: a real one outlives its callers, too."""
