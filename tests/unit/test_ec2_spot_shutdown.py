# SPDX-License-Identifier: Apache-2.0
"""What becomes of a spot instance whose guest powers off, and who may say so."""

from __future__ import annotations

from typing import Any

import pytest
from answers import code
from botocore.exceptions import ClientError
from test_ec2_spot import STOP, launch, message


def shutdown_behavior(ec2: Any, instance: dict[str, Any]) -> str:
    name = "instanceInitiatedShutdownBehavior"
    found = ec2.describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute=name)
    behavior: str = found["InstanceInitiatedShutdownBehavior"]["Value"]
    return behavior


@pytest.mark.parametrize(
    "given",
    [
        {"InstanceInitiatedShutdownBehavior": {"Value": "stop"}},
        {"Attribute": "instanceInitiatedShutdownBehavior", "Value": "stop"},
    ],
)
def test_only_the_guest_of_a_persistent_request_can_stop_by_powering_off(
    ec2: Any, image: str, given: dict[str, Any]
) -> None:
    [once], [again] = launch(ec2, image), launch(ec2, image, STOP)
    assert (shutdown_behavior(ec2, once), shutdown_behavior(ec2, again)) == ("terminate", "stop")
    with pytest.raises(ClientError) as caught:
        ec2.modify_instance_attribute(InstanceId=once["InstanceId"], **given)
    assert code(caught) == "UnsupportedOperation"
    assert "instanceInitiatedShutdownBehavior" in message(caught)
    for instance in (once, again):
        asked = {"InstanceId": instance["InstanceId"]}
        ec2.modify_instance_attribute(
            **asked, InstanceInitiatedShutdownBehavior={"Value": "terminate"}
        )
    ec2.modify_instance_attribute(InstanceId=again["InstanceId"], **given)
    assert (shutdown_behavior(ec2, once), shutdown_behavior(ec2, again)) == ("terminate", "stop")


def test_a_one_time_launch_cannot_ask_to_stop_by_powering_off(ec2: Any, image: str) -> None:
    with pytest.raises(ClientError) as caught:
        ec2.run_instances(
            ImageId=image,
            MinCount=1,
            MaxCount=1,
            InstanceMarketOptions={"MarketType": "spot"},
            InstanceInitiatedShutdownBehavior="stop",
        )
    assert code(caught) == "InvalidParameterCombination"
    assert "one-time Spot Instance request" in message(caught)
