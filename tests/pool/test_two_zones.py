# SPDX-License-Identifier: Apache-2.0
"""Two availability zones: a second startd on the pool's one machine, which is in another zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from private_cloud import Cloud, until, wait_until_nothing_is_left

if TYPE_CHECKING:
    from collections.abc import Iterator

ZONE = "condor-b"
# https://htcondor.readthedocs.io/en/latest/admin-manual/ep-policy-configuration.html: a daemon
# with a local name has settings of its own under that name.
SECOND_STARTD = f"""
DAEMON_LIST = $(DAEMON_LIST) STARTD_B
DC_DAEMON_LIST = +STARTD_B
STARTD_B = $(STARTD)
STARTD_B_ARGS = -f -local-name STARTD_B
STARTD_B.STARTD_NAME = second
STARTD_B.STARTD_LOG = $(LOG)/StartdLog.second
STARTD_B.STARTER_LOG = $(LOG)/StarterLog.second
STARTD_B.STARTD_ADDRESS_FILE = $(LOG)/.startd_address.second
STARTD_B.EXECUTE = /var/lib/condor/execute-second
STARTD_B.MAXJOBRETIREMENTTIME = 3600
STARTD_B.CONDOR_CLOUD_ZONE = {ZONE}
"""
FILE = "/etc/condor/config.d/95-second-zone.conf"


def run(cloud: Cloud, *command: str) -> str:
    done = cloud.inside(*command)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def second_zone(cloud: Cloud) -> Iterator[None]:
    run(cloud, "install", "-d", "-o", "condor", "-g", "condor", "/var/lib/condor/execute-second")
    run(cloud, "sh", "-c", f"cat > {FILE} <<'END'{SECOND_STARTD}END")
    run(cloud, "condor_reconfig", "-daemon", "master")
    try:
        yield
    finally:
        leave(cloud)


def leave(cloud: Cloud) -> None:
    """Take the second startd away, as an administrator does."""
    if len(cloud.pool_processes("condor_startd")) == 1:
        return
    run(cloud, "condor_off", "-fast", "-daemon", "STARTD_B")
    run(cloud, "rm", "-f", FILE)
    run(cloud, "condor_reconfig", "-daemon", "master")
    until("the second startd's end", lambda: len(cloud.pool_processes("condor_startd")) == 1)


def zones(ec2: Any) -> dict[str, str]:
    found = ec2.describe_availability_zones()["AvailabilityZones"]
    return {zone["ZoneName"]: zone["State"] for zone in found}


def launch(cloud: Cloud, ec2: Any, **where: object) -> str:
    image = cloud.environment["DEMO_AMI"]
    launched = ec2.run_instances(
        ImageId=image, InstanceType="small", MinCount=1, MaxCount=1, **where
    )
    return str(launched["Instances"][0]["InstanceId"])


def described(ec2: Any, instance_id: str) -> dict[str, Any]:
    [reservation] = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    found: dict[str, Any] = reservation["Instances"][0]
    return found


def machine_of(cloud: Cloud, instance_id: str) -> str:
    """Return the name of the startd that runs an instance."""
    query = ["-constraint", f'CondorCloudInstanceId == "{instance_id}"', "-af", "RemoteHost"]
    return run(cloud, "condor_q", "-allusers", *query).strip().partition("@")[2]


def events(ec2: Any, instance_id: str) -> list[dict[str, Any]]:
    [status] = ec2.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"]
    found: list[dict[str, Any]] = status["Events"]
    return found


def test_an_instance_runs_in_the_zone_that_was_asked_for(
    cloud: Cloud, ec2: Any, second_zone: None
) -> None:
    with pytest.raises(ClientError, match=r"Invalid availability zone: \[condor-z\]"):
        launch(cloud, ec2, Placement={"AvailabilityZone": "condor-z"})
    both = {"condor-a": "available", ZONE: "available"}
    until("the second zone", lambda: zones(ec2) == both)
    [subnet] = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": [ZONE]}])[
        "Subnets"
    ]
    asked = {"condor-a": {"Placement": {"AvailabilityZone": "condor-a"}}}
    asked[ZONE] = {"SubnetId": subnet["SubnetId"]}
    launched = {zone: launch(cloud, ec2, **where) for zone, where in asked.items()}
    for zone, name in launched.items():
        until("its start", lambda name=name: described(ec2, name)["State"]["Name"] == "running")
        assert machine_of(cloud, name).startswith("second@") is (zone == ZONE)
        assert described(ec2, name)["Placement"]["AvailabilityZone"] == zone
    assert described(ec2, launched[ZONE])["SubnetId"] == subnet["SubnetId"]

    # The two startds are on one machine: a slot's name tells which is meant.
    startd = f"slot1@{machine_of(cloud, launched[ZONE])}"
    run(cloud, "condor_drain", "-graceful", "-reason", "new memory", startd)
    until("the event", lambda: events(ec2, launched[ZONE]))
    [event] = events(ec2, launched[ZONE])
    assert event["Code"] == "instance-retirement"
    assert event["Description"] == "The instance's node is being drained: new memory"
    assert event["NotBefore"] > datetime.now(UTC) + timedelta(minutes=10)
    assert events(ec2, launched["condor-a"]) == []
    run(cloud, "condor_drain", "-cancel", startd)
    until("the end of the event", lambda: not events(ec2, launched[ZONE]))
    assert described(ec2, launched[ZONE])["State"]["Name"] == "running"
    ec2.terminate_instances(InstanceIds=list(launched.values()))
    wait_until_nothing_is_left(cloud)

    leave(cloud)
    until("the zone without nodes", lambda: zones(ec2).get(ZONE) == "unavailable")
    waits = launch(cloud, ec2, Placement={"AvailabilityZone": ZONE})
    until(
        "why it waits",
        lambda: (
            described(ec2, waits)["StateReason"]["Message"]
            == f"pending: No node in the zone {ZONE} takes instances now"
        ),
    )
    ec2.terminate_instances(InstanceIds=[waits])
    wait_until_nothing_is_left(cloud)
