# SPDX-License-Identifier: Apache-2.0
"""Spot instances as clients ask for them and see them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from answers import code
from botocore.exceptions import ClientError

from gateway.cloud import quotas, spot, states
from gateway.store import database, instances

if TYPE_CHECKING:
    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey

STOP = {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop"}


def message(caught: pytest.ExceptionInfo[ClientError]) -> str:
    return str(caught.value.response["Error"]["Message"])


def launch(ec2: Any, image: str, options: dict[str, Any] | None = None, **other: Any) -> Any:
    market: dict[str, Any] = {"MarketType": "spot"}
    if options is not None:
        market["SpotOptions"] = options
    given = {"MinCount": 1, "MaxCount": 1, "InstanceMarketOptions": market} | other
    return ec2.run_instances(ImageId=image, **given)["Instances"]


def described(ec2: Any, **asked: Any) -> Any:
    return ec2.describe_spot_instance_requests(**asked)["SpotInstanceRequests"]


def follow(endpoint: Endpoint) -> None:
    """Do what the reconciler does in a moment."""
    with database.writing(endpoint.database) as db:
        spot.follow(db, datetime.now(UTC))


def test_each_spot_instance_is_of_a_request_of_its_own(ec2: Any, image: str) -> None:
    given = {"Key": "a", "Value": "b"}
    made = launch(
        ec2,
        image,
        {"MaxPrice": "0.05"},
        MaxCount=2,
        TagSpecifications=[{"ResourceType": "spot-instances-request", "Tags": [given]}],
    )
    ids = [one["SpotInstanceRequestId"] for one in made]
    assert [one["InstanceLifecycle"] for one in made] == ["spot", "spot"]
    assert len(set(ids)) == 2
    found = {one["SpotInstanceRequestId"]: one for one in described(ec2)}
    assert found.keys() == set(ids)
    for one in made:
        request = found[one["SpotInstanceRequestId"]]
        assert request["InstanceId"] == one["InstanceId"]
        assert (request["State"], request["Status"]["Code"]) == ("active", "fulfilled")
        assert request["Type"] == "one-time"
        assert request["InstanceInterruptionBehavior"] == "terminate"
        assert request["SpotPrice"] == "0.050000"
        assert request["Tags"] == [given]
        assert request["LaunchSpecification"]["ImageId"] == image
        assert one["Tags"] == []


def test_a_launch_asked_for_again_is_answered_though_its_time_is_over(ec2: Any, image: str) -> None:
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
    options = STOP | {"ValidUntil": end}
    [first] = launch(ec2, image, options, ClientToken="once")
    while datetime.now(UTC) <= end:
        time.sleep(0.05)
    [again] = launch(ec2, image, options, ClientToken="once")
    assert again["InstanceId"] == first["InstanceId"]
    with pytest.raises(ClientError) as caught:
        launch(ec2, image, options, ClientToken="another")
    assert code(caught) == "InvalidParameterValue"


def test_instances_can_be_found_by_their_lifecycle_and_request(ec2: Any, image: str) -> None:
    [made] = launch(ec2, image)
    plain = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    assert "InstanceLifecycle" not in plain
    for name, value in (
        ("instance-lifecycle", "spot"),
        ("spot-instance-request-id", made["SpotInstanceRequestId"]),
    ):
        found = ec2.describe_instances(Filters=[{"Name": name, "Values": [value]}])
        [[only]] = [one["Instances"] for one in found["Reservations"]]
        assert only["InstanceId"] == made["InstanceId"]


@pytest.mark.parametrize(
    ("name", "value", "count"),
    [
        ("state", "active", 2),
        ("state", "open", 0),
        ("status-code", "fulfilled", 2),
        ("status-message", "*fulfilled.", 2),
        ("type", "persistent", 1),
        ("spot-price", "0.050000", 1),
        ("launch.instance-type", "small", 2),
        ("launch.monitoring-enabled", "false", 2),
        ("product-description", "Linux/UNIX", 2),
        ("launched-availability-zone", "condor-a", 2),
        ("tag-key", "x", 0),
    ],
)
def test_requests_can_be_found_by_what_is_described(
    ec2: Any, image: str, name: str, value: str, count: int
) -> None:
    launch(ec2, image, STOP | {"MaxPrice": "0.05"})
    launch(ec2, image)
    assert len(described(ec2, Filters=[{"Name": name, "Values": [value]}])) == count


@pytest.mark.parametrize(
    ("options", "expected", "words"),
    [
        ({"MaxPrice": "cheap"}, "InvalidParameterValue", '"cheap" is an invalid spot instance'),
        ({"MaxPrice": "0"}, "InvalidParameterValue", "Value (0) for parameter price is invalid"),
        ({"MaxPrice": "-1"}, "InvalidParameterValue", "price"),
        ({"MaxPrice": "1e3"}, "InvalidParameterValue", "price"),
        ({"BlockDurationMinutes": 60}, "UnsupportedOperation", "BlockDurationMinutes"),
        ({"InstanceInterruptionBehavior": "hibernate"}, "UnsupportedOperation", "hibernate"),
        ({"InstanceInterruptionBehavior": "stop"}, "InvalidParameterCombination", "persistent"),
        ({"InstanceInterruptionBehavior": "x"}, "InvalidParameterValue", "Behavior"),
        ({"SpotInstanceType": "persistent"}, "InvalidParameterCombination", "stop"),
        ({"SpotInstanceType": "forever"}, "InvalidParameterValue", "spotInstanceType"),
        (STOP | {"ValidUntil": datetime(2020, 1, 1, tzinfo=UTC)}, "InvalidParameterValue", "2020"),
        (
            {"ValidUntil": datetime(2199, 1, 1, tzinfo=UTC)},
            "InvalidParameterCombination",
            "one-time",
        ),
    ],
)
def test_options_that_ec2_does_not_take_are_refused(
    ec2: Any, image: str, options: dict[str, Any], expected: str, words: str
) -> None:
    with pytest.raises(ClientError) as caught:
        launch(ec2, image, options)
    assert code(caught) == expected
    assert words in message(caught)
    assert described(ec2) == []


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"InstanceMarketOptions": {"MarketType": "capacity-block"}}, "UnsupportedOperation"),
        ({"InstanceMarketOptions": {"MarketType": "flea"}}, "InvalidParameterValue"),
        (
            {"InstanceMarketOptions": {"SpotOptions": {"MaxPrice": "1"}}},
            "InvalidParameterCombination",
        ),
        ({"DisableApiTermination": True}, "InvalidParameterCombination"),
        ({"DisableApiStop": True}, "InvalidParameterCombination"),
        ({"InstanceInitiatedShutdownBehavior": "stop"}, "InvalidParameterCombination"),
    ],
)
def test_what_a_spot_instance_cannot_be_is_refused(
    ec2: Any, image: str, other: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ClientError) as caught:
        launch(ec2, image, **other)
    assert code(caught) == expected


def test_the_instance_of_a_one_time_request_ends_when_it_powers_off(ec2: Any, image: str) -> None:
    for options, expected in ((None, "terminate"), (STOP, "stop")):
        [made] = launch(ec2, image, options)
        told = ec2.describe_instance_attribute(
            InstanceId=made["InstanceId"], Attribute="instanceInitiatedShutdownBehavior"
        )
        assert told["InstanceInitiatedShutdownBehavior"]["Value"] == expected


def test_tags_for_requests_are_refused_where_there_will_be_none(ec2: Any, image: str) -> None:
    with pytest.raises(ClientError) as caught:
        ec2.run_instances(
            ImageId=image,
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[
                {"ResourceType": "spot-instances-request", "Tags": [{"Key": "a", "Value": "b"}]}
            ],
        )
    assert code(caught) == "UnsupportedOperation"


def test_a_launch_that_comes_again_has_the_same_requests(ec2: Any, image: str) -> None:
    first, again = (launch(ec2, image, ClientToken="t", MaxCount=2) for _ in range(2))
    told = [[one["SpotInstanceRequestId"] for one in made] for made in (first, again)]
    assert told[0] == told[1]
    assert len(described(ec2)) == 2


def test_a_cancelled_request_leaves_its_instance_running_and_tells_of_its_end(
    ec2: Any, image: str, endpoint: Endpoint
) -> None:
    [made] = launch(ec2, image)
    name = made["SpotInstanceRequestId"]
    done = ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[name])
    assert done["CancelledSpotInstanceRequests"] == [
        {"SpotInstanceRequestId": name, "State": "cancelled"}
    ]
    follow(endpoint)
    [request] = described(ec2, SpotInstanceRequestIds=[name])
    assert request["Status"]["Code"] == "request-canceled-and-instance-running"
    ec2.terminate_instances(InstanceIds=[made["InstanceId"]])
    follow(endpoint)
    [request] = described(ec2)
    assert (request["State"], request["Status"]["Code"]) == (
        "cancelled",
        "instance-terminated-by-user",
    )


def test_a_request_ends_with_its_instance_and_stays_closed_when_it_is_cancelled(
    ec2: Any, image: str, endpoint: Endpoint
) -> None:
    [made] = launch(ec2, image)
    ec2.terminate_instances(InstanceIds=[made["InstanceId"]])
    follow(endpoint)
    [request] = described(ec2)
    assert (request["State"], request["Status"]["Code"]) == (
        "closed",
        "instance-terminated-by-user",
    )
    [told] = ec2.cancel_spot_instance_requests(
        SpotInstanceRequestIds=[made["SpotInstanceRequestId"]]
    )["CancelledSpotInstanceRequests"]
    assert told["State"] == "closed"


def test_only_the_instance_of_a_persistent_request_can_be_stopped_and_started(
    ec2: Any, image: str, endpoint: Endpoint
) -> None:
    [once], [again] = launch(ec2, image), launch(ec2, image, STOP)
    for one in (once, again):
        endpoint.change_state(one["InstanceId"], "running")
    with pytest.raises(ClientError) as caught:
        ec2.stop_instances(InstanceIds=[once["InstanceId"]])
    assert code(caught) == "UnsupportedOperation"
    assert "associated with a one-time Spot Instance request" in message(caught)

    ids = [again["InstanceId"]]
    wanted = [{"Name": "type", "Values": ["persistent"]}]
    ec2.stop_instances(InstanceIds=ids)
    endpoint.change_state(ids[0], "stopped")
    follow(endpoint)
    [request] = described(ec2, Filters=wanted)
    assert (request["State"], request["Status"]["Code"]) == ("disabled", "instance-stopped-by-user")
    ec2.start_instances(InstanceIds=ids)
    follow(endpoint)
    assert described(ec2, Filters=wanted)[0]["State"] == "active"


def test_an_instance_that_was_stopped_for_others_is_not_its_owner_s_to_start(
    ec2: Any, image: str, endpoint: Endpoint
) -> None:
    [made] = launch(ec2, image, STOP)
    endpoint.change_state(made["InstanceId"], "running")
    with database.writing(endpoint.database) as db:
        found = instances.get(db, made["InstanceId"])
        assert found is not None
        spot.mark(db, found, datetime.now(UTC), datetime.now(UTC))
        assert spot.interrupt_due(db, datetime.now(UTC), 1.0) == [found.id]
        stopping = instances.get(db, found.id)
        assert stopping is not None
        states.change(db, stopping, "stopped", datetime.now(UTC))
    follow(endpoint)
    with pytest.raises(ClientError) as caught:
        ec2.start_instances(InstanceIds=[made["InstanceId"]])
    assert code(caught) == "IncorrectSpotRequestState"


@pytest.mark.parametrize("name", ["DisableApiTermination", "DisableApiStop"])
def test_no_protection_keeps_a_spot_instance(ec2: Any, image: str, name: str) -> None:
    [made] = launch(ec2, image)
    change = {"InstanceId": made["InstanceId"]}
    with pytest.raises(ClientError) as caught:
        ec2.modify_instance_attribute(**change, **{name: {"Value": True}})
    assert code(caught) == "UnsupportedOperation"
    ec2.modify_instance_attribute(**change, **{name: {"Value": False}})


def ask(ec2: Any, image: str, **other: Any) -> Any:
    given = {"LaunchSpecification": {"ImageId": image, "InstanceType": "small"}} | other
    return ec2.request_spot_instances(**given)["SpotInstanceRequests"]


def test_requests_wait_for_room_for_a_week_unless_they_say_otherwise(ec2: Any, image: str) -> None:
    made = sorted(
        ask(ec2, image, InstanceCount=2), key=lambda request: request["SpotInstanceRequestId"]
    )
    assert made == described(ec2)
    for request in made:
        assert (request["State"], request["Status"]["Code"]) == ("open", "pending-evaluation")
        assert "InstanceId" not in request
        assert request["ValidUntil"] - request["CreateTime"] == timedelta(days=7)
    [request] = ask(ec2, image, Type="persistent")
    assert "ValidUntil" not in request
    assert ec2.describe_instances()["Reservations"] == [], "what was tried out is gone"
    names = [request["SpotInstanceRequestId"]]
    ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=names)
    [request] = described(ec2, SpotInstanceRequestIds=names)
    assert request["State"] == "cancelled"
    assert request["Status"]["Code"] == "canceled-before-fulfillment"


def test_a_request_may_begin_at_the_end_of_time(ec2: Any, image: str) -> None:
    end = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    [request] = ask(ec2, image, ValidFrom=end - timedelta(days=1))
    assert request["ValidUntil"] == end


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"InstanceCount": 0}, "InvalidParameterValue"),
        ({"InstanceCount": 1001}, "InvalidParameterValue"),
        ({"LaunchGroup": "g"}, "UnsupportedOperation"),
        ({"AvailabilityZoneGroup": "g"}, "UnsupportedOperation"),
        ({"BlockDurationMinutes": 60}, "UnsupportedOperation"),
        ({"InstanceInterruptionBehavior": "stop"}, "InvalidParameterCombination"),
        ({"InstanceInterruptionBehavior": "hibernate"}, "UnsupportedOperation"),
        ({"ValidFrom": datetime(2020, 1, 1, tzinfo=UTC)}, "InvalidParameterValue"),
        ({"ValidUntil": datetime(2020, 1, 1, tzinfo=UTC)}, "InvalidParameterValue"),
        ({"Type": "weekly"}, "InvalidParameterValue"),
    ],
)
def test_requests_that_ec2_does_not_take_are_refused(
    ec2: Any, image: str, other: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ClientError) as caught:
        ask(ec2, image, **other)
    assert code(caught) == expected
    assert described(ec2) == []


@pytest.mark.parametrize(
    ("specification", "expected"),
    [
        ({"InstanceType": "huge"}, "InvalidParameterValue"),
        ({"Placement": {"AvailabilityZone": "moon"}}, "InvalidParameterValue"),
        ({"Placement": {"Tenancy": "host"}}, "UnsupportedOperation"),
        ({"SubnetId": "subnet-12345678"}, "InvalidSubnetID.NotFound"),
        ({"IamInstanceProfile": {"Name": "x"}}, "UnsupportedOperation"),
        ({"UserData": "%"}, "InvalidParameterValue"),
        ({"ImageId": "ami-0123456789abcdef0"}, "InvalidAMIID.NotFound"),
    ],
)
def test_what_could_not_be_launched_is_refused_when_it_is_asked_for(
    ec2: Any, image: str, specification: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ClientError) as caught:
        ask(ec2, image, LaunchSpecification={"ImageId": image} | specification)
    assert code(caught) == expected
    assert described(ec2) == []


def test_more_requests_than_the_account_may_have_instances_are_refused(
    ec2: Any, image: str, endpoint: Endpoint, key: AccessKey
) -> None:
    with database.writing(endpoint.database) as db:
        quotas.put(db, key.account_id, "instances", 1)
    with pytest.raises(ClientError) as caught:
        ask(ec2, image, InstanceCount=2)
    assert code(caught) == "MaxSpotInstanceCountExceeded"


def test_a_request_has_tags_of_its_own(ec2: Any, image: str) -> None:
    [made] = launch(ec2, image)
    name = made["SpotInstanceRequestId"]
    ec2.create_tags(Resources=[name], Tags=[{"Key": "a", "Value": "b"}])
    [tag] = ec2.describe_tags()["Tags"]
    assert (tag["ResourceId"], tag["ResourceType"]) == (name, "spot-instances-request")
    [found] = described(ec2, Filters=[{"Name": "tag:a", "Values": ["b"]}])
    assert found["SpotInstanceRequestId"] == name


def test_every_status_has_its_words() -> None:
    assert all(text.endswith(".") for text in spot.MESSAGES.values())
    assert timedelta(days=1) < spot.KEPT
