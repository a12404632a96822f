# SPDX-License-Identifier: Apache-2.0
"""Packer's builder amazon-ebs makes an image of a machine that it has started and reached."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 400.0
TEMPLATE = Path(__file__).parent / "image.json"


@pytest.fixture(scope="module")
def name() -> str:
    return f"packer-{uuid4()}"


@pytest.fixture(scope="module")
def image(
    client_environment: Callable[[str], dict[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
    ec2: Any,
    name: str,
) -> Iterator[dict[str, Any]]:
    """The image that Packer says it has made, as it is described."""
    place = tmp_path_factory.mktemp("packer")
    [group] = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
    given = {"group": group["GroupId"], "name": name, "manifest": str(place / "made.json")}
    variables = [word for one in given.items() for word in ("-var", "=".join(one))]
    done = subprocess.run(
        ["packer", "build", "-color=false", *variables, str(TEMPLATE)],
        # It would ask its maker for news.
        env={**client_environment("packer"), "CHECKPOINT_DISABLE": "1"},
        cwd=place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    [build] = json.loads((place / "made.json").read_text())["builds"]
    region, image_id = build["artifact_id"].split(":")
    assert region == ec2.meta.region_name
    [found] = ec2.describe_images(ImageIds=[image_id])["Images"]
    yield found
    ec2.deregister_image(ImageId=image_id)


def test_packer_makes_an_image_with_tags_and_a_larger_disk(
    image: dict[str, Any], name: str
) -> None:
    assert (image["Name"], image["State"]) == (name, "available")
    assert image["Description"] == "made by Packer"
    assert image["Tags"] == [{"Key": "made-by", "Value": "packer"}]
    [device] = image["BlockDeviceMappings"]
    assert device["Ebs"]["VolumeSize"] == 2


def test_packer_tags_the_image_s_snapshot(image: dict[str, Any], ec2: Any) -> None:
    snapshot = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    [found] = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    tags = {tag["Key"]: tag["Value"] for tag in found["Tags"]}
    assert tags == {"made-by": "packer", "of": "packer"}


def test_packer_leaves_neither_machine_nor_key_pair(
    image: dict[str, Any], ec2: Any, name: str
) -> None:
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[image["SourceInstanceId"]])
    asked = [{"Name": "key-name", "Values": ["packer_*"]}]
    assert ec2.describe_key_pairs(Filters=asked)["KeyPairs"] == []
