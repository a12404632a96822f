# SPDX-License-Identifier: Apache-2.0
"""HTCondor as a client: grid-universe jobs of the private pool that are machines at its endpoint.

The pool's own access point is where the jobs are submitted; its gridmanager and ec2_gahp, as Debian
has them, sign for `http://127.0.0.1:PORT/` and know nothing of whose machine they run on.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from private_cloud import Cloud

LIMIT = 90.0
# HTCondor's JobStatus
IDLE, RUNNING, HELD = 1, 2, 5
# The account of the pool's root that may submit jobs and is not root, which may not.
OWNER = "condor-cloud"
UNKNOWN = "ami-0123456789abcdef0"
# Asking for the machines' states once a minute and talking to the queue every 5 s is right for
# thousands of jobs, and long for a test. Read by each gridmanager as it starts.
CONFIGURATION = """
GRIDMANAGER_JOB_PROBE_INTERVAL = 1
GRIDMANAGER_CONTACT_SCHEDD_DELAY = 2
"""


class Submitter:
    """A user of the pool's access point, with an EC2 access key in two files."""

    def __init__(self, cloud: Cloud, endpoint: str, image: str) -> None:
        self.cloud = cloud
        self.endpoint = endpoint
        self.image = image
        self.home = f"/tmp/gahp-{uuid4()}"  # noqa: S108 - the pool's own, and a name of its own
        self.clusters: list[int] = []

    def path(self, name: str) -> Path:
        """Return where a file of the pool's root is to be found from here."""
        return Path(f"/proc/{self.cloud.pool_init()}/root{name}")

    def write(self, files: dict[str, str]) -> None:
        self.path(self.home).mkdir(mode=0o700, exist_ok=True)
        for name, text in files.items():
            self.path(f"{self.home}/{name}").write_text(text)
        self.cloud.inside("chown", "-R", f"{OWNER}:", self.home)

    def run(self, *command: str) -> str:
        identity = (f"--reuid={OWNER}", f"--regid={OWNER}", "--init-groups")
        done = self.cloud.inside("setpriv", *identity, *command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, **given: str) -> int:
        """Submit one job that is a machine; return its cluster."""
        words = {
            "universe": "grid",
            "grid_resource": f"ec2 {self.endpoint}/",
            "executable": "a-machine",
            "transfer_executable": "false",
            "ec2_access_key_id": f"{self.home}/access-key-id",
            "ec2_secret_access_key": f"{self.home}/secret-access-key",
            "ec2_ami_id": self.image,
            "ec2_instance_type": "small",
            "log": f"{self.home}/job.log",
            **given,
        }
        lines = [f"{name} = {value}\n" for name, value in words.items()]
        self.write({"job.sub": "".join([*lines, "queue\n"])})
        said = self.run("condor_submit", "-terse", f"{self.home}/job.sub")
        self.clusters.append(int(said.partition(".")[0]))
        return self.clusters[-1]

    def job(self, cluster: int) -> dict[str, Any]:
        """Return the job's ad; empty when it has left the queue."""
        asked = self.cloud.inside("condor_q", str(cluster), "-json")
        assert asked.returncode == 0, asked.stderr
        found: dict[str, Any] = json.loads(asked.stdout)[0] if asked.stdout.strip() else {}
        return found

    def in_state(self, cluster: int, state: int) -> dict[str, Any]:
        """Return the job's ad if it is in ``state``, else nothing."""
        found = self.job(cluster)
        assert state == HELD or found["JobStatus"] != HELD, found["HoldReason"]
        return found if found["JobStatus"] == state else {}

    def remove(self, *clusters: int) -> None:
        """Remove jobs and wait until HTCondor has made sure of the end of their machines."""
        present = [str(cluster) for cluster in clusters if self.job(cluster)]
        if present:
            self.run("condor_rm", *present)
        until("the jobs' end", lambda: not any(self.job(cluster) for cluster in clusters))


def until(what: str, ready: Callable[[], Any]) -> Any:
    limit = time.monotonic() + LIMIT
    while not (value := ready()):
        assert time.monotonic() < limit, f"{what} did not come within {LIMIT} s"
        time.sleep(0.1)
    return value


@pytest.fixture(scope="module")
def submitter(
    request: pytest.FixtureRequest, ec2_environment: dict[str, str]
) -> Iterator[Submitter]:
    if "EC2_ENDPOINT" in os.environ:
        pytest.skip("the jobs need a private pool to be submitted to, and EC2_ENDPOINT has none")
    cloud: Cloud = request.getfixturevalue("cloud")
    user = Submitter(cloud, ec2_environment["AWS_ENDPOINT_URL"], ec2_environment["DEMO_AMI"])
    user.path("/etc/condor/config.d/99-test-gridmanager.conf").write_text(CONFIGURATION)
    user.write(
        {
            "access-key-id": ec2_environment["AWS_ACCESS_KEY_ID"],
            "secret-access-key": ec2_environment["AWS_SECRET_ACCESS_KEY"],
            "another-secret": "not" * 12,
            "user-data": "#!/bin/sh\necho gahp-says $((6 * 7))\n",
        }
    )
    yield user
    user.remove(*user.clusters)
    cloud.inside("rm", "-rf", user.home)


def instances(ec2: Any, filter_name: str, value: str) -> list[dict[str, Any]]:
    asked = ec2.describe_instances(Filters=[{"Name": filter_name, "Values": [value]}])
    return [instance for group in asked["Reservations"] for instance in group["Instances"]]


@pytest.fixture(scope="module")
def submitted(submitter: Submitter) -> dict[str, int]:
    """Clusters of jobs by what is special about them; HTCondor takes its time over each alike."""
    return {
        "good": submitter.submit(
            ec2_keypair_file=f"{submitter.home}/key.pem",
            ec2_tag_names="Name, Purpose",
            ec2_tag_Name="a job of HTCondor's",
            ec2_tag_Purpose="1 & 2 = 3?",
            ec2_user_data_file=f"{submitter.home}/user-data",
        ),
        "unknown image": submitter.submit(ec2_ami_id=UNKNOWN),
        "wrong key": submitter.submit(ec2_secret_access_key=f"{submitter.home}/another-secret"),
    }


def test_a_grid_job_is_a_machine_until_it_is_removed(
    submitter: Submitter, submitted: dict[str, int], ec2: Any, tmp_path: Path
) -> None:
    cluster = submitted["good"]
    job = until("the running job", lambda: submitter.in_state(cluster, RUNNING))
    # What the server says of itself decides whether HTCondor trusts its client tokens.
    assert job["EC2ServerType"] == "Amazon"
    assert job["GridJobStatus"] == "running"
    instance_id = job["EC2InstanceName"]
    token = job["GridJobId"].split()[2]
    [instance] = instances(ec2, "instance-id", instance_id)
    assert instance["State"]["Name"] == "running"
    assert instance["ClientToken"] == token
    assert instance["KeyName"] == job["EC2KeyPair"]
    # HTCondor's name for an instance without a name in public DNS is none at all.
    assert job.get("EC2RemoteVirtualMachineName", "") == instance["PublicDnsName"]
    tags = until("the tags", lambda: instances(ec2, "instance-id", instance_id)[0].get("Tags"))
    assert {tag["Key"]: tag["Value"] for tag in tags} == {
        "Name": "a job of HTCondor's",
        "Purpose": "1 & 2 = 3?",
    }

    def console() -> str:
        output: str = ec2.get_console_output(InstanceId=instance_id, Latest=True).get("Output", "")
        return output

    until("the guest's line", lambda: "gahp-says 42" in console())
    key_file = tmp_path / "key.pem"
    key_file.touch(mode=0o600)
    key_file.write_text(submitter.path(f"{submitter.home}/key.pem").read_text())
    host = f"root@{instance['PrivateIpAddress']}"
    assert until("SSH", lambda: hostname(host, key_file)) == instance_id

    submitter.remove(cluster)
    ec2.get_waiter("instance_terminated").wait(
        InstanceIds=[instance_id], WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    [instance] = instances(ec2, "instance-id", instance_id)
    assert instance["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    names = [pair["KeyName"] for pair in ec2.describe_key_pairs()["KeyPairs"]]
    assert job["EC2KeyPair"] not in names


def hostname(host: str, key_file: Path) -> str:
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=5")
    words = [word for option in options for word in ("-o", option)]
    command = ["ssh", "-q", "-i", str(key_file), *words, host, "hostname"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.strip()


def test_a_refused_job_is_held_and_says_why(
    submitter: Submitter, submitted: dict[str, int], ec2: Any
) -> None:
    unknown = until("the hold", lambda: submitter.in_state(submitted["unknown image"], HELD))
    assert "<Code>InvalidAMIID.NotFound</Code>" in unknown["HoldReason"]
    assert f"The image id '[{UNKNOWN}]' does not exist" in unknown["HoldReason"]
    wrong = until("the hold", lambda: submitter.in_state(submitted["wrong key"], HELD))
    assert wrong["HoldReason"].startswith("Failed to authenticate")
    assert "<Code>AuthFailure</Code>" in wrong["HoldReason"]
    assert not instances(ec2, "image-id", UNKNOWN)


def test_a_job_whose_machine_waits_for_a_node_is_not_held(submitter: Submitter) -> None:
    negotiators = submitter.cloud.pool_processes("condor_negotiator")
    for one in negotiators:
        os.kill(one, signal.SIGSTOP)
    try:
        cluster = submitter.submit()

        def waiting() -> bool:
            return submitter.in_state(cluster, IDLE).get("GridJobStatus") == "pending"

        until("the waiting machine", waiting)
    finally:
        for one in negotiators:
            os.kill(one, signal.SIGCONT)
    until("the running job", lambda: submitter.in_state(cluster, RUNNING))
    submitter.remove(cluster)


def test_a_gridmanager_killed_during_a_launch_makes_no_second_machine(
    submitter: Submitter, ec2: Any
) -> None:
    cluster = submitter.submit()
    grid_id = until("the client token", lambda: submitter.job(cluster).get("GridJobId"))
    token = grid_id.split()[2]
    killed = submitter.cloud.pool_processes("condor_gridmanager")
    [first] = until("the instance", lambda: instances(ec2, "client-token", token))
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert len(killed) == 1
    # It had launched and not yet told the queue: its successor has the token alone to go by.
    assert submitter.job(cluster)["GridJobId"] == grid_id
    job = until("the running job", lambda: submitter.in_state(cluster, RUNNING))
    assert job["EC2InstanceName"] == first["InstanceId"]
    assert job["GridJobId"] == f"{grid_id} {first['InstanceId']}"
    found = instances(ec2, "client-token", token)
    assert [instance["InstanceId"] for instance in found] == [first["InstanceId"]]
