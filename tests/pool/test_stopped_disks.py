# SPDX-License-Identifier: Apache-2.0
"""Disks of stopped machines in the store: what one node has stopped, another one starts.

The second node is on the pool's one machine, with namespaces that give it another name and
configuration: a startd and a listener of its own, and a directory for disks and images.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from private_cloud import Cloud, until, wait_until_nothing_is_left
from vm import domain_efi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIRST, SECOND = "condor-cloud", "second"
HOMES = {FIRST: "/var/lib/condor-cloud-node", SECOND: "/var/lib/condor-cloud-second"}
WRITE = "#!/bin/sh\necho {} >/data/marker; sync\necho marked $(cat /data/marker)\n"
READ = "#!/bin/sh\necho found $(cat /data/marker)\n"
FILE = "/etc/condor/config.d/95-second-node.conf"
# condor_master starts this in a daemon's place.
AS_SECOND = """#!/bin/sh
[ "$1" = inside ] || exec unshare --mount --uts "$0" inside "$@"
shift
hostname second
mount --bind /etc/condor-cloud-second /etc/condor-cloud
exec "$@"
"""
LISTEN = """#!/bin/sh
exec 2>>/var/log/condor/listen-second.out
exec /usr/bin/as-second /usr/bin/condor-cloud-listen
"""
CONFIGURATION = """
DAEMON_LIST = $(DAEMON_LIST) STARTD_B LISTEN_B
DC_DAEMON_LIST = +STARTD_B
STARTD_B = /usr/bin/as-second
STARTD_B_ARGS = $(STARTD) -f -local-name STARTD_B
STARTD_B.STARTD_NAME = second
STARTD_B.STARTD_LOG = $(LOG)/StartdLog.second
STARTD_B.STARTER_LOG = $(LOG)/StarterLog.second
STARTD_B.STARTD_ADDRESS_FILE = $(LOG)/.startd_address.second
STARTD_B.EXECUTE = /var/lib/condor/execute-second
LISTEN_B = /usr/bin/listen-second
"""
# One node's sweep does not know the other's guests, which are libvirt's too.
SWEEP = "CONDOR_CLOUD_SWEEP"
PREPARE = f"""
set -e
install -d -o condor -g condor /var/lib/condor/execute-second
install -d -o condor-cloud -g condor-cloud {HOMES[SECOND]}
for part in cache instances; do
    install -d -m 2755 -o condor-cloud -g libvirt-qemu {HOMES[SECOND]}/$part
    chmod --reference={HOMES[FIRST]}/$part {HOMES[SECOND]}/$part
    chown --reference={HOMES[FIRST]}/$part {HOMES[SECOND]}/$part
done
cp -a /etc/condor-cloud/. /etc/condor-cloud-second
echo 'state_dir = "{HOMES[SECOND]}"' >> /etc/condor-cloud-second/node.toml
printf %s "$1" > /etc/condor-cloud-second/node.token
printf %s "$2" > /usr/bin/as-second
printf %s "$4" > /usr/bin/listen-second
chmod 755 /usr/bin/as-second /usr/bin/listen-second
printf %s "$3" > {FILE}
"""


def run(cloud: Cloud, *command: str) -> str:
    done = cloud.inside(*command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def of_node(cloud: Cloud, *words: str) -> str:
    """Run `condor-cloud node`; return what it prints."""
    command = [sys.executable, "-m", "gateway.cli", "node", *words]
    variables = os.environ | cloud.variables
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def in_store(cloud: Cloud) -> Iterator[None]:
    """Let the gateway keep stopped disks in the store."""
    cloud.variables["CONDOR_CLOUD_STOPPED_DISKS"] = "store"
    cloud.restart()
    try:
        yield
    finally:
        del cloud.variables["CONDOR_CLOUD_STOPPED_DISKS"]
        cloud.restart()


@pytest.fixture
def second_node(cloud: Cloud, in_store: None) -> Iterator[None]:
    token = of_node(cloud, "add", SECOND).strip()
    run(cloud, "sh", "-c", PREPARE, "sh", token, AS_SECOND, CONFIGURATION, LISTEN)
    run(cloud, "condor_reconfig", "-daemon", "master")
    run(cloud, "condor_off", "-fast", "-daemon", SWEEP)
    until("the end of the sweep", lambda: not cloud.pool_processes("condor-cloud-sweep"))
    until("the second node", lambda: set(slots(cloud)) == {FIRST, SECOND})
    try:
        yield
    finally:
        for daemon in ("STARTD_B", "LISTEN_B"):
            run(cloud, "condor_off", "-fast", "-daemon", daemon)
        run(cloud, "rm", "-f", FILE)
        run(cloud, "condor_reconfig", "-daemon", "master")
        run(cloud, "condor_on", "-daemon", SWEEP)
        of_node(cloud, "revoke", SECOND)
    # The address of an instance whose disk a node has no more is the sweep's to release.
    wait_until_nothing_is_left(cloud)


def slots(cloud: Cloud) -> dict[str, str]:
    """Return the nodes and their slots that are divided."""
    query = ["-constraint", "PartitionableSlot", "-af", "CondorCloudNodeName", "Name"]
    lines = run(cloud, "condor_status", *query).splitlines()
    return dict(line.split() for line in lines if not line.startswith("undefined"))


def node_of(cloud: Cloud, instance_id: str) -> str:
    """Return the node whose startd runs an instance."""
    query = ["-constraint", f'CondorCloudInstanceId == "{instance_id}"', "-af", "RemoteHost"]
    machine = run(cloud, "condor_q", "-allusers", *query).strip().partition("@")[2]
    [node] = [name for name, slot in slots(cloud).items() if slot.endswith(f"slot1@{machine}")]
    return node


def has_disk(cloud: Cloud, node: str, instance_id: str) -> bool:
    return cloud.inside("test", "-e", f"{HOMES[node]}/instances/{instance_id}").returncode == 0


def stored(cloud: Cloud) -> set[str]:
    return {path.name for path in (cloud.state / "images").iterdir() if len(path.name) == 64}


def console(ec2: Any, instance_id: str) -> str:
    return str(ec2.get_console_output(InstanceId=instance_id, Latest=True).get("Output", ""))


def said(ec2: Any, instance_id: str, word: str) -> str:
    """Return the rest of the first line with a word on an instance's console."""

    def found() -> str:
        lines = console(ec2, instance_id).splitlines()
        return next((line.partition(word)[2] for line in lines if word in line), "")

    return until(word, found)


def state(ec2: Any, instance_id: str) -> str:
    [reservation] = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    return str(reservation["Instances"][0]["State"]["Name"])


def become(ec2: Any, instance_id: str, wanted: str) -> None:
    until(wanted, lambda: state(ec2, instance_id) == wanted)


def launch(ec2: Any, image: str, **more: str) -> str:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, **more)
    return str(launched["Instances"][0]["InstanceId"])


def read(ec2: Any, image: str) -> str:
    """Return what a machine of an image finds in its file; both are at their end then."""
    ec2.get_waiter("image_available").wait(
        ImageIds=[image], WaiterConfig={"Delay": 1, "MaxAttempts": 90}
    )
    reader = launch(ec2, image, InstanceType="small", UserData=READ)
    found = said(ec2, reader, "found ")
    ec2.deregister_image(ImageId=image)
    ec2.terminate_instances(InstanceIds=[reader])
    return found


def kill(cloud: Cloud) -> None:
    """Kill whoever takes part in bringing a disk into the store."""
    os.kill(cloud.service("gateway.serve", "nodelink"), signal.SIGKILL)
    os.kill(cloud.service("gateway.imagestore.importer"), signal.SIGKILL)
    for pid in cloud.pool_processes("condor-cloud-listen"):
        os.kill(pid, signal.SIGKILL)


def test_what_one_node_has_stopped_another_one_starts_with_its_files(
    cloud: Cloud, second_node: None, ec2: Any
) -> None:
    image = cloud.environment["DEMO_AMI"]
    before = stored(cloud)
    marker = str(uuid4())
    machine = launch(ec2, image, InstanceType="small", UserData=WRITE.format(marker))
    assert said(ec2, machine, "marked ") == marker
    key = said(ec2, machine, "ssh-ed25519 ")
    one = node_of(cloud, machine)
    other = SECOND if one == FIRST else FIRST
    ec2.stop_instances(InstanceIds=[machine])
    become(ec2, machine, "stopped")
    kill(cloud)
    until("the disk's removal", lambda: not has_disk(cloud, one, machine))
    [disk] = stored(cloud) - before

    # Neither node has the disk, and an image is made of it all the same.
    parked = ec2.create_image(InstanceId=machine, Name=str(uuid4()))["ImageId"]
    os.kill(cloud.service("gateway.imagestore.importer"), signal.SIGKILL)
    assert read(ec2, parked) == marker
    until("the end of that image", lambda: stored(cloud) - before == {disk})

    run(cloud, "condor_drain", "-graceful", slots(cloud)[one])
    ec2.start_instances(InstanceIds=[machine])
    become(ec2, machine, "running")
    assert node_of(cloud, machine) == other
    assert said(ec2, machine, "ssh-ed25519 ") == key
    until("its word", lambda: "user-data ran before" in console(ec2, machine))
    until("the end of what was stored", lambda: disk not in stored(cloud))
    run(cloud, "condor_drain", "-cancel", slots(cloud)[one])

    # The file itself, as another machine reads it from an image of this disk.
    copied = ec2.create_image(InstanceId=machine, Name=str(uuid4()), NoReboot=True)["ImageId"]
    assert read(ec2, copied) == marker
    until("the end of that image", lambda: not stored(cloud) - before)
    ec2.stop_instances(InstanceIds=[machine])
    become(ec2, machine, "stopped")
    until("the disk's removal", lambda: not has_disk(cloud, other, machine))
    assert len(stored(cloud) - before) == 1
    ec2.terminate_instances(InstanceIds=[machine])
    until("the end of what was stored", lambda: not stored(cloud) - before)
    assert not has_disk(cloud, one, machine)


def test_the_firmwares_variables_are_stored_with_the_disk(
    cloud: Cloud, in_store: None, ec2: Any, cloud_readable: Path
) -> None:
    disk = cloud_readable / "efi.raw"
    disk.write_bytes(domain_efi.disk())
    image = ec2.register_image(Name=str(uuid4()), ImageLocation=str(disk), BootMode="uefi")
    ec2.get_waiter("image_available").wait(
        ImageIds=[image["ImageId"]], WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    machine = launch(ec2, image["ImageId"])
    forgot, remembered = (
        word.decode().strip() for word in (domain_efi.FORGOT, domain_efi.REMEMBERED)
    )
    until("its first boot", lambda: forgot in console(ec2, machine))
    ec2.stop_instances(InstanceIds=[machine], Force=True)
    become(ec2, machine, "stopped")
    until("the disk's removal", lambda: not has_disk(cloud, FIRST, machine))
    ec2.start_instances(InstanceIds=[machine])
    until("its second boot", lambda: remembered in console(ec2, machine))
    ec2.terminate_instances(InstanceIds=[machine])
    ec2.deregister_image(ImageId=image["ImageId"])
    wait_until_nothing_is_left(cloud)
