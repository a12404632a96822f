# SPDX-License-Identifier: Apache-2.0
"""Calls of the actions about instances' power, attributes and status, for action_cases.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from action_cases import NO_INSTANCE, Case

from gateway.cloud import networks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from action_cases import World
    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey


def _one_more_running(endpoint: Endpoint, key: AccessKey, w: World, _number: int) -> None:
    launched = endpoint.client(key).run_instances(ImageId=w.image, MinCount=1, MaxCount=1)
    endpoint.change_state(launched["Instances"][0]["InstanceId"], "running")


INSTANCE_CASES: Mapping[str, Case] = {
    "DescribeInstanceAttribute": Case(
        [lambda w: {"InstanceId": w.instance, "Attribute": "userData"}],
        [("InvalidParameterValue", lambda w: {"InstanceId": w.instance, "Attribute": "color"})],
    ),
    "ModifyInstanceAttribute": Case(
        [
            lambda w: {"InstanceId": w.stopped, "InstanceType": {"Value": "medium"}},
            lambda w: {"InstanceId": w.stopped, "UserData": {"Value": b"#!/bin/sh"}},
            lambda w: {"InstanceId": w.running, "DisableApiTermination": {"Value": True}},
            lambda w: {"InstanceId": w.running, "DisableApiStop": {"Value": True}},
            lambda w: {"InstanceId": w.running, "SourceDestCheck": {"Value": False}},
            lambda w: {
                "InstanceId": w.running,
                "InstanceInitiatedShutdownBehavior": {"Value": "terminate"},
            },
            lambda w: {
                "InstanceId": w.running,
                "Attribute": "instanceInitiatedShutdownBehavior",
                "Value": "terminate",
            },
            lambda w: {"InstanceId": w.running, "Groups": [networks.of(w.account).security_group]},
        ],
        [
            (
                "IncorrectInstanceState",
                lambda w: {"InstanceId": w.running, "InstanceType": {"Value": "medium"}},
            ),
            ("InvalidParameterCombination", lambda w: {"InstanceId": w.running}),
        ],
    ),
    "ResetInstanceAttribute": Case(
        [lambda w: {"InstanceId": w.running, "Attribute": "sourceDestCheck"}],
        [("InvalidParameterValue", lambda w: {"InstanceId": w.running, "Attribute": "userData"})],
    ),
    "MonitorInstances": Case(
        [lambda w: {"InstanceIds": [w.running]}],
        [("InvalidInstanceID.NotFound", lambda w: {"InstanceIds": [w.running, NO_INSTANCE]})],
    ),
    "UnmonitorInstances": Case(
        [lambda w: {"InstanceIds": [w.running]}],
        [("InvalidInstanceID.NotFound", lambda w: {"InstanceIds": [w.running, NO_INSTANCE]})],
    ),
    "DescribeInstanceStatus": Case(
        [
            lambda _: {
                "IncludeAllInstances": True,
                "MaxResults": 5,
                "Filters": [{"Name": "instance-state-name", "Values": ["running"]}],
            },
            lambda w: {"InstanceIds": [w.running]},
        ],
        [("InvalidInstanceID.NotFound", lambda w: {"InstanceIds": [w.running, NO_INSTANCE]})],
        rows=_one_more_running,
        ids=["InstanceIds"],
    ),
    "StopInstances": Case(
        [lambda w: {"InstanceIds": [w.running, w.stopped], "Force": True, "SkipOsShutdown": True}],
        [
            ("IncorrectInstanceState", lambda w: {"InstanceIds": [w.running, w.instance]}),
            ("InvalidInstanceID.NotFound", lambda w: {"InstanceIds": [w.running, NO_INSTANCE]}),
        ],
    ),
    "StartInstances": Case(
        [lambda w: {"InstanceIds": [w.stopped, w.running]}],
        [("InvalidInstanceID.NotFound", lambda w: {"InstanceIds": [w.stopped, NO_INSTANCE]})],
    ),
    "RebootInstances": Case(
        [lambda w: {"InstanceIds": [w.instance]}],
        [
            (
                "InvalidInstanceID.NotFound",
                lambda w: {"InstanceIds": [w.instance, NO_INSTANCE]},
            )
        ],
    ),
}
