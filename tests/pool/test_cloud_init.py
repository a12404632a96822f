# SPDX-License-Identifier: Apache-2.0
"""A stock Debian with cloud-init takes this cloud for EC2 and does what it is told."""

from __future__ import annotations

import gzip
import json
import subprocess
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from private_cloud import Cloud, client, until, wait_until_nothing_is_left

from gateway.config import Settings
from tools import cloud_image

if TYPE_CHECKING:
    from collections.abc import Iterator

GIB = 2**30
# An emulated processor on a busy machine takes its time.
BOOT_LIMIT = 600.0
# One kind of host key: prime numbers take long on an emulated processor.
CONFIG = """#cloud-config
ssh_genkeytypes: [ed25519]
write_files:
- path: /var/lib/told/by-config
  content: written
runcmd:
- echo ran >>/var/lib/told/by-command
"""
SCRIPT = "#!/bin/sh\necho ran >>/var/lib/told/by-script\n"
LATER = "#!/bin/sh\necho ran >>/var/lib/told/by-later-script\n"


def packed(*parts: tuple[str, str]) -> bytes:
    """Return user data of several parts, as ``cloud-init devel make-mime`` and gzip make them."""
    whole = MIMEMultipart()
    for kind, text in parts:
        whole.attach(MIMEText(text, kind))
    return gzip.compress(whole.as_bytes())


class Guest:
    """A Debian guest, looked at by its console and by SSH as Debian's user."""

    def __init__(self, cloud: Cloud, ec2: Any, instance_id: str) -> None:
        self.id = instance_id
        self._cloud = cloud
        self._ec2 = ec2

    def described(self) -> dict[str, Any]:
        [reservation] = self._ec2.describe_instances(InstanceIds=[self.id])["Reservations"]
        found: dict[str, Any] = reservation["Instances"][0]
        return found

    def await_state(self, state: str) -> None:
        until(state, lambda: self.described()["State"]["Name"] == state, 120)

    def console(self) -> str:
        return str(self._ec2.get_console_output(InstanceId=self.id, Latest=True).get("Output", ""))

    def await_end_of_boot(self) -> None:
        """Wait for cloud-init's last line of a boot."""
        try:
            until("cloud-init's end", lambda: " finished at " in self.console(), BOOT_LIMIT)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.console()[-4000:]}") from error

    def run(self, command: str) -> str:
        """Run a command; its output, whatever its exit status."""
        options = ["-F", "none", "-i", str(self._cloud.state / "demo.pem")]
        for option in (
            *("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"),
            *("BatchMode=yes", "ConnectTimeout=60"),
        ):
            options += ["-o", option]
        address = self.described()["PrivateIpAddress"]
        done = subprocess.run(
            ["ssh", *options, f"debian@{address}", command],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode != 255, done.stderr
        return done.stdout

    def told(self) -> dict[str, str]:
        """Return what the user data has left, by file."""
        lines = self.run("cd /var/lib/told && grep . *").splitlines()
        found: dict[str, list[str]] = {}
        for name, _, text in (line.partition(":") for line in lines):
            found.setdefault(name, []).append(text)
        return {name: "\n".join(texts) for name, texts in found.items()}


@pytest.fixture(scope="module")
def guest(cloud: Cloud) -> Iterator[Guest]:
    """A guest after its first boot, launched with all that cloud-init may be told."""
    ec2 = client(cloud)
    file = cloud_image.ensure(Settings().cache_dir, lambda _done, _what: None)
    image = ec2.register_image(Name=str(uuid4()), ImageLocation=str(file))["ImageId"]
    ec2.get_waiter("image_available").wait(
        ImageIds=[image], WaiterConfig={"Delay": 1, "MaxAttempts": 300}
    )
    launched = ec2.run_instances(
        ImageId=image,
        InstanceType="t3.nano",
        MinCount=1,
        MaxCount=1,
        KeyName="demo",
        UserData=packed(("cloud-config", CONFIG), ("x-shellscript", SCRIPT)),
        BlockDeviceMappings=[{"DeviceName": "/dev/vda", "Ebs": {"VolumeSize": 2}}],
        MetadataOptions={"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
        TagSpecifications=[
            {
                "ResourceType": "instance",
                "Tags": [{"Key": "Name", "Value": "web 1"}, {"Key": "a+b@c", "Value": "d"}],
            }
        ],
    )
    guest = Guest(cloud, ec2, launched["Instances"][0]["InstanceId"])
    try:
        guest.await_end_of_boot()
        yield guest
    finally:
        ec2.terminate_instances(InstanceIds=[guest.id])
        wait_until_nothing_is_left(cloud)
        ec2.deregister_image(ImageId=image)


def test_cloud_init_takes_it_for_ec2_and_is_content(guest: Guest) -> None:
    status = guest.run("cloud-init status --wait --long")
    assert "status: done" in status
    assert "DataSourceEc2Local" in status
    asked = json.loads(guest.run("sudo cloud-init query --all"))
    known = asked["v1"]
    assert known["platform"] == "ec2"
    assert known["cloud_name"] == "aws"
    assert known["instance_id"] == guest.id
    assert known["local_hostname"] == guest.id
    place = guest.described()["Placement"]["AvailabilityZone"]
    assert known["availability_zone"] == place
    assert known["region"]
    assert known["subplatform"] == "metadata (http://169.254.169.254)"
    data = asked["ds"]["meta-data"]
    assert data["local-ipv4"] == guest.described()["PrivateIpAddress"]
    assert data["tags"]["instance"] == {"Name": "web 1", "a+b@c": "d"}
    assert asked["ds"]["dynamic"]["instance-identity"]["document"]["instanceId"] == guest.id


def test_the_machine_is_as_its_launch_says(guest: Guest) -> None:
    assert guest.run("hostname").strip() == guest.id
    assert guest.told() == {"by-config": "written", "by-command": "ran", "by-script": "ran"}
    # The image's root file system has grown into the disk that was asked for.
    assert int(guest.run("df --output=size -B1 / | tail -n 1")) > 1.5 * GIB


def test_an_image_of_it_begins_while_its_agent_holds_the_file_systems(
    guest: Guest, ec2: Any
) -> None:
    assert guest.run("systemctl is-active qemu-guest-agent").strip() == "active"
    made = ec2.create_image(InstanceId=guest.id, Name=str(uuid4()), NoReboot=True)["ImageId"]

    def image() -> dict[str, Any]:
        [found] = ec2.describe_images(ImageIds=[made])["Images"]
        return dict(found)

    until("the image", lambda: image()["State"] != "pending", 300)
    assert image()["State"] == "available", image()
    assert image()["StateReason"]["Message"].startswith("The guest's agent held its file systems")
    # It lets go: what is written now reaches the disk.
    assert guest.run("sudo touch /thawed && sync && ls /thawed").strip() == "/thawed"
    ec2.deregister_image(ImageId=made)


def test_user_data_runs_once_also_over_stop_and_start(guest: Guest, ec2: Any) -> None:
    keys = guest.run("cat /etc/ssh/ssh_host_*.pub")
    ec2.stop_instances(InstanceIds=[guest.id])
    guest.await_state("stopped")
    ec2.modify_instance_attribute(InstanceId=guest.id, UserData={"Value": LATER.encode()})
    ec2.start_instances(InstanceIds=[guest.id])
    guest.await_state("running")
    until("the new console", lambda: " finished at " not in guest.console())
    guest.await_end_of_boot()
    assert "status: done" in guest.run("cloud-init status --wait --long")
    assert guest.run("sudo cloud-init query userdata").strip() == LATER.strip()
    assert guest.told() == {"by-config": "written", "by-command": "ran", "by-script": "ran"}
    assert guest.run("cat /etc/ssh/ssh_host_*.pub") == keys
