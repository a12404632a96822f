# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from answers import code
from botocore.exceptions import ClientError

from gateway.cloud import images
from gateway.cloud.image_sources import ImageSources
from gateway.store import database, schema
from gateway.store import images as rows
from gateway.store.images import Content

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey


def test_a_registered_file_is_pending_until_it_is_taken_in(
    endpoint: Endpoint, ec2: Any, image_file: Path
) -> None:
    tags = [{"ResourceType": "image", "Tags": [{"Key": "os", "Value": "demo"}]}]
    made = ec2.register_image(
        Name="demo (1)",
        ImageLocation=str(image_file),
        Description="a disk",
        Architecture="i386",
        TagSpecifications=tags,
    )
    image = ec2.describe_images(ImageIds=[made["ImageId"]])["Images"][0]
    assert image["State"] == "pending"
    assert image["Name"] == "demo (1)"
    assert image["Description"] == "a disk"
    assert image["Architecture"] == "i386"
    assert image["ImageLocation"] == str(image_file)
    assert image["Tags"] == tags[0]["Tags"]
    with database.writing(endpoint.database) as db:
        assert made["ImageId"] in [pending.id for pending in rows.select_pending(db)]
        images.imported(db, made["ImageId"], Content("f" * 64, 4, 8, "raw"))
    assert ec2.describe_images(ImageIds=[made["ImageId"]])["Images"][0]["State"] == "available"


def test_an_image_that_cannot_be_taken_in_says_why(
    endpoint: Endpoint, ec2: Any, image_file: Path
) -> None:
    made = ec2.register_image(Name="demo", ImageLocation=f"file://{image_file}")
    with database.writing(endpoint.database) as db:
        images.import_failed(db, made["ImageId"], "It has a backing file.")
    image = ec2.describe_images(ImageIds=[made["ImageId"]])["Images"][0]
    assert image["State"] == "failed"
    assert image["StateReason"]["Message"] == "It has a backing file."


@pytest.mark.parametrize(
    "location",
    [
        "",
        "disk.img",
        "ftp://host/disk.img",
        "/etc/passwd",
        "file:///etc/passwd",
        "/etc/no-such-file",
        "http://",
        "http:///disk.img",
        "https://host:99999/x",
        "http://user:secret@host/x",
        "http://host/a b",
        "http://host/\u00e9",
        "{incoming}/none.img",
        "{incoming}",
        "{incoming}/../condor-cloud.db",
        "{incoming}/link.img",
        "{incoming}/pipe",
        "{incoming}/x\nname",
        "/" + "x" * 5000,
    ],
)
def test_locations_that_cannot_be_images_are_refused(
    endpoint: Endpoint, ec2: Any, location: str
) -> None:
    incoming = endpoint.settings.state_dir / "incoming"
    link = incoming / "link.img"
    link.unlink(missing_ok=True)
    link.symlink_to("/etc/passwd")
    if not (incoming / "pipe").exists():
        os.mkfifo(incoming / "pipe")
    with pytest.raises(ClientError) as caught:
        ec2.register_image(Name="demo", ImageLocation=location.format(incoming=incoming))
    assert code(caught) == "InvalidManifest"
    assert ec2.describe_images(Owners=["self"])["Images"] == []


def test_files_elsewhere_are_refused_alike_whether_they_exist_or_not(ec2: Any) -> None:
    def refusal(location: str) -> str:
        with pytest.raises(ClientError) as caught:
            ec2.register_image(Name="demo", ImageLocation=location)
        return str(caught.value).replace(location, "")

    assert refusal("/etc/passwd") == refusal("/etc/no-such-file")


def test_the_administrator_may_take_any_file(endpoint: Endpoint, key: Any, tmp_path: Path) -> None:
    file = tmp_path / "disk"
    file.write_bytes(b"x")
    now = datetime.now(UTC)
    with database.writing(endpoint.database) as db:
        new = images.NewImage("demo", str(file))
        made = images.register(db, key.account_id, new, tagged={}, now=now, sources=None)
    assert made.state == "pending"


@pytest.mark.parametrize("name", ["ab", "a" * 129, "a;b", "ab\n", "äöü"])
def test_image_names_outside_ec2_s_rule_are_refused(ec2: Any, name: str) -> None:
    with pytest.raises(ClientError) as caught:
        ec2.register_image(Name=name, ImageLocation="http://host/x")
    assert code(caught) == "InvalidAMIName.Malformed"


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"Architecture": "arm64"}, "InvalidAMIAttributeItemValue"),
        ({"VirtualizationType": "paravirtual"}, "UnsupportedOperation"),
        ({"BlockDeviceMappings": [{"DeviceName": "/dev/sda"}]}, "UnsupportedOperation"),
        ({"KernelId": "aki-1"}, "UnsupportedOperation"),
        ({"Description": "x" * 256}, "InvalidParameterValue"),
    ],
)
def test_images_that_cannot_be_honoured_are_refused(
    ec2: Any, parameters: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ClientError) as caught:
        ec2.register_image(Name="demo", ImageLocation="http://host/x", **parameters)
    assert code(caught) == expected


def test_a_name_is_free_again_after_deregistration(ec2: Any) -> None:
    first = ec2.register_image(Name="demo", ImageLocation="http://host/x")["ImageId"]
    with pytest.raises(ClientError, match=f"AMI name demo is already in use by AMI {first}"):
        ec2.register_image(Name="demo", ImageLocation="http://host/y")
    assert ec2.deregister_image(ImageId=first)["Return"]
    second = ec2.register_image(Name="demo", ImageLocation="http://host/y")["ImageId"]
    [image] = ec2.describe_images(Owners=["self"])["Images"]
    assert image["ImageId"] == second
    with pytest.raises(ClientError) as caught:
        ec2.deregister_image(ImageId=first)
    assert code(caught) == "InvalidAMIID.NotFound"


@pytest.mark.parametrize("instances", [1, 2])
def test_a_deregistered_images_bytes_stay_until_its_last_instance_has_ended(
    endpoint: Endpoint, ec2: Any, key: AccessKey, instances: int
) -> None:
    image = endpoint.new_image(key.account_id)
    digest = os.urandom(32).hex()
    with database.writing(endpoint.database) as db:
        rows.update_available(db, image, Content(digest, 4, 8, "raw"))
    launched = ec2.run_instances(ImageId=image, MinCount=instances, MaxCount=instances)["Instances"]
    ec2.deregister_image(ImageId=image)
    for one in launched:
        with database.writing(endpoint.database) as db:
            rows.delete_unused(db)
            assert digest in rows.select_contents(db)
            assert rows.sum_sizes(db, key.account_id) == 4
        endpoint.change_state(one["InstanceId"], "terminated")
    with database.writing(endpoint.database) as db:
        rows.delete_unused(db)
        assert digest not in rows.select_contents(db)
        assert rows.sum_sizes(db, key.account_id) == 0
    # It is named for as long as they are described.
    ids = [one["InstanceId"] for one in launched]
    [reservation] = ec2.describe_instances(InstanceIds=ids)["Reservations"]
    assert {one["ImageId"] for one in reservation["Instances"]} == {image}


def test_an_image_in_use_stays_stored_and_is_not_launched_again(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    ec2.deregister_image(ImageId=image)
    with database.reading(endpoint.database) as db:
        kept = rows.get(db, image)
    assert kept is not None
    assert not kept.registered
    described = ec2.describe_instances(InstanceIds=[launched["InstanceId"]])["Reservations"]
    assert described[0]["Instances"][0]["ImageId"] == image
    with pytest.raises(ClientError) as caught:
        ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)
    assert code(caught) == "InvalidAMIID.NotFound"


def test_a_private_image_does_not_exist_for_others(endpoint: Endpoint, image: str) -> None:
    other = endpoint.client(endpoint.new_key())
    calls: list[Callable[[], Any]] = [
        lambda: other.describe_images(ImageIds=[image]),
        lambda: other.deregister_image(ImageId=image),
        lambda: other.run_instances(ImageId=image, MinCount=1, MaxCount=1),
    ]
    for call in calls:
        with pytest.raises(ClientError) as caught:
            call()
        assert code(caught) == "InvalidAMIID.NotFound"


def test_a_public_image_is_everybody_s_to_use_and_its_owner_s_to_remove(
    endpoint: Endpoint, ec2: Any
) -> None:
    owner = endpoint.new_key()
    image = endpoint.new_image(owner.account_id, public=True)
    shown = ec2.describe_images(ImageIds=[image])["Images"][0]
    assert shown["Public"]
    assert shown["OwnerId"] == owner.account_id
    assert "localhost" not in shown["ImageLocation"]
    ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)
    with pytest.raises(ClientError) as caught:
        ec2.deregister_image(ImageId=image)
    assert code(caught) == "AuthFailure"
    mine = ec2.describe_images(Owners=["self"])["Images"]
    assert mine == []
    assert image in [one["ImageId"] for one in ec2.describe_images()["Images"]]
    theirs = ec2.describe_images(Owners=[owner.account_id], ExecutableUsers=["all"])["Images"]
    assert [one["ImageId"] for one in theirs] == [image]
    endpoint.client(owner).deregister_image(ImageId=image)


def test_an_image_that_is_shared_is_not_its_user_s_to_change(
    endpoint: Endpoint, key: AccessKey, ec2: Any
) -> None:
    owner = endpoint.new_key()
    image = endpoint.new_image(owner.account_id)
    change = {"Add": [{"UserId": key.account_id}]}
    calls: list[Callable[[], Any]] = [
        lambda: ec2.deregister_image(ImageId=image),
        lambda: ec2.modify_image_attribute(ImageId=image, Description={"Value": "mine"}),
        lambda: ec2.describe_image_attribute(ImageId=image, Attribute="launchPermission"),
        lambda: ec2.reset_image_attribute(ImageId=image, Attribute="launchPermission"),
        lambda: ec2.disable_image_deprecation(ImageId=image),
    ]
    for expected in ("InvalidAMIID.NotFound", "AuthFailure"):
        for call in calls:
            with pytest.raises(ClientError) as caught:
                call()
            assert code(caught) == expected
        assert caught.value.response["Error"]["Message"] in {
            f"The image id '[{image}]' does not exist",
            f"Not authorized for image:{image}",
        }
        endpoint.client(owner).modify_image_attribute(ImageId=image, LaunchPermission=change)
    assert endpoint.client(owner).describe_images(ImageIds=[image])["Images"] != []


def test_images_are_filtered_and_paged(endpoint: Endpoint, key: Any, ec2: Any) -> None:
    made = [endpoint.new_image(key.account_id) for _ in range(12)]
    by_state = ec2.describe_images(
        Owners=["self"], Filters=[{"Name": "state", "Values": ["available"]}]
    )
    everything = [image["ImageId"] for image in by_state["Images"]]
    assert sorted(everything) == sorted(made)
    pages = ec2.get_paginator("describe_images").paginate(
        Owners=["self"], PaginationConfig={"PageSize": 5}
    )
    sizes = [[image["ImageId"] for image in page["Images"]] for page in pages]
    assert [len(page) for page in sizes] == [5, 5, 2]
    assert [image for page in sizes for image in page] == everything


@pytest.mark.parametrize(
    ("image_id", "expected"),
    [("ami-123", "InvalidAMIID.Malformed"), ("ami-12345678", "InvalidAMIID.NotFound")],
)
def test_malformed_and_unknown_image_ids_are_told_apart(
    ec2: Any, image_id: str, expected: str
) -> None:
    with pytest.raises(ClientError, match=image_id) as caught:
        ec2.describe_images(ImageIds=[image_id])
    assert code(caught) == expected


def test_the_file_to_take_in_is_found_behind_links(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to("real")
    file = images.source_file(f"file://{tmp_path}/link")
    assert file == (tmp_path / "real").resolve()
    assert images.source_file(f"http://host/{uuid4()}") is None


def test_the_tags_of_a_public_image_are_its_owner_s_alone(endpoint: Endpoint, ec2: Any) -> None:
    owner = endpoint.new_key()
    tags = [{"ResourceType": "image", "Tags": [{"Key": "secret", "Value": "x"}]}]
    theirs = endpoint.client(owner)
    image = theirs.register_image(
        Name="demo", ImageLocation="http://host/x", TagSpecifications=tags
    )["ImageId"]
    with database.writing(endpoint.database) as db:
        db.execute(schema.images.update().where(schema.images.c.id == image).values(public=True))
    by_tag = [{"Name": "tag-key", "Values": ["secret"]}]
    assert ec2.describe_images(ImageIds=[image])["Images"][0]["Tags"] == []
    assert ec2.describe_images(Filters=by_tag)["Images"] == []
    assert len(theirs.describe_images(Filters=by_tag)["Images"]) == 1
    theirs.deregister_image(ImageId=image)


def test_only_files_below_the_named_directories_are_allowed(tmp_path: Path) -> None:
    sources = ImageSources.of(f"{tmp_path}/one:{tmp_path}/two")
    assert sources.allows(tmp_path / "two" / "disk")
    assert not sources.allows(tmp_path / "three" / "disk")
    assert not sources.allows(tmp_path / "one-more" / "disk")


def test_without_directories_what_everybody_can_read_is_allowed(tmp_path: Path) -> None:
    everybody = ImageSources.of("")
    assert everybody.allows(Path("/etc/passwd"))
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    secret.chmod(0o600)
    assert not everybody.allows(secret)
    secret.chmod(0o644)
    tmp_path.chmod(0o700)
    assert not everybody.allows(secret), "its directory is private"
    assert not everybody.allows(tmp_path / "none")


@pytest.mark.parametrize("location", ["HTTP://host/Disk.img", "Https://host/Disk.img"])
def test_a_location_s_scheme_may_be_in_capitals(ec2: Any, location: str) -> None:
    made = ec2.register_image(Name="demo", ImageLocation=location)
    [image] = ec2.describe_images(ImageIds=[made["ImageId"]])["Images"]
    scheme, rest = location.split("://")
    assert image["ImageLocation"] == f"{scheme.lower()}://{rest}"
