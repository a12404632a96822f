# SPDX-License-Identifier: Apache-2.0
"""What a guest that goes wrong leaves to be seen: its firmware's words, its kernel's last ones."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from PIL import Image
from private_cloud import Cloud, until
from vm import domain_efi

if TYPE_CHECKING:
    from pathlib import Path

# A boot sector whose only instruction, int 18h, tells the firmware to try the next disk.
GIVES_UP = b"\xcd\x18"
HANG = """#!/bin/sh
cd /usr/lib/modules && insmod watchdog.ko && insmod i6300esb.ko heartbeat=2
exec 3>/dev/watchdog
"""
PANIC = """#!/bin/sh
echo c >/proc/sysrq-trigger
"""


def console(ec2: Any, instance_id: str) -> str:
    return str(ec2.get_console_output(InstanceId=instance_id, Latest=True).get("Output", ""))


def state(ec2: Any, instance_id: str) -> str:
    [reservation] = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    return str(reservation["Instances"][0]["State"]["Name"])


def launch(ec2: Any, image: str, user_data: str = "") -> str:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, UserData=user_data)
    return str(launched["Instances"][0]["InstanceId"])


def picture(ec2: Any, instance_id: str) -> Any:
    told = ec2.get_console_screenshot(InstanceId=instance_id, WakeUp=True)
    return Image.open(io.BytesIO(base64.b64decode(told["ImageData"])))


def registered(ec2: Any, file: Path, **more: str) -> str:
    """Return an image of the file's bytes that can be launched."""
    image = ec2.register_image(Name=str(uuid4()), ImageLocation=str(file), **more)["ImageId"]
    ec2.get_waiter("image_available").wait(
        ImageIds=[image], WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    return str(image)


def test_a_guest_that_cannot_boot_says_so_on_its_console_also_when_it_is_gone(
    cloud: Cloud, ec2: Any, cloud_readable: Path
) -> None:
    disk = cloud_readable / "empty.raw"
    disk.write_bytes(GIVES_UP.ljust(510, b"\0") + b"\x55\xaa" + uuid4().bytes.ljust(1 << 20, b"\0"))
    instance_id = launch(ec2, registered(ec2, disk, Architecture="i386"))
    until("the firmware's words", lambda: "No bootable device" in console(ec2, instance_id))
    assert "SeaBIOS" in console(ec2, instance_id)
    shown = picture(ec2, instance_id)
    assert shown.format == "JPEG"
    assert shown.size == (720, 400), "the size of a VGA's text"
    assert max(high for _, high in shown.getextrema()) > 128, "the firmware's words are bright"
    assert cloud.pool_processes("qemu-system-i386"), "a 32-bit guest has a 32-bit machine"
    assert state(ec2, instance_id) == "running"
    ec2.terminate_instances(InstanceIds=[instance_id])
    until("its end", lambda: state(ec2, instance_id) == "terminated")
    assert "No bootable device" in console(ec2, instance_id)


def test_an_image_that_says_uefi_boots_by_it(ec2: Any, cloud_readable: Path) -> None:
    disk = cloud_readable / "efi.raw"
    disk.write_bytes(domain_efi.disk())
    instance_id = launch(ec2, registered(ec2, disk, BootMode="uefi"))
    said = domain_efi.SENTENCE.decode().strip()
    until("the program's words", lambda: said in console(ec2, instance_id), limit=90.0)
    [reservation] = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    assert reservation["Instances"][0]["CurrentInstanceBootMode"] == "uefi"
    ec2.terminate_instances(InstanceIds=[instance_id])
    until("its end", lambda: state(ec2, instance_id) == "terminated")


def test_guests_that_hang_or_panic_boot_anew_and_what_they_said_is_kept(
    cloud: Cloud, ec2: Any
) -> None:
    image = cloud.environment["DEMO_AMI"]
    hung, panicked = (launch(ec2, image, data) for data in (HANG, PANIC))
    for instance_id in (hung, panicked):
        # What hangs or panics may do so before it has asked for a login.
        until(
            "the second boot",
            lambda name=instance_id: "user-data ran before" in console(ec2, name),
            limit=90.0,
        )
        assert state(ec2, instance_id) == "running"
    assert "Kernel panic - not syncing" in console(ec2, panicked)
    assert "Kernel panic" not in console(ec2, hung)
    ec2.terminate_instances(InstanceIds=[hung, panicked])
    until("their end", lambda: {state(ec2, hung), state(ec2, panicked)} == {"terminated"})
