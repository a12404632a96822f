# SPDX-License-Identifier: Apache-2.0
"""Anything may be killed in the middle of launches: none is lost, doubled or left behind."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from private_cloud import Cloud, domains, until, wait_until_nothing_is_left

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


SEED = 20261122
LAUNCHES = 5
LIMIT = 90.0
# How many instances may end with a victim; all others' deaths are survived by every instance.
ALIVE = {"pending", "running"}
COSTS = {"supervisor": 1, "starter": 1, "startd": 5}

VICTIMS: dict[str, Callable[[Cloud], list[int]]] = {
    "gateway": lambda cloud: [cloud.service("gateway.serve", "ec2")],
    "node link": lambda cloud: [cloud.service("gateway.serve", "nodelink")],
    "reconciler": lambda cloud: [cloud.service("gateway.reconcile")],
    "schedd": lambda cloud: cloud.pool_processes("condor_schedd"),
    "startd": lambda cloud: cloud.pool_processes("condor_startd"),
    "libvirtd": lambda cloud: cloud.pool_processes("libvirtd"),
    "supervisor": lambda cloud: cloud.pool_processes("condor-cloud-supervisor")[:1],
    "starter": lambda cloud: cloud.pool_processes("condor_starter")[:1],
}


def described(ec2: Any, ids: list[str]) -> dict[str, dict[str, Any]]:
    reservations = ec2.describe_instances(InstanceIds=ids)["Reservations"]
    return {
        instance["InstanceId"]: instance
        for reservation in reservations
        for instance in reservation["Instances"]
    }


def everything(ec2: Any) -> list[str]:
    """Return the ids of all instances that are described."""
    pages = ec2.get_paginator("describe_instances").paginate()
    return [
        instance["InstanceId"]
        for page in pages
        for reservation in page["Reservations"]
        for instance in reservation["Instances"]
    ]


@pytest.fixture(autouse=True)
def leave_nothing(cloud: Cloud, ec2: Any) -> Iterator[None]:
    """End what a test that failed has left, so that the next one starts from nothing."""
    yield
    if left := [name for name, state in states(ec2, everything(ec2)).items() if state in ALIVE]:
        ec2.terminate_instances(InstanceIds=left)
        wait_until_nothing_is_left(cloud)


@pytest.mark.parametrize("victim", VICTIMS)
def test_launches_survive_the_death_of_anything(cloud: Cloud, ec2: Any, victim: str) -> None:
    chance = random.Random(f"{SEED} {victim}")  # noqa: S311 - repeatable, not secret
    image = cloud.environment["DEMO_AMI"]
    before = set(everything(ec2))
    ids: list[str] = []

    def launch() -> None:
        for _ in range(LAUNCHES):
            # boto3 retries with the same client token when the connection breaks.
            launched = ec2.run_instances(
                ImageId=image, InstanceType="small", MinCount=1, MaxCount=1
            )
            ids.append(launched["Instances"][0]["InstanceId"])

    launching = threading.Thread(target=launch)
    launching.start()
    # Somewhere between the first call and the last domain's start.
    time.sleep(chance.uniform(0.0, 2.0))
    until(f"the death of a {victim}", lambda: killed(VICTIMS[victim](cloud)))
    launching.join(LIMIT)
    assert len(set(ids)) == LAUNCHES

    until("one domain for each running instance and no other", lambda: agree(cloud, ec2, ids))

    ended = {
        name: one.get("StateReason", {}).get("Message", "")
        for name, one in described(ec2, ids).items()
        if one["State"]["Name"] == "terminated"
    }
    assert len(ended) <= COSTS.get(victim, 0), f"ended for somebody else's death: {ended}"
    assert all(ended.values()), f"ended without a reason: {ended}"

    assert set(everything(ec2)) - before == set(ids), "a launch was doubled or lost"
    ec2.terminate_instances(InstanceIds=ids)
    until(
        "every instance's end",
        lambda: {one["State"]["Name"] for one in described(ec2, ids).values()} == {"terminated"},
    )
    wait_until_nothing_is_left(cloud)


def test_a_starter_killed_while_the_startd_hangs_leaves_no_job_for_its_lease(
    cloud: Cloud, ec2: Any
) -> None:
    image = cloud.environment["DEMO_AMI"]
    launched = ec2.run_instances(ImageId=image, InstanceType="small", MinCount=1, MaxCount=1)
    ids = [launched["Instances"][0]["InstanceId"]]
    until("one domain", lambda: agree(cloud, ec2, ids))
    [startd] = cloud.pool_processes("condor_startd")
    shadow_log = cloud.state / "pool" / "log" / "ShadowLog"
    told = shadow_log.stat().st_size
    os.kill(startd, signal.SIGSTOP)
    try:
        # The first search for the starter is to fail, and the next to find no such job.
        killed(cloud.pool_processes("condor_starter"))
        until("the search", lambda: b"locate disconnected" in shadow_log.read_bytes()[told:])
    finally:
        os.kill(startd, signal.SIGCONT)
    until("its end", lambda: set(states(ec2, ids).values()) == {"terminated"})
    assert described(ec2, ids)[ids[0]]["StateReason"]["Message"]
    wait_until_nothing_is_left(cloud)


def killed(pids: list[int]) -> bool:
    """Kill the processes; tell whether there was one."""
    found = False
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            found = True
    return found


def agree(cloud: Cloud, ec2: Any, ids: list[str]) -> bool:
    """Return whether every instance runs or has ended, and exactly those that run have a guest."""
    before = states(ec2, ids)
    if not set(before.values()) <= {"running", "terminated"}:
        return False
    count = Counter(domains(cloud))
    running = {name for name, state in before.items() if state == "running"}
    return set(count) == running and set(count.values()) <= {1} and states(ec2, ids) == before


def states(ec2: Any, ids: list[str]) -> dict[str, str]:
    if not ids:
        return {}
    return {name: one["State"]["Name"] for name, one in described(ec2, ids).items()}


def test_a_hung_schedd_holds_up_nobody_and_doubles_nothing(cloud: Cloud, ec2: Any) -> None:
    [schedd] = cloud.pool_processes("condor_schedd")
    os.kill(schedd, signal.SIGSTOP)
    try:
        launched = ec2.run_instances(
            ImageId=cloud.environment["DEMO_AMI"], InstanceType="small", MinCount=2, MaxCount=2
        )
        ids = [instance["InstanceId"] for instance in launched["Instances"]]
        assert {one["State"]["Name"] for one in described(ec2, ids).values()} == {"pending"}
        log = cloud.state / "log" / "reconciler.log"
        told = log.stat().st_size
        until("the call to be given up", lambda: b"did not answer" in log.read_bytes()[told:])
    finally:
        os.kill(schedd, signal.SIGCONT)
    until("one domain for each instance", lambda: agree(cloud, ec2, ids))
    assert set(states(ec2, ids).values()) == {"running"}
    ec2.terminate_instances(InstanceIds=ids)
    wait_until_nothing_is_left(cloud)
