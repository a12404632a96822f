# SPDX-License-Identifier: Apache-2.0
"""A machine's power: it boots anew on the same disk with the same address."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from private_cloud import (
    Cloud,
    client,
    domains,
    left_behind,
    until,
    wait_until_nothing_is_left,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


KEPT = {"addresses", "leases"}


@pytest.fixture(scope="module")
def booted(cloud: Cloud) -> Iterator[str]:
    """An instance that can be logged into; every test leaves it so."""
    ec2 = client(cloud)
    launched = ec2.run_instances(
        ImageId=cloud.environment["DEMO_AMI"], InstanceType="small", MinCount=1, MaxCount=1
    )
    instance_id = str(launched["Instances"][0]["InstanceId"])
    until("the login line", lambda: "login:" in console(ec2, instance_id))
    yield instance_id
    ec2.terminate_instances(InstanceIds=[instance_id])
    wait_until_nothing_is_left(cloud)


def console(ec2: Any, instance_id: str) -> str:
    return str(ec2.get_console_output(InstanceId=instance_id, Latest=True).get("Output", ""))


def logins(ec2: Any, instance_id: str) -> int:
    return console(ec2, instance_id).count(f"{instance_id} login:")


def host_keys(ec2: Any, instance_id: str) -> set[str]:
    """Return the SSH host keys that the guest has told: it makes one when its disk has none."""
    text = console(ec2, instance_id)
    return {line for line in text.splitlines() if line.startswith("ssh-ed25519 ")}


def wait(ec2: Any, waiter: str, instance_id: str) -> None:
    ec2.get_waiter(waiter).wait(
        InstanceIds=[instance_id], WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )


def disks(cloud: Cloud) -> list[str]:
    """Return the instances whose disks the node has."""
    found = (cloud.state / "pool" / "node" / "instances").glob("*/overlay.qcow2")
    return sorted(path.parent.name for path in found)


def described(ec2: Any, instance_id: str) -> dict[str, Any]:
    [reservation] = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    found: dict[str, Any] = reservation["Instances"][0]
    return found


def test_a_reboot_boots_once_more_with_the_same_disk_and_address(ec2: Any, booted: str) -> None:
    before = described(ec2, booted)
    ec2.reboot_instances(InstanceIds=[booted])
    until("the second login line", lambda: logins(ec2, booted) == 2)
    after = described(ec2, booted)
    assert after["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert after["State"]["Name"] == "running"
    assert len(host_keys(ec2, booted)) == 1
    assert console(ec2, booted).count(f"address {before['PrivateIpAddress']}") == 2


def test_a_stopped_machine_starts_with_its_disk_and_its_addresses(
    cloud: Cloud, ec2: Any, booted: str
) -> None:
    before = described(ec2, booted)
    keys = host_keys(ec2, booted)
    stopping = ec2.stop_instances(InstanceIds=[booted])["StoppingInstances"][0]
    assert stopping["CurrentState"] == {"Code": 64, "Name": "stopping"}
    assert stopping["PreviousState"]["Name"] == "running"
    wait(ec2, "instance_stopped", booted)
    stopped = described(ec2, booted)
    assert stopped["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert stopped["StateTransitionReason"].startswith("User initiated (20")
    assert disks(cloud) == [booted]
    # A sweep comes by every 10 s; what it leaves of a stopped instance is its disk and address.
    until("nothing but the disk", lambda: left_behind(cloud).keys() <= {"directories", *KEPT})

    text = console(ec2, booted)
    ec2.start_instances(InstanceIds=[booted])
    wait(ec2, "instance_running", booted)
    wait(ec2, "instance_status_ok", booted)
    wait(ec2, "system_status_ok", booted)
    # The console begins anew with the run.
    until("the login line", lambda: "login:" in (new := console(ec2, booted)) and new != text)
    after = described(ec2, booted)
    assert after["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert after["LaunchTime"] > before["LaunchTime"]
    assert after["StateTransitionReason"] == ""
    assert host_keys(ec2, booted) == keys


def kill_reconciler(cloud: Cloud) -> None:
    """Kill it without warning; `condor-cloud run` starts another one."""

    def killed() -> bool:
        try:
            os.kill(cloud.service("gateway.reconcile"), signal.SIGKILL)
        except (AssertionError, ProcessLookupError):
            return False  # the next one is not there yet
        return True

    until("a reconciler to kill", killed)


def test_a_reconciler_killed_in_a_stop_and_in_a_start_costs_neither_disk_nor_job(
    cloud: Cloud, ec2: Any, booted: str
) -> None:
    keys = host_keys(ec2, booted)
    ec2.stop_instances(InstanceIds=[booted])
    kill_reconciler(cloud)
    wait(ec2, "instance_stopped", booted)
    assert disks(cloud) == [booted]
    text = console(ec2, booted)
    ec2.start_instances(InstanceIds=[booted])
    kill_reconciler(cloud)  # it was woken for the start
    wait(ec2, "instance_running", booted)
    until("the login line", lambda: "login:" in (new := console(ec2, booted)) and new != text)
    assert host_keys(ec2, booted) == keys, "another disk"
    query = ["-constraint", f'CondorCloudInstanceId == "{booted}"', "-af", "CondorCloudRun"]
    jobs = cloud.inside("condor_q", "-allusers", *query).stdout.split()
    assert len(jobs) == 1, jobs
    assert domains(cloud) == [booted]


def test_a_guest_that_ignores_its_power_button_is_stopped_all_the_same(
    cloud: Cloud, ec2: Any
) -> None:
    launched = ec2.run_instances(
        ImageId=cloud.environment["DEMO_AMI"],
        InstanceType="small",
        MinCount=1,
        MaxCount=1,
        UserData="#!/bin/sh\nkillall acpid\necho it is deaf\n",
    )
    instance_id = launched["Instances"][0]["InstanceId"]
    until("the script", lambda: "it is deaf" in console(ec2, instance_id))
    ec2.stop_instances(InstanceIds=[instance_id])
    wait(ec2, "instance_stopped", instance_id)
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert described(ec2, instance_id)["State"]["Name"] == "terminated"
    until("the sweep of its disk", lambda: instance_id not in disks(cloud))


def test_a_guest_that_powers_off_is_stopped(cloud: Cloud, ec2: Any) -> None:
    launched = ec2.run_instances(
        ImageId=cloud.environment["DEMO_AMI"],
        InstanceType="small",
        MinCount=1,
        MaxCount=1,
        UserData="#!/bin/sh\npoweroff\n",
    )
    instance_id = launched["Instances"][0]["InstanceId"]
    until("its end", lambda: described(ec2, instance_id)["State"]["Name"] == "stopped")
    reason = described(ec2, instance_id)["StateReason"]
    assert reason["Code"] == "Client.InstanceInitiatedShutdown"
    ec2.terminate_instances(InstanceIds=[instance_id])
