# SPDX-License-Identifier: Apache-2.0
"""Jobs whose startd is gone and has a successor: pure, from what the pool shows.

A startd's starters, and their guests, end with it. Its successor does not know the sessions of its
claims, so that HTCondor's shadow is refused when it asks for its starter, and keeps the job for the
rest of its lease (HTCondor 23.9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.scheduler.protocol import RUNNING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.scheduler.protocol import Job, NodeSize


def bereft(jobs: Iterable[Job], nodes: Iterable[NodeSize]) -> list[Job]:
    """Return the jobs that run, by the queue, on a startd that began after they were given to it.

    Both times are of the node's own clock. A startd of which nothing is known has no successor yet.
    """
    began = {_startd(node.name): node.began for node in nodes if node.began is not None}
    return [
        job
        for job in jobs
        if job.status == RUNNING
        and job.slot is not None
        and job.startd_began is not None
        and began.get(_startd(job.slot), job.startd_began) > job.startd_began
    ]


def _startd(slot: str) -> str:
    """Return the name of a slot's startd: ``slot1_2@NAME`` is a part of ``slot1@NAME``."""
    return slot.partition("@")[2]
