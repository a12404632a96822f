# SPDX-License-Identifier: Apache-2.0
"""Calls of the actions on images; see action_cases.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from action_cases import NO_IMAGE, NO_INSTANCE, PAGE, ROOT_DISK, Case, tagged, where

if TYPE_CHECKING:
    from collections.abc import Mapping

    from action_cases import World
    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey

NO_IMPORT = "import-ami-0123456789abcdef0"
FRIEND = "123456789012"
SOON = "2030-01-01T00:00:00Z"
LATE = "2000-01-01T00:00:00Z"
SHARING = "launchPermission"


def _one_more_image(endpoint: Endpoint, key: AccessKey, _w: World, _number: int) -> None:
    endpoint.new_image(key.account_id)


def _copy(w: World, **other: Any) -> dict[str, Any]:
    return {"Name": w.unique, "SourceImageId": w.image, "SourceRegion": "condor", **other}


def _import(w: World, **other: Any) -> dict[str, Any]:
    disk = {"Url": "http://host/disk", "Format": "VMDK", "Description": "disk"}
    return {"DiskContainers": [disk], "ClientToken": w.unique, **other}


def _one_more_import(endpoint: Endpoint, key: AccessKey, w: World, number: int) -> None:
    endpoint.client(key).import_image(**_import(w, ClientToken=f"{w.unique}-{number}"))


IMAGE_CASES: Mapping[str, Case] = {
    "CancelImportTask": Case(
        [lambda w: {"ImportTaskId": w.import_task}],
        [
            ("InvalidConversionTaskId.Malformed", lambda _: {"ImportTaskId": NO_IMPORT}),
            ("MissingParameter", lambda _: {}),
        ],
    ),
    "CopyImage": Case(
        [
            lambda w: _copy(
                w,
                Description="described",
                CopyImageTags=True,
                TagSpecifications=tagged("image"),
                ClientToken=w.unique,
            )
        ],
        [
            ("InvalidAMIID.NotFound", lambda w: _copy(w, SourceImageId=NO_IMAGE)),
            ("InvalidParameterValue", lambda w: _copy(w, SourceRegion="nowhere")),
        ],
        changed={
            "Name": "another",
            "Description": "other",
            "SourceImageId": NO_IMAGE,
            "TagSpecifications": tagged("image", "other"),
            "CopyImageTags": False,
        },
    ),
    "CreateImage": Case(
        [
            lambda w: {
                "InstanceId": w.running,
                "Name": w.unique,
                "Description": "described",
                "NoReboot": True,
                "BlockDeviceMappings": ROOT_DISK,
                "TagSpecifications": tagged("image"),
            }
        ],
        [
            (
                "InvalidInstanceID.NotFound",
                lambda w: {"InstanceId": NO_INSTANCE, "Name": w.unique},
            ),
            ("InvalidAMIName.Malformed", lambda w: {"InstanceId": w.running, "Name": "x"}),
            ("IncorrectInstanceState", lambda w: {"InstanceId": w.stopped, "Name": w.unique}),
        ],
    ),
    "DeregisterImage": Case(
        [lambda w: {"ImageId": w.image, "DeleteAssociatedSnapshots": True}],
        [("InvalidAMIID.NotFound", lambda _: {"ImageId": NO_IMAGE})],
    ),
    "DescribeImageAttribute": Case(
        [
            lambda w: {"ImageId": w.image, "Attribute": SHARING},
            lambda w: {"ImageId": w.image, "Attribute": "description"},
        ],
        [("InvalidParameterValue", lambda w: {"ImageId": w.image, "Attribute": "nothing"})],
    ),
    "DescribeImages": Case(
        [
            lambda _: PAGE,
            lambda w: {"ImageIds": [w.image], "Owners": ["self"]},
            lambda w: {"Owners": [w.account], "IncludeDeprecated": True},
            lambda w: {"ExecutableUsers": [w.account], "Filters": where("image-id", w.image)},
            lambda w: {"Filters": where("owner-id", w.account)},
        ],
        [("InvalidAMIID.NotFound", lambda _: {"ImageIds": [NO_IMAGE]})],
        rows=_one_more_image,
        ids=["ImageIds"],
    ),
    "DescribeImportImageTasks": Case(
        [
            lambda _: PAGE,
            lambda w: {"ImportTaskIds": [w.import_task]},
            lambda _: {"Filters": where("task-state", "active")},
        ],
        [("InvalidConversionTaskId.Malformed", lambda _: {"ImportTaskIds": [NO_IMPORT]})],
        rows=_one_more_import,
        ids=["ImportTaskIds"],
    ),
    "DisableImageDeprecation": Case(
        [lambda w: {"ImageId": w.image}],
        [("InvalidAMIID.NotFound", lambda _: {"ImageId": NO_IMAGE})],
    ),
    "EnableImageDeprecation": Case(
        [lambda w: {"ImageId": w.image, "DeprecateAt": SOON}],
        [("InvalidParameterValue", lambda w: {"ImageId": w.image, "DeprecateAt": LATE})],
    ),
    "ImportImage": Case(
        [
            lambda w: _import(
                w,
                Architecture="x86_64",
                BootMode="uefi",
                Description="described",
                Platform="Linux",
                TagSpecifications=tagged("import-image-task"),
            ),
            lambda w: _import(
                w, DiskContainers=[{"UserBucket": {"S3Bucket": "disks", "S3Key": "public/disk"}}]
            ),
        ],
        [
            ("MissingParameter", lambda _: {}),
            ("InvalidParameterValue", lambda w: _import(w, Platform="Plan 9")),
        ],
        changed={
            "Architecture": "i386",
            "BootMode": "legacy-bios",
            "Description": "other",
            "Platform": "Windows",
            "TagSpecifications": tagged("import-image-task", "other"),
        },
    ),
    "ModifyImageAttribute": Case(
        [
            lambda w: {"ImageId": w.image, "Description": {"Value": "described"}},
            lambda w: {"ImageId": w.image, "Attribute": "description", "Value": "described"},
            # Who is named last stays named by nobody: a public image would be every test's.
            lambda w: {
                "ImageId": w.image,
                "LaunchPermission": {
                    "Add": [{"UserId": FRIEND}, {"Group": "all"}],
                    "Remove": [{"UserId": FRIEND}, {"Group": "all"}],
                },
            },
            lambda w: {
                "ImageId": w.image,
                "OperationType": "remove",
                "UserIds": [FRIEND],
                "UserGroups": ["all"],
            },
        ],
        [
            ("InvalidParameterCombination", lambda w: {"ImageId": w.image}),
            (
                "InvalidAMIAttributeItemValue",
                lambda w: {"ImageId": w.image, "LaunchPermission": {"Add": [{"Group": "x"}]}},
            ),
        ],
    ),
    "RegisterImage": Case(
        [
            lambda w: {
                "Name": w.unique,
                "ImageLocation": "http://host/image",
                "Description": "described",
                "Architecture": "i386",
                "BootMode": "uefi-preferred",
                "RootDeviceName": "/dev/vda",
                "BlockDeviceMappings": ROOT_DISK,
                "TagSpecifications": tagged("image"),
            }
        ],
        [
            (
                "InvalidAMIName.Malformed",
                lambda _: {"Name": "x", "ImageLocation": "http://host/image"},
            ),
            ("MissingParameter", lambda w: {"Name": w.unique}),
        ],
    ),
    "ResetImageAttribute": Case(
        [lambda w: {"ImageId": w.image, "Attribute": SHARING}],
        [("InvalidParameterValue", lambda w: {"ImageId": w.image, "Attribute": "description"})],
    ),
}
