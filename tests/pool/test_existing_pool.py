# SPDX-License-Identifier: Apache-2.0
"""A gateway without a pool of its own uses one that is there, as docs/howto/existing-pool.md says.

The pool is the session's; its node is given to the other gateway for the time of the test.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from private_cloud import Cloud, client, settings_for, start, until, wait_until_nothing_is_left

if TYPE_CHECKING:
    from collections.abc import Iterator

NODE = "node7.example.org"


def condor_cloud(variables: dict[str, str], *words: str) -> Any:
    """Run one of the gateway's commands; what it prints is JSON."""
    command = [sys.executable, "-m", "gateway.cli", *words, "--json"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def gateway(cloud: Cloud, tmp_path: Path) -> Iterator[Cloud]:
    """A gateway with the session's pool as an existing one, and that pool's node."""
    state = tmp_path / "state"
    state.mkdir()
    variables = settings_for(state, os.getpid() % 5000)
    variables |= {
        "CONDOR_CLOUD_POOL": f"127.0.0.1:{cloud.variables['CONDOR_CLOUD_POOL_PORT']}",
        "CONDOR_CLOUD_TOKEN_DIR": str(cloud.state / "pool" / "share" / "tokens"),
        "CONDOR_CLOUD_EVENT_LOG": str(cloud.state / "pool" / "log" / "EventLog"),
        "CONDOR_CLOUD_GUEST_NETWORK": cloud.variables["CONDOR_CLOUD_POOL_NETWORK"],
    }
    made = Cloud(start(state, variables), state, variables, cloud.bridge)
    of_node = Path(f"/proc/{cloud.pool_init()}/root/etc/condor-cloud")
    files = {name: of_node / name for name in ("node.toml", "node.token", "nodelink-ca.pem")}
    before = {name: file.read_text() for name, file in files.items()}
    try:
        admitted = condor_cloud(variables, "node", "add", NODE)
        old, new = (each.variables["CONDOR_CLOUD_NODELINK_PORT"] for each in (cloud, made))
        files["node.token"].write_text(admitted["token"])
        files["nodelink-ca.pem"].write_text(Path(admitted["certificate"]).read_text())
        files["node.toml"].write_text(before["node.toml"].replace(f":{old}", f":{new}"))
        yield made
    finally:
        for name, text in before.items():
            files[name].write_text(text)
        made.process.send_signal(signal.SIGINT)
        made.process.wait(60)


def test_a_machine_lives_and_ends_in_a_pool_that_is_there_already(
    cloud: Cloud, gateway: Cloud
) -> None:
    assert condor_cloud(gateway.variables, "doctor")["failed"] == 0
    ec2 = client(gateway)
    launched = ec2.run_instances(
        ImageId=gateway.environment["DEMO_AMI"], InstanceType="small", MinCount=1, MaxCount=1
    )
    instance_id = launched["Instances"][0]["InstanceId"]

    def state() -> str:
        [reservation] = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
        return str(reservation["Instances"][0]["State"]["Name"])

    def console() -> str:
        return str(ec2.get_console_output(InstanceId=instance_id, Latest=True).get("Output", ""))

    until("its start", lambda: state() == "running")
    until("its login", lambda: f"{instance_id} login:" in console())
    with pytest.raises(ClientError, match=r"InvalidInstanceID\.NotFound"):
        client(cloud).describe_instances(InstanceIds=[instance_id])
    ec2.terminate_instances(InstanceIds=[instance_id])
    until("its end", lambda: state() == "terminated")
    wait_until_nothing_is_left(cloud)
