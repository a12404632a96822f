# SPDX-License-Identifier: Apache-2.0
"""ImportImage, DescribeImportImageTasks and CancelImportTask, as a client sees them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from answers import code
from botocore.exceptions import ClientError

from gateway.cloud import image_imports, quotas, tokens
from gateway.store import database, images, import_tasks
from gateway.store.images import Content

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Endpoint

DISK = {"Url": "http://host/disk.vmdk", "Format": "VMDK", "Description": "a disk"}

OBJECT = {"S3Bucket": "bucket", "S3Key": "disk.vmdk"}


def begin(client: Any, **parameters: Any) -> Any:
    return client.import_image(**{"DiskContainers": [DISK]} | parameters)


def shown(client: Any, task: str) -> Any:
    return client.describe_import_image_tasks(ImportTaskIds=[task])["ImportImageTasks"][0]


def test_an_import_is_active_and_then_names_its_image(endpoint: Endpoint, ec2: Any) -> None:
    tags = [{"ResourceType": "import-image-task", "Tags": [{"Key": "a", "Value": "b"}]}]
    begun = begin(ec2, Description="old", Platform="Linux", TagSpecifications=tags)
    task_id = begun["ImportTaskId"]
    assert task_id.startswith("import-ami-")
    assert (begun["Status"], begun["StatusMessage"], begun["Progress"]) == (
        "active",
        "pending",
        "1",
    )
    assert "ImageId" not in begun
    told = shown(ec2, task_id)
    assert (told["Description"], told["Platform"], told["Tags"]) == (
        "old",
        "Linux",
        tags[0]["Tags"],
    )
    assert told["SnapshotDetails"][0]["Format"] == "VMDK"
    assert told["SnapshotDetails"][0]["Url"] == DISK["Url"]
    [pending] = ec2.describe_images(Owners=["self"])["Images"]
    assert (pending["Name"], pending["State"]) == (task_id, "pending")
    with database.writing(endpoint.database) as db:
        task = import_tasks.get(db, task_id)
        assert task is not None
        image_imports.advance(db, task, "converting", 66.6, 1000)
    told = shown(ec2, task_id)
    assert (told["StatusMessage"], told["Progress"]) == ("converting", "66")
    assert told["SnapshotDetails"][0]["DiskImageSize"] == 1000
    with database.writing(endpoint.database) as db:
        content = Content("c" * 64, 10, 2**30, "qcow2")
        image_imports.complete(db, task, content, datetime.now(UTC), quotas.UNLIMITED)
    told = shown(ec2, task_id)
    assert (told["Status"], told["ImageId"]) == ("completed", pending["ImageId"])
    assert "Progress" not in told
    ec2.run_instances(ImageId=told["ImageId"], MinCount=1, MaxCount=1)
    with pytest.raises(ClientError) as caught:
        ec2.cancel_import_task(ImportTaskId=task_id)
    assert code(caught) == "IncorrectState"


def test_a_failed_import_says_why(endpoint: Endpoint, ec2: Any) -> None:
    task_id = begin(ec2)["ImportTaskId"]
    with database.writing(endpoint.database) as db:
        task = import_tasks.get(db, task_id)
        assert task is not None
        image_imports.fail(db, task, "It has no boot sector.", datetime.now(UTC))
    told = shown(ec2, task_id)
    assert (told["Status"], told["StatusMessage"]) == (
        "deleted",
        "ClientError: It has no boot sector.",
    )
    by_state = [{"Name": "task-state", "Values": ["deleted"]}]
    assert ec2.describe_import_image_tasks(Filters=by_state)["ImportImageTasks"] == [told]


def test_an_import_is_cancelled_as_often_as_one_likes(ec2: Any) -> None:
    task_id = begin(ec2)["ImportTaskId"]
    first = ec2.cancel_import_task(ImportTaskId=task_id, CancelReason="mistake")
    assert (first["PreviousState"], first["State"]) == ("active", "deleting")
    again = ec2.cancel_import_task(ImportTaskId=task_id)
    assert (again["PreviousState"], again["State"]) == ("deleting", "deleting")
    assert shown(ec2, task_id)["StatusMessage"] == "The import was cancelled."


def test_nothing_is_left_of_the_image_of_a_cancelled_import(endpoint: Endpoint, ec2: Any) -> None:
    task_id = begin(ec2)["ImportTaskId"]
    [image] = (one["ImageId"] for one in ec2.describe_images(Owners=["self"])["Images"])
    named = [image, image.replace("ami-", "snap-")]
    ec2.create_tags(Resources=named, Tags=[{"Key": "key", "Value": "value"}])
    allowed = {"Add": [{"UserId": "123456789012"}]}
    ec2.modify_image_attribute(ImageId=image, LaunchPermission=allowed)
    ec2.cancel_import_task(ImportTaskId=task_id)
    with database.writing(endpoint.database) as db:
        image_imports.end(db, set(), datetime.now(UTC))
    assert ec2.describe_tags()["Tags"] == []
    # A permission that is left would keep every account from deregistering anything.
    other = endpoint.new_key()
    theirs = endpoint.new_image(other.account_id)
    endpoint.client(other).deregister_image(ImageId=theirs)
    with database.reading(endpoint.database) as db:
        assert images.get(db, image) is None


def test_a_repeated_token_answers_with_the_first_task(ec2: Any) -> None:
    first = begin(ec2, ClientToken="one")["ImportTaskId"]
    assert begin(ec2, ClientToken="one")["ImportTaskId"] == first
    with pytest.raises(ClientError) as caught:
        begin(ec2, ClientToken="one", Description="another")
    assert code(caught) == "IdempotentParameterMismatch"


def test_a_token_is_answered_for_as_long_as_its_task_is_told_of(
    endpoint: Endpoint, ec2: Any
) -> None:
    first = begin(ec2, ClientToken="one")["ImportTaskId"]
    ec2.cancel_import_task(ImportTaskId=first)
    now = datetime.now(UTC)
    with database.writing(endpoint.database) as db:
        image_imports.end(db, set(), now)
        tokens.forget(db, now + timedelta(days=400))
    again = begin(ec2, ClientToken="one")
    assert (again["ImportTaskId"], again["Status"]) == (first, "deleted")
    with database.writing(endpoint.database) as db:
        image_imports.end(db, set(), now + image_imports.KEPT + timedelta(hours=1))
        tokens.forget(db, now + timedelta(days=2))
    assert begin(ec2, ClientToken="one")["ImportTaskId"] != first


def test_import_tasks_are_tagged_like_everything_else(ec2: Any) -> None:
    task_id = begin(ec2)["ImportTaskId"]
    ec2.create_tags(Resources=[task_id], Tags=[{"Key": "k", "Value": "v"}])
    assert shown(ec2, task_id)["Tags"] == [{"Key": "k", "Value": "v"}]
    told = ec2.describe_tags(Filters=[{"Name": "resource-type", "Values": ["import-image-task"]}])
    assert [tag["ResourceId"] for tag in told["Tags"]] == [task_id]


def test_an_object_of_a_bucket_is_told_as_it_was_named(ec2: Any) -> None:
    named = {"S3Bucket": "disks", "S3Key": "public/a disk.ova"}
    for disk in ({"UserBucket": named}, {"Url": "s3://disks/public/a disk.ova"}):
        task = begin(ec2, DiskContainers=[disk])["ImportTaskId"]
        [told] = shown(ec2, task)["SnapshotDetails"]
        assert told["UserBucket"] == named
        assert told["Url"] == "s3://disks/public/a disk.ova"


def test_an_object_can_be_registered_where_the_setting_allows_it(ec2: Any) -> None:
    made = ec2.register_image(Name=str(uuid4()), ImageLocation="s3://disks/public/disk")["ImageId"]
    [image] = ec2.describe_images(ImageIds=[made])["Images"]
    assert (image["State"], image["ImageLocation"]) == ("pending", "s3://disks/public/disk")
    with pytest.raises(ClientError, match="is in no bucket from which") as caught:
        ec2.register_image(Name=str(uuid4()), ImageLocation="s3://disks/private/disk")
    assert code(caught) == "InvalidManifest"


def test_another_account_s_tasks_are_not_there(endpoint: Endpoint, ec2: Any) -> None:
    task_id = begin(ec2)["ImportTaskId"]
    other = endpoint.client(endpoint.new_key())
    for call in (
        lambda: other.describe_import_image_tasks(ImportTaskIds=[task_id]),
        lambda: other.cancel_import_task(ImportTaskId=task_id),
        lambda: other.create_tags(Resources=[task_id], Tags=[{"Key": "k", "Value": "v"}]),
    ):
        with pytest.raises(ClientError, match=f"Tasks {task_id} not found") as caught:
            call()
        assert code(caught) == "InvalidConversionTaskId.Malformed"
    assert other.describe_import_image_tasks()["ImportImageTasks"] == []


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"DiskContainers": [DISK, DISK]}, "InvalidParameterValue"),
        ({"DiskContainers": [{"Format": "VMDK"}]}, "MissingParameter"),
        ({"DiskContainers": [{**DISK, "Format": "floppy"}]}, "InvalidParameterValue"),
        ({"DiskContainers": [{"Url": "s3://bucket/key"}]}, "InvalidManifest"),
        ({"DiskContainers": [{"Url": "/etc/passwd"}]}, "InvalidManifest"),
        ({"DiskContainers": [{"UserBucket": {"S3Bucket": "b"}}]}, "MissingParameter"),
        ({"DiskContainers": [{"UserBucket": {"S3Key": "k"}}]}, "MissingParameter"),
        ({"DiskContainers": [{"UserBucket": OBJECT}]}, "InvalidManifest"),
        (
            {"DiskContainers": [{"Url": "s3://bucket/key", "UserBucket": OBJECT}]},
            "InvalidParameterCombination",
        ),
        ({"DiskContainers": [{"SnapshotId": "snap-1"}]}, "UnsupportedOperation"),
        ({"Architecture": "arm64"}, "InvalidAMIAttributeItemValue"),
        ({"Encrypted": True}, "UnsupportedOperation"),
        ({"BootMode": "uefi-preferred"}, "InvalidParameterValue"),
        ({"BootMode": "uefi", "Architecture": "i386"}, "InvalidParameterValue"),
        ({"LicenseType": "AWS"}, "UnsupportedOperation"),
        ({"Description": "x" * 256}, "InvalidParameterValue"),
    ],
)
def test_what_cannot_be_imported_is_refused_and_nothing_is_begun(
    ec2: Any, parameters: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ClientError) as caught:
        begin(ec2, **parameters)
    assert code(caught) == expected
    assert ec2.describe_import_image_tasks()["ImportImageTasks"] == []
    assert ec2.describe_images(Owners=["self"])["Images"] == []


def test_a_file_that_may_be_registered_may_be_imported(ec2: Any, image_file: Path) -> None:
    begun = begin(ec2, DiskContainers=[{"Url": f"file://{image_file}"}])
    assert "Format" not in shown(ec2, begun["ImportTaskId"])["SnapshotDetails"][0]
