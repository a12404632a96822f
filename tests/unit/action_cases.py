# SPDX-License-Identifier: Apache-2.0
"""Calls of every action, for the tests that hold for all of them (test_every_action*.py).

A new action gets an entry in ``CASES``:

- ``right``: calls that succeed. Between them they give every member that the action honours.
- ``wrong``: calls that fail, by the code of their error; at least one where the action writes.
- ``rows``: where the action has pages, what makes one more row of its answer.
- ``ids``: where the action has pages, the members that name single resources.
- ``needed``: members without which the action is refused, where it has pages.
- ``changed``: where the action takes a client token, another value for members of the right call
  that has one; each of them makes it another request.

Each call is made from a :class:`World`: an account with one resource of each kind. A new kind of
resource is a new field of it, made in ``new_world``. What a call names of the world is also asked
for by another account, which must not learn of it: a call takes the names of what exists from the
world, and those of what it makes from ``world.unique``.
"""

from __future__ import annotations

import base64
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from test_ec2_keypairs import ED25519

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey


@dataclass(frozen=True)
class World:
    """An account and what it has: the names that its requests give."""

    account: str
    image: str
    import_task: str
    instance: str
    running: str
    gone_image: str
    stopped: str
    key_name: str
    key_pair: str
    spot_request: str
    tag_value: str
    unique: str

    def anew(self) -> World:
        """Return it with another name for what is made."""
        return dataclasses.replace(self, unique=uuid4().hex)


NAMES = [field.name for field in dataclasses.fields(World) if field.name != "unique"]
"""The fields that name something of the account's."""

if TYPE_CHECKING:
    Call = Callable[[World], dict[str, Any]]
    Row = Callable[[Endpoint, AccessKey, World, int], object]


@dataclass(frozen=True)
class Case:
    """What the tests have to know of one action."""

    right: Sequence[Call]
    wrong: Sequence[tuple[str, Call]] = ()
    rows: Row | None = None
    ids: Sequence[str] = ()
    needed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    changed: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def new_world(endpoint: Endpoint, key: AccessKey) -> World:
    """Make one resource of each kind in the key's account."""
    ec2, name = endpoint.client(key), uuid4().hex
    image = endpoint.new_image(key.account_id)
    pair = ec2.import_key_pair(KeyName=f"key-{name}", PublicKeyMaterial=ED25519)
    launched = ec2.run_instances(
        ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=tagged("instance", f"tag-{name}")
    )
    imported = ec2.import_image(DiskContainers=[{"Url": "http://host/disk"}])
    others = ec2.run_instances(ImageId=image, MinCount=2, MaxCount=2)["Instances"]
    running, stopped = (str(one["InstanceId"]) for one in others)
    for one, states in ((running, ("running",)), (stopped, ("running", "stopped"))):
        for state in states:
            endpoint.change_state(one, state)
    gone = endpoint.new_image(key.account_id)
    ec2.deregister_image(ImageId=gone)
    spot = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceMarketOptions=SPOT)
    return World(
        account=key.account_id,
        image=image,
        import_task=imported["ImportTaskId"],
        instance=launched["Instances"][0]["InstanceId"],
        running=running,
        gone_image=gone,
        stopped=stopped,
        key_name=f"key-{name}",
        key_pair=pair["KeyPairId"],
        spot_request=spot["Instances"][0]["SpotInstanceRequestId"],
        tag_value=f"tag-{name}",
        unique=uuid4().hex,
    )


def stranger() -> World:
    """Return names of the same forms for what does not exist."""
    name = uuid4().hex
    return World(
        account=f"{uuid4().int % 10**12:012}",
        image=f"ami-{name[:17]}",
        import_task=f"import-ami-{name[:17]}",
        instance=f"i-{name[:17]}",
        running=f"i-{name[1:18]}",
        gone_image=f"ami-{name[1:18]}",
        stopped=f"i-{name[2:19]}",
        key_name=f"key-{name}",
        key_pair=f"key-{name[:17]}",
        spot_request=f"sir-{name[:8]}",
        tag_value=f"tag-{name}",
        unique=uuid4().hex,
    )


def tagged(resource_type: str, value: str = "value") -> list[dict[str, Any]]:
    return [{"ResourceType": resource_type, "Tags": [{"Key": "key", "Value": value}]}]


def where(name: str, *values: str) -> list[dict[str, Any]]:
    return [{"Name": name, "Values": list(values)}]


SPOT = {"MarketType": "spot"}
NO_INSTANCE = "i-0123456789abcdef0"
NO_IMAGE = "ami-0123456789abcdef0"
ROOT_DISK = [{"DeviceName": "/dev/vda", "Ebs": {"VolumeSize": 8, "VolumeType": "gp3"}}]
PAGE = {"MaxResults": 5}


def own_disk(w: World) -> list[dict[str, Any]]:
    """Return a mapping of the root disk that names the image's own snapshot."""
    ebs = {"SnapshotId": f"snap-{w.image.removeprefix('ami-')}", **ROOT_DISK[0]["Ebs"]}
    return [{**ROOT_DISK[0], "Ebs": ebs}]


METADATA_OPTIONS = {
    "HttpEndpoint": "enabled",
    "HttpTokens": "required",
    "HttpPutResponseHopLimit": 2,
    "InstanceMetadataTags": "enabled",
}


def _launch(w: World, **other: Any) -> dict[str, Any]:
    return {"ImageId": w.image, "MinCount": 1, "MaxCount": 1, **other}


def _launch_by_zone_id(w: World) -> dict[str, Any]:
    return _launch(w, Placement={"AvailabilityZoneId": "condor-a"})


def _launch_with_everything(w: World) -> dict[str, Any]:
    return _launch(
        w,
        InstanceType="small",
        KeyName=w.key_name,
        UserData=base64.b64encode(b"#!/bin/sh\n").decode(),
        Placement={"AvailabilityZone": "condor-a"},
        BlockDeviceMappings=own_disk(w),
        MetadataOptions=METADATA_OPTIONS,
        InstanceInitiatedShutdownBehavior="terminate",
        DisableApiTermination=False,
        DisableApiStop=True,
        Monitoring={"Enabled": True},
        TagSpecifications=tagged("instance") + tagged("volume"),
        ClientToken=w.unique,
    )


def one_more_instance(endpoint: Endpoint, key: AccessKey, w: World, _number: int) -> None:
    endpoint.client(key).run_instances(ImageId=w.image, MinCount=1, MaxCount=1)


from absent_cases import ABSENT_CASES  # noqa: E402 - the same
from image_cases import IMAGE_CASES  # noqa: E402 - it is made of what stands above
from instance_cases import INSTANCE_CASES  # noqa: E402 - the same
from network_cases import (  # noqa: E402 - the same
    NETWORK_CASES,
    launch_by_ids,
    launch_by_interface,
    launch_by_name,
)
from spot_cases import SPOT_CASES, launch_spot  # noqa: E402 - the same
from tag_cases import TAG_CASES  # noqa: E402 - the same
from volume_cases import VOLUME_CASES  # noqa: E402 - the same

CASES: Mapping[str, Case] = {
    **IMAGE_CASES,
    **INSTANCE_CASES,
    **ABSENT_CASES,
    **NETWORK_CASES,
    **SPOT_CASES,
    **TAG_CASES,
    **VOLUME_CASES,
    "CreateKeyPair": Case(
        [
            lambda w: {
                "KeyName": w.unique,
                "KeyType": "ed25519",
                "KeyFormat": "ppk",
                "TagSpecifications": tagged("key-pair"),
            }
        ],
        [
            ("InvalidKeyPair.Duplicate", lambda w: {"KeyName": w.key_name, "KeyType": "ed25519"}),
            ("InvalidParameterValue", lambda w: {"KeyName": w.unique, "KeyType": "dsa"}),
        ],
    ),
    "DeleteKeyPair": Case(
        [lambda w: {"KeyName": w.key_name}, lambda w: {"KeyPairId": w.key_pair}],
        [("MissingParameter", lambda _: {})],
    ),
    "DescribeAccountAttributes": Case(
        [lambda _: {}, lambda _: {"AttributeNames": ["default-vpc"]}],
        [("InvalidParameterValue", lambda _: {"AttributeNames": ["nothing"]})],
    ),
    "DescribeAvailabilityZones": Case(
        [
            lambda _: {
                "ZoneNames": ["condor-a"],
                "ZoneIds": ["condor-a"],
                "Filters": where("state", "available"),
            }
        ],
        [("InvalidParameterValue", lambda _: {"ZoneNames": ["nowhere"]})],
    ),
    "DescribeInstanceTypeOfferings": Case(
        [
            lambda _: {
                "LocationType": "availability-zone",
                "Filters": where("instance-type", "small"),
                **PAGE,
            }
        ],
        [("InvalidParameterValue", lambda _: {"LocationType": "moon"})],
    ),
    "DescribeInstanceTypes": Case(
        [
            lambda _: {"InstanceTypes": ["small"], "Filters": where("hypervisor", "xen")},
            lambda _: PAGE,
        ],
        [("InvalidInstanceType", lambda _: {"InstanceTypes": ["huge"]})],
        ids=["InstanceTypes"],
    ),
    "DescribeInstances": Case(
        [
            lambda _: PAGE,
            lambda w: {"InstanceIds": [w.instance]},
            lambda w: {"Filters": where("instance-id", w.instance)},
            lambda w: {"Filters": where("image-id", w.image)},
            lambda w: {"Filters": where("owner-id", w.account)},
            lambda w: {"Filters": where("tag:key", w.tag_value)},
        ],
        [("InvalidInstanceID.NotFound", lambda _: {"InstanceIds": [NO_INSTANCE]})],
        rows=one_more_instance,
        ids=["InstanceIds"],
    ),
    "DescribeKeyPairs": Case(
        [
            lambda w: {"KeyNames": [w.key_name], "IncludePublicKey": True},
            lambda w: {"KeyPairIds": [w.key_pair]},
            lambda w: {"Filters": where("key-name", w.key_name)},
            lambda w: {"Filters": where("key-pair-id", w.key_pair)},
        ],
        [("InvalidKeyPair.NotFound", lambda _: {"KeyNames": ["nothing"]})],
    ),
    "DescribeRegions": Case(
        [lambda _: {"RegionNames": ["condor"], "Filters": where("region-name", "c*")}],
        [("InvalidParameterValue", lambda _: {"RegionNames": ["nowhere"]})],
    ),
    "GetConsoleOutput": Case(
        [lambda w: {"InstanceId": w.instance}],
        [("InvalidInstanceID.NotFound", lambda _: {"InstanceId": NO_INSTANCE})],
    ),
    "GetConsoleScreenshot": Case(
        [lambda w: {"InstanceId": w.running, "WakeUp": True}],
        [
            ("InvalidInstanceID.NotFound", lambda _: {"InstanceId": NO_INSTANCE}),
            ("IncorrectInstanceState", lambda w: {"InstanceId": w.instance}),
        ],
    ),
    "GetPasswordData": Case(
        [lambda w: {"InstanceId": w.instance}],
        [("InvalidInstanceID.NotFound", lambda _: {"InstanceId": NO_INSTANCE})],
    ),
    "ImportKeyPair": Case(
        [
            lambda w: {
                "KeyName": w.unique,
                "PublicKeyMaterial": ED25519,
                "TagSpecifications": tagged("key-pair"),
            }
        ],
        [
            ("InvalidKey.Format", lambda w: {"KeyName": w.unique, "PublicKeyMaterial": b"key"}),
        ],
    ),
    "RunInstances": Case(
        [
            _launch,
            _launch_with_everything,
            _launch_by_zone_id,
            launch_by_ids,
            launch_by_interface,
            launch_by_name,
            launch_spot,
        ],
        [
            ("InvalidAMIID.NotFound", lambda w: _launch(w, ImageId=NO_IMAGE)),
            ("InvalidKeyPair.NotFound", lambda w: _launch(w, KeyName="nothing")),
            ("InstanceLimitExceeded", lambda w: _launch(w, MinCount=1001, MaxCount=1001)),
        ],
        changed={
            "ImageId": NO_IMAGE,
            "InstanceType": "medium",
            "KeyName": "other",
            "MaxCount": 2,
            "UserData": "eA==",
            "TagSpecifications": tagged("instance", "other"),
        },
    ),
    "ModifyInstanceMetadataOptions": Case(
        [lambda w: {"InstanceId": w.instance, **METADATA_OPTIONS}],
        [
            ("InvalidInstanceID.NotFound", lambda _: {"InstanceId": NO_INSTANCE}),
            (
                "InvalidParameterValue",
                lambda w: {"InstanceId": w.instance, "HttpPutResponseHopLimit": 65},
            ),
        ],
    ),
    "TerminateInstances": Case(
        [lambda w: {"InstanceIds": [w.instance]}],
        [
            (
                "InvalidInstanceID.NotFound",
                lambda w: {"InstanceIds": [w.instance, NO_INSTANCE]},
            )
        ],
    ),
}


def case(action: str) -> Case:
    """Return an action's case; fail with what its author has to add."""
    found = CASES.get(action)
    assert found is not None, (
        f"{action} is a new action: add its calls to CASES in tests/unit/action_cases.py"
    )
    return found
