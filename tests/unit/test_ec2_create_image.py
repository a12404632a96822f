# SPDX-License-Identifier: Apache-2.0
"""CreateImage: what is asked of the instance's node, and what becomes of what it sends."""

from __future__ import annotations

import contextlib
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from answers import code
from botocore.exceptions import ClientError
from capture_world import DIGEST, DISK, WHOLE, Node, create, described, import_all

from gateway.cloud import captures as rules
from gateway.imagestore import arrivals
from gateway.store import captures, database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Endpoint


@pytest.fixture
def node(endpoint: Endpoint, ec2: Any, image: str) -> Iterator[Node]:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    made = Node(endpoint, launched["InstanceId"])
    made.claim()
    with contextlib.closing(made.doorbell):
        yield made


def test_an_image_is_pending_until_its_node_has_sent_it_and_then_like_the_instances_own(
    endpoint: Endpoint, ec2: Any, node: Node, image: str
) -> None:
    tagged = [{"ResourceType": "image", "Tags": [{"Key": "a", "Value": "b"}]}]
    made, number = create(ec2, node, Description="words", TagSpecifications=tagged)
    [command] = node.commands()
    assert command == {"id": number, "verb": "capture", "grace": 0.0}
    import_all(endpoint)
    assert described(ec2, made)["State"] == "pending"
    assert node.report(number, how="frozen") == (200, {"bytes": 0})
    node.send_all(number)
    assert node.report(number, **WHOLE) == (200, {"bytes": len(DISK)})
    import_all(endpoint)
    found, source = described(ec2, made), described(ec2, image)
    assert found["State"] == "available"
    assert found["SourceInstanceId"] == node.instance
    assert found["SourceImageId"] == image
    assert found["StateReason"]["Code"] == "Client.CreateImage"
    assert found["StateReason"]["Message"] == rules.NOTES["frozen"]
    assert (found["Description"], found["Public"]) == ("words", False)
    assert found["Tags"] == tagged[0]["Tags"]
    for same in ("Architecture", "RootDeviceName", "VirtualizationType"):
        assert found[same] == source[same]
    assert (endpoint.settings.image_dir / DIGEST).read_bytes() == DISK
    assert arrivals.numbers(endpoint.settings).isdisjoint({number})
    with database.reading(endpoint.database) as db:
        assert captures.get(db, number) is None
    by_instance = [{"Name": "source-instance-id", "Values": [node.instance]}]
    assert [one["ImageId"] for one in ec2.describe_images(Filters=by_instance)["Images"]] == [made]


def test_without_no_reboot_the_guest_boots_anew(endpoint: Endpoint, ec2: Any, node: Node) -> None:
    create(ec2, node, NoReboot=False)
    [command] = node.commands()
    assert command["verb"] == "reboot-capture"
    assert command["grace"] == endpoint.settings.shutdown_grace


def test_pieces_may_be_lost_doubled_and_out_of_order(
    endpoint: Endpoint, ec2: Any, node: Node
) -> None:
    made, number = create(ec2, node)
    assert node.send(number, 100, DISK[100:200]) == (200, {"bytes": 0})
    assert node.send(number, 0, DISK[:1000]) == (200, {"bytes": 1000})
    assert node.send(number, 0, DISK[:1000]) == (200, {"bytes": 1000})
    assert node.report(number, **WHOLE) == (200, {"bytes": 1000})
    assert node.send(number, 500, DISK[500:]) == (200, {"bytes": len(DISK)})
    assert node.report(number, **WHOLE) == (200, {"bytes": len(DISK)})
    assert node.send(number, 0, b"changed")[0] == 404
    import_all(endpoint)
    assert described(ec2, made)["State"] == "available"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"sha256": "0" * 64}, "What came is not what was sent: its checksum is wrong."),
        ({"error": "The node's disk is full."}, "The node's disk is full."),
    ],
)
def test_what_does_not_come_whole_fails_with_a_reason(
    endpoint: Endpoint, ec2: Any, node: Node, wrong: dict[str, str], reason: str
) -> None:
    made, number = create(ec2, node)
    node.send_all(number)
    assert node.report(number, **(WHOLE | wrong))[0] == 200
    import_all(endpoint)
    found = described(ec2, made)
    assert (found["State"], found["StateReason"]["Message"]) == ("failed", reason)
    assert found["StateReason"]["Code"] == "Client.InvalidImage"
    assert number not in arrivals.numbers(endpoint.settings)
    assert node.report(number, how="frozen")[0] == 404


def test_an_image_larger_than_is_allowed_is_not_taken(
    endpoint: Endpoint, ec2: Any, node: Node
) -> None:
    made, number = create(ec2, node)
    assert node.send(number, 0, DISK[:10], endpoint.settings.image_size_limit + 1)[0] == 404
    assert "are allowed" in described(ec2, made)["StateReason"]["Message"]
    assert number not in arrivals.numbers(endpoint.settings)


def test_only_the_node_that_has_the_run_may_send(endpoint: Endpoint, ec2: Any, node: Node) -> None:
    made, number = create(ec2, node)
    other = Node(endpoint, node.instance)
    with contextlib.closing(other.doorbell):
        assert other.send(number, 0, DISK[:10])[0] == 404
        assert other.report(number, error="no")[0] == 404
    assert described(ec2, made)["State"] == "pending"


@pytest.mark.parametrize(
    "span", ["bytes 0-9/10", "bytes 0-2/3 ", "bytes 5-7/6", "bytes */3", "", "bytes 0-2/0"]
)
def test_a_piece_that_does_not_say_where_it_belongs_is_refused(
    ec2: Any, node: Node, span: str
) -> None:
    _, number = create(ec2, node)
    headers = node.headers | {"Content-Range": span}
    answer = node.http.put(f"/v1/captures/{number}", data=b"abc", headers=headers)
    assert (answer.status_code, answer.json["error"]) == (400, "bad-request")


@pytest.mark.parametrize("how", ["asleep", "", 7])
def test_a_word_that_is_not_known_is_refused(ec2: Any, node: Node, how: object) -> None:
    _, number = create(ec2, node)
    assert node.report(number, how=how)[0] == 400


@pytest.mark.parametrize("state", ["shutting-down", "terminated", "stopped"])
def test_an_image_of_an_instance_that_ends_before_fails(
    endpoint: Endpoint, ec2: Any, node: Node, state: str
) -> None:
    made, number = create(ec2, node)
    node.send(number, 0, DISK[:100])
    endpoint.change_state(node.instance, state)
    import_all(endpoint)
    assert described(ec2, made)["State"] == "failed"
    assert "ended before" in described(ec2, made)["StateReason"]["Message"]
    assert number not in arrivals.numbers(endpoint.settings)


def test_an_image_that_was_sent_outlives_its_instance(
    endpoint: Endpoint, ec2: Any, node: Node
) -> None:
    made, number = create(ec2, node)
    node.send_all(number)
    node.report(number, **WHOLE)
    endpoint.change_state(node.instance, "terminated")
    import_all(endpoint)
    assert described(ec2, made)["State"] == "available"


def test_a_node_that_falls_silent_fails_the_image(endpoint: Endpoint, ec2: Any, node: Node) -> None:
    made, number = create(ec2, node)
    long_ago = datetime.now(UTC) - rules.SILENCE - timedelta(seconds=1)
    with database.writing(endpoint.database) as db:
        captures.update_heard(db, number, None, long_ago)
    import_all(endpoint)
    assert "not been heard of" in described(ec2, made)["StateReason"]["Message"]


def test_an_image_waits_for_another_of_its_instance_however_long_that_takes(
    endpoint: Endpoint, ec2: Any, node: Node
) -> None:
    (first, at_work), (second, waits) = create(ec2, node), create(ec2, node)
    now = datetime.now(UTC)
    with database.writing(endpoint.database) as db:
        for number in (at_work, waits):
            captures.update_heard(db, number, None, now - 2 * rules.SILENCE)
    node.report(at_work, how="running")
    import_all(endpoint)
    assert [described(ec2, one)["State"] for one in (first, second)] == ["pending", "pending"]
    with database.writing(endpoint.database) as db:
        captures.update_heard(db, at_work, None, now - 2 * rules.SILENCE)
    import_all(endpoint)
    assert [described(ec2, one)["State"] for one in (first, second)] == ["failed", "failed"]


def test_a_deregistered_image_is_wanted_by_nobody(endpoint: Endpoint, ec2: Any, node: Node) -> None:
    made, number = create(ec2, node)
    node.send(number, 0, DISK[:100])
    ec2.deregister_image(ImageId=made)
    assert node.send(number, 100, DISK[100:200])[0] == 404
    import_all(endpoint)
    assert number not in arrivals.numbers(endpoint.settings)


def test_a_disk_may_be_asked_to_be_larger_and_not_smaller(
    endpoint: Endpoint, ec2: Any, key: Any
) -> None:
    large = endpoint.new_image(key.account_id, virtual_size=3 * 2**30)
    launched = ec2.run_instances(ImageId=large, MinCount=1, MaxCount=1)["Instances"][0]
    node = Node(endpoint, launched["InstanceId"])
    node.claim()
    with contextlib.closing(node.doorbell):
        made, _ = create(ec2, node, BlockDeviceMappings=disk(4))
        [mapping] = described(ec2, made)["BlockDeviceMappings"]
        assert mapping["Ebs"]["VolumeSize"] == 4
        with pytest.raises(ClientError) as caught:
            create(ec2, node, BlockDeviceMappings=disk(2))
    assert code(caught) == "InvalidBlockDeviceMapping"


def disk(gib: int) -> list[dict[str, Any]]:
    return [{"DeviceName": "/dev/vda", "Ebs": {"VolumeSize": gib}}]


def test_a_name_is_used_once(endpoint: Endpoint, ec2: Any, node: Node) -> None:
    made, _ = create(ec2, node)
    with pytest.raises(ClientError) as caught:
        create(ec2, node, Name=described(ec2, made)["Name"])
    assert code(caught) == "InvalidAMIName.Duplicate"


def test_no_room_at_the_gateway_fails_the_image(endpoint: Endpoint, ec2: Any, node: Node) -> None:
    made, number = create(ec2, node)
    # More than any disk has, below the limit of these settings.
    endless = dataclasses.replace(endpoint.settings, image_size_limit=2**62)
    with pytest.raises(arrivals.StoreFullError, match="no room"):
        arrivals.put(endless, number, 0, DISK[:10], 2**61)
    assert described(ec2, made)["State"] == "pending"
