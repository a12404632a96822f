# SPDX-License-Identifier: Apache-2.0
"""How an image says that it boots, and how the instances from it do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from answers import code
from botocore.exceptions import ClientError

from gateway.cloud import images
from gateway.nodelink.spec import specification
from gateway.store import database, instances
from gateway.store.images import Content

if TYPE_CHECKING:
    from conftest import Endpoint


def register(ec2: Any, **more: object) -> str:
    made = ec2.register_image(Name=str(uuid4()), ImageLocation="http://localhost/disk", **more)
    return str(made["ImageId"])


def launched(endpoint: Endpoint, ec2: Any, **more: object) -> dict[str, Any]:
    image = register(ec2, **more)
    with database.writing(endpoint.database) as db:
        images.imported(db, image, Content("0" * 64, 1024, 1024, "raw"))
    run = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    [reservation] = ec2.describe_instances(InstanceIds=[run["InstanceId"]])["Reservations"]
    described: dict[str, Any] = reservation["Instances"][0]
    for name in ("BootMode", "CurrentInstanceBootMode"):
        assert described.get(name) == run.get(name)
    return described


@pytest.mark.parametrize("mode", ["legacy-bios", "uefi", "uefi-preferred"])
def test_an_images_boot_mode_is_told_found_and_copied(ec2: Any, image: str, mode: str) -> None:
    made = register(ec2, BootMode=mode)
    described = ec2.describe_images(Filters=[{"Name": "boot-mode", "Values": [mode]}])["Images"]
    assert [(one["ImageId"], one["BootMode"]) for one in described] == [(made, mode)]
    told = ec2.describe_image_attribute(ImageId=made, Attribute="bootMode")
    assert told["BootMode"] == {"Value": mode}
    assert "BootMode" not in ec2.describe_images(ImageIds=[image])["Images"][0]
    assert ec2.describe_image_attribute(ImageId=image, Attribute="bootMode")["BootMode"] == {}


def test_a_copy_boots_as_its_source_does(endpoint: Endpoint, ec2: Any) -> None:
    source = launched(endpoint, ec2, BootMode="uefi")["ImageId"]
    copy = ec2.copy_image(Name=str(uuid4()), SourceImageId=source, SourceRegion="condor")
    [described] = ec2.describe_images(ImageIds=[copy["ImageId"]])["Images"]
    assert described["BootMode"] == "uefi"


@pytest.mark.parametrize(
    ("image", "said", "current"),
    [
        ({}, None, "legacy-bios"),
        ({"BootMode": "legacy-bios"}, "legacy-bios", "legacy-bios"),
        ({"BootMode": "uefi"}, "uefi", "uefi"),
        ({"BootMode": "uefi-preferred"}, "uefi-preferred", "uefi"),
        ({"Architecture": "i386"}, None, "legacy-bios"),
        ({"Architecture": "i386", "BootMode": "uefi-preferred"}, "uefi-preferred", "legacy-bios"),
    ],
)
def test_an_instance_tells_what_its_image_said_and_how_it_boots(
    endpoint: Endpoint, ec2: Any, image: dict[str, str], said: str | None, current: str
) -> None:
    described = launched(endpoint, ec2, **image)
    assert described.get("BootMode") == said
    assert described["CurrentInstanceBootMode"] == current
    with database.reading(endpoint.database) as db:
        instance = instances.get(db, described["InstanceId"])
        assert instance is not None
        assert specification(db, endpoint.settings, instance)["boot_mode"] == current


def test_instances_are_found_by_how_they_boot(endpoint: Endpoint, ec2: Any) -> None:
    plain, prefers = launched(endpoint, ec2), launched(endpoint, ec2, BootMode="uefi-preferred")

    def found(name: str, value: str) -> list[str]:
        answer = ec2.describe_instances(Filters=[{"Name": name, "Values": [value]}])
        return [one["InstanceId"] for each in answer["Reservations"] for one in each["Instances"]]

    assert found("boot-mode", "uefi-preferred") == [prefers["InstanceId"]]
    assert found("boot-mode", "legacy-bios") == []
    assert found("current-instance-boot-mode", "uefi") == [prefers["InstanceId"]]
    assert found("current-instance-boot-mode", "legacy-bios") == [plain["InstanceId"]]


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"BootMode": "coreboot"}, "Value (coreboot) for parameter bootMode is invalid"),
        ({"BootMode": "uefi", "Architecture": "i386"}, "The architecture i386 boots by legacy"),
    ],
)
def test_a_boot_mode_that_an_image_cannot_have_is_refused(
    ec2: Any, parameters: dict[str, str], told: str
) -> None:
    with pytest.raises(ClientError) as caught:
        register(ec2, **parameters)
    assert code(caught) == "InvalidParameterValue"
    assert told in str(caught.value)
    assert ec2.describe_images(Owners=["self"])["Images"] == []


def test_an_import_takes_the_boot_mode_along(ec2: Any) -> None:
    ec2.import_image(DiskContainers=[{"Url": "http://host/disk", "Format": "RAW"}], BootMode="uefi")
    [task] = ec2.describe_import_image_tasks()["ImportImageTasks"]
    assert task["BootMode"] == "uefi"
    [image] = ec2.describe_images(Owners=["self"])["Images"]
    assert image["BootMode"] == "uefi"


def test_every_instance_type_boots_both_ways_and_no_image_changes_its_way(
    ec2: Any, image: str
) -> None:
    asked = [{"Name": "supported-boot-mode", "Values": ["uefi"]}]
    types = ec2.describe_instance_types(Filters=asked)["InstanceTypes"]
    assert len(types) == len(ec2.describe_instance_types()["InstanceTypes"]) > 0
    assert {tuple(one["SupportedBootModes"]) for one in types} == {("legacy-bios", "uefi")}
    with pytest.raises(ClientError) as caught:
        ec2.modify_image_attribute(ImageId=image, Attribute="bootMode", Value="uefi")
    assert code(caught) == "UnsupportedOperation"
