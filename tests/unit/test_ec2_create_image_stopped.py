# SPDX-License-Identifier: Apache-2.0
"""CreateImage of a stopped instance: its node copies the disk before anybody writes to it again."""

from __future__ import annotations

import contextlib
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from answers import code
from botocore.exceptions import ClientError
from capture_world import DISK, WHOLE, Node, described, import_all

from gateway.cloud import captures as rules
from gateway.cloud import quotas
from gateway.imagestore import arrivals
from gateway.store import captures, database, instances

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey

HOW = "stopped"
BEGINS = {"how": HOW, "begins": True}
STOPPED = WHOLE | {"how": HOW}


@pytest.fixture
def node(endpoint: Endpoint, ec2: Any, image: str) -> Iterator[Node]:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    made = Node(endpoint, launched["InstanceId"])
    made.claim()
    made.end()
    with contextlib.closing(made.doorbell):
        yield made


def create(ec2: Any, node: Node, **asked: Any) -> tuple[str, int]:
    """Return an image that is asked for, and the number by which the node knows it."""
    asked = {"InstanceId": node.instance, "Name": str(uuid4())} | asked
    made = ec2.create_image(**asked)["ImageId"]
    return str(made), int(node.errands()[-1]["id"])


def start(ec2: Any, node: Node) -> None:
    ec2.start_instances(InstanceIds=[node.instance])


def reason(ec2: Any, image_id: str) -> str:
    found = described(ec2, image_id)
    assert found["State"] == "failed"
    return str(found["StateReason"]["Message"])


def age(endpoint: Endpoint, number: int, by: timedelta) -> None:
    """Let it be that much longer ago that the node was heard of a copy."""
    with database.writing(endpoint.database) as db:
        captures.update_heard(db, number, None, datetime.now(UTC) - by)


@pytest.mark.parametrize("no_reboot", [True, False])
def test_the_node_is_told_until_it_has_sent_the_disk(
    endpoint: Endpoint, ec2: Any, node: Node, image: str, no_reboot: bool
) -> None:
    made, number = create(ec2, node, NoReboot=no_reboot)
    [errand] = node.errands()
    assert (errand["kind"], errand["instance"]) == ("capture", node.instance)
    assert errand["image"]["id"] == image
    assert node.errands(number) == []
    assert node.commands() == []
    assert node.report(number) == (200, {"bytes": 0})
    assert node.report(number, **BEGINS) == (200, {"bytes": 0})
    assert node.report(number, how=HOW, size=len(DISK)) == (200, {"bytes": 0})
    node.send_all(number)
    assert node.report(number, **STOPPED) == (200, {"bytes": len(DISK)})
    assert node.errands() == []
    import_all(endpoint)
    found = described(ec2, made)
    assert (found["State"], found["SourceInstanceId"]) == ("available", node.instance)
    assert found["StateReason"]["Message"] == rules.NOTES[HOW]
    shown = ec2.describe_instances(InstanceIds=[node.instance])["Reservations"][0]["Instances"][0]
    assert shown["State"]["Name"] == "stopped"


def test_a_node_that_begins_anew_mixes_no_two_copies(
    endpoint: Endpoint, ec2: Any, node: Node
) -> None:
    made, number = create(ec2, node)
    node.report(number, **BEGINS)
    node.send(number, 0, b"of the first copy")
    assert node.report(number, **BEGINS) == (200, {"bytes": 0})
    node.send_all(number)
    node.report(number, **STOPPED)
    import_all(endpoint)
    assert described(ec2, made)["State"] == "available"


def test_a_start_waits_for_a_copy_that_was_begun(endpoint: Endpoint, ec2: Any, node: Node) -> None:
    made, number = create(ec2, node)
    node.report(number, **BEGINS)
    start(ec2, node)
    # The supervisor waits for the lock, which the node has until the disk is copied.
    assert node.report(number, how=HOW)[0] == 200
    assert node.report(number, how=HOW, size=len(DISK))[0] == 200
    assert node.claim(2)[0] == 200
    node.send_all(number)
    import_all(endpoint)
    assert described(ec2, made)["State"] == "pending"
    node.report(number, **STOPPED)
    import_all(endpoint)
    assert described(ec2, made)["State"] == "available"


def test_a_start_that_has_no_disk_yet_does_not_keep_a_copy_from_beginning(
    ec2: Any, node: Node
) -> None:
    _, number = create(ec2, node)
    start(ec2, node)
    assert [one["id"] for one in node.errands()] == [number]
    assert node.report(number, **BEGINS)[0] == 200


@pytest.mark.parametrize("ended", [False, True])
def test_a_disk_that_was_started_before_it_is_copied_is_not_copied(
    endpoint: Endpoint, ec2: Any, node: Node, ended: bool
) -> None:
    made, number = create(ec2, node)
    start(ec2, node)
    node.claim(2)
    if ended:
        node.end(2)
    assert node.report(number, **BEGINS)[0] == 404
    import_all(endpoint)
    assert reason(ec2, made) == rules.STARTED


def test_a_copy_that_was_lost_is_not_begun_anew_of_a_disk_that_was_started(
    endpoint: Endpoint, ec2: Any, node: Node
) -> None:
    made, number = create(ec2, node)
    node.report(number, **BEGINS)
    node.send(number, 0, DISK[:100])
    start(ec2, node)
    node.claim(2)
    # As the next process asks before it has the disk, for which the guest keeps it waiting.
    assert node.report(number)[0] == 404
    assert reason(ec2, made) == rules.STARTED
    assert number not in arrivals.numbers(endpoint.settings)


def test_a_copy_gives_way_to_a_start_that_waits_too_long(
    endpoint: Endpoint, ec2: Any, node: Node
) -> None:
    made, number = create(ec2, node)
    node.report(number, **BEGINS)
    start(ec2, node)
    import_all(endpoint)
    assert described(ec2, made)["State"] == "pending"
    with database.writing(endpoint.database) as db:
        long_ago = datetime.now(UTC) - rules.START_WAITS - timedelta(seconds=1)
        instances.update_attributes(db, node.instance, {"started_at": long_ago})
    import_all(endpoint)
    assert reason(ec2, made) == rules.GAVE_WAY
    assert node.report(number, how=HOW)[0] == 404


def test_a_copy_that_is_made_keeps_no_start_waiting(
    endpoint: Endpoint, ec2: Any, node: Node
) -> None:
    made, number = create(ec2, node)
    node.report(number, **BEGINS)
    node.report(number, how=HOW, size=len(DISK))
    start(ec2, node)
    with database.writing(endpoint.database) as db:
        long_ago = datetime.now(UTC) - 2 * rules.START_WAITS
        instances.update_attributes(db, node.instance, {"started_at": long_ago})
    import_all(endpoint)
    assert described(ec2, made)["State"] == "pending"


@pytest.mark.parametrize("begun", [False, True])
def test_an_instance_that_is_terminated_meanwhile_fails_the_image(
    endpoint: Endpoint, ec2: Any, node: Node, begun: bool
) -> None:
    made, number = create(ec2, node)
    if begun:
        node.report(number, **BEGINS)
        node.send(number, 0, DISK[:100])
    ec2.terminate_instances(InstanceIds=[node.instance])
    assert node.send(number, 100, DISK[100:200])[0] == 404
    assert node.errands() == []
    import_all(endpoint)
    assert reason(ec2, made) == rules.ENDED
    assert number not in arrivals.numbers(endpoint.settings)


def test_a_node_that_says_nothing_fails_the_image(endpoint: Endpoint, ec2: Any, node: Node) -> None:
    made, number = create(ec2, node)
    age(endpoint, number, rules.SILENCE + timedelta(seconds=1))
    # A listener that is older than this does not name its errands, and hears of none.
    body = {"after": 1 << 30, "wait": 0, "prefetching": []}
    assert "errands" not in node.ask("/v1/commands", body)[1]
    import_all(endpoint)
    assert "not been heard of" in reason(ec2, made)


def test_a_copy_that_waits_for_its_turn_on_the_node_is_not_given_up(
    endpoint: Endpoint, ec2: Any, node: Node
) -> None:
    made, number = create(ec2, node)
    age(endpoint, number, rules.SILENCE - timedelta(seconds=1))
    node.errands(number)
    age_now = datetime.now(UTC)
    with database.reading(endpoint.database) as db:
        found = captures.get(db, number)
    assert found is not None
    assert age_now - found.heard_at < timedelta(minutes=1)
    # Nobody else's word counts.
    age(endpoint, number, rules.SILENCE + timedelta(seconds=1))
    other = Node(endpoint, node.instance)
    with contextlib.closing(other.doorbell):
        assert other.errands(number) == []
        assert other.report(number, **BEGINS)[0] == 404
    import_all(endpoint)
    assert described(ec2, made)["State"] == "failed"


def test_what_a_node_complains_of_is_the_images_reason(
    endpoint: Endpoint, ec2: Any, node: Node
) -> None:
    made, number = create(ec2, node)
    assert node.report(number, error="The node does not have the instance's disk.")[0] == 200
    assert reason(ec2, made) == "The node does not have the instance's disk."
    assert node.errands() == []
    import_all(endpoint)


def test_a_deregistered_image_is_no_errand_any_more(
    endpoint: Endpoint, ec2: Any, node: Node
) -> None:
    made, number = create(ec2, node)
    node.report(number, **BEGINS)
    ec2.deregister_image(ImageId=made)
    assert node.errands() == []
    assert node.report(number, how=HOW)[0] == 404
    import_all(endpoint)
    with database.reading(endpoint.database) as db:
        assert captures.get(db, number) is None


@pytest.mark.parametrize("how", ["frozen", "asleep"])
def test_a_word_for_a_running_guest_is_refused(ec2: Any, node: Node, how: str) -> None:
    _, number = create(ec2, node)
    assert node.report(number, how=how)[0] == 400


def test_another_accounts_instance_and_a_full_account_are_refused(
    endpoint: Endpoint, ec2: Any, node: Node, key: AccessKey
) -> None:
    stranger = endpoint.client(endpoint.new_key())
    with pytest.raises(ClientError) as caught:
        stranger.create_image(InstanceId=node.instance, Name=str(uuid4()))
    assert code(caught) == "InvalidInstanceID.NotFound"
    with pytest.raises(ClientError) as caught:
        create(ec2, node, DryRun=True)
    assert code(caught) == "DryRunOperation"
    assert node.errands() == []
    with database.writing(endpoint.database) as db:
        quotas.put(db, key.account_id, "images", 1)
    with pytest.raises(ClientError) as caught:
        create(ec2, node)
    assert code(caught) == "ResourceLimitExceeded"


def test_a_stopped_instance_whose_disk_no_node_has_is_refused(
    endpoint: Endpoint, ec2: Any, node: Node
) -> None:
    with database.writing(endpoint.database) as db:
        instances.update_over(db, node.instance, None)
    with pytest.raises(ClientError) as caught:
        ec2.create_image(InstanceId=node.instance, Name=str(uuid4()))
    assert code(caught) == "IncorrectInstanceState"


def test_a_node_that_waits_hears_of_an_errand_at_once(
    endpoint: Endpoint, ec2: Any, node: Node
) -> None:
    heard: list[Any] = []
    body = {"after": 1 << 30, "wait": 30, "prefetching": [], "errands": []}
    waiting = threading.Thread(target=lambda: heard.append(node.ask("/v1/commands", body)))
    waiting.start()
    ec2.create_image(InstanceId=node.instance, Name=str(uuid4()))
    waiting.join(20)
    [(status, answer)] = heard
    assert (status, len(answer["errands"])) == (200, 1)
