# SPDX-License-Identifier: Apache-2.0
"""Calls of the actions about spot instances, for action_cases.py."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from action_cases import NO_IMAGE, PAGE, SPOT, Case, own_disk, tagged, where

from gateway.cloud import networks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from action_cases import World
    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey

ZONE = "condor-a"
NO_REQUEST = "sir-1a2b3c4x"
FAR_AWAY = datetime(2199, 1, 1, tzinfo=UTC)


def launch_spot(w: World) -> dict[str, Any]:
    return {
        "ImageId": w.image,
        "MinCount": 1,
        "MaxCount": 2,
        "InstanceMarketOptions": {
            "MarketType": "spot",
            "SpotOptions": {
                "SpotInstanceType": "persistent",
                "InstanceInterruptionBehavior": "stop",
                "MaxPrice": "0.05",
                "ValidUntil": FAR_AWAY,
            },
        },
        "TagSpecifications": tagged("instance") + tagged("spot-instances-request"),
    }


def _one_more_request(endpoint: Endpoint, key: AccessKey, w: World, _number: int) -> None:
    endpoint.client(key).run_instances(
        ImageId=w.image, MinCount=1, MaxCount=1, InstanceMarketOptions=SPOT
    )


def _specification(w: World, **other: Any) -> dict[str, Any]:
    return {"LaunchSpecification": {"ImageId": w.image, **other}}


def _request_with_everything(w: World) -> dict[str, Any]:
    return {
        **_specification(
            w,
            InstanceType="small",
            KeyName=w.key_name,
            UserData=base64.b64encode(b"#!/bin/sh\n").decode(),
            Placement={"AvailabilityZone": "condor-a"},
            BlockDeviceMappings=own_disk(w),
            Monitoring={"Enabled": True},
            SecurityGroupIds=[networks.of(w.account).security_group],
            SubnetId=networks.subnet(w.account, ZONE),
        ),
        "InstanceCount": 2,
        "Type": "persistent",
        "InstanceInterruptionBehavior": "terminate",
        "SpotPrice": "0.05",
        "ValidFrom": FAR_AWAY - timedelta(days=1),
        "ValidUntil": FAR_AWAY,
        "TagSpecifications": tagged("spot-instances-request"),
        "ClientToken": w.unique,
    }


def _request_by_interface(w: World) -> dict[str, Any]:
    network = networks.of(w.account)
    card = {
        "DeviceIndex": 0,
        "SubnetId": networks.subnet(w.account, ZONE),
        "Groups": [network.security_group],
    }
    return _specification(w, NetworkInterfaces=[card])


SPOT_CASES: Mapping[str, Case] = {
    "CancelSpotInstanceRequests": Case(
        [lambda w: {"SpotInstanceRequestIds": [w.spot_request]}],
        [
            (
                "InvalidSpotInstanceRequestID.NotFound",
                lambda w: {"SpotInstanceRequestIds": [w.spot_request, NO_REQUEST]},
            )
        ],
    ),
    "DescribeSpotInstanceRequests": Case(
        [
            lambda _: PAGE,
            lambda w: {"SpotInstanceRequestIds": [w.spot_request]},
            lambda w: {"Filters": where("spot-instance-request-id", w.spot_request)},
        ],
        [
            (
                "InvalidSpotInstanceRequestID.NotFound",
                lambda _: {"SpotInstanceRequestIds": [NO_REQUEST]},
            ),
            (
                "InvalidSpotInstanceRequestID.Malformed",
                lambda _: {"SpotInstanceRequestIds": ["sir-1"]},
            ),
        ],
        rows=_one_more_request,
        ids=["SpotInstanceRequestIds"],
    ),
    "RequestSpotInstances": Case(
        [
            _specification,
            _request_with_everything,
            _request_by_interface,
            lambda w: _specification(w, SecurityGroups=["default"]),
            lambda w: _specification(w, Placement={"AvailabilityZoneId": ZONE}),
        ],
        [
            ("InvalidAMIID.NotFound", lambda w: _specification(w, ImageId=NO_IMAGE)),
            ("InvalidKeyPair.NotFound", lambda w: _specification(w, KeyName="nothing")),
            ("InvalidParameterValue", lambda w: _specification(w) | {"SpotPrice": "0"}),
            ("MissingParameter", lambda _: {}),
        ],
        changed={
            "LaunchSpecification": {"ImageId": NO_IMAGE},
            "InstanceCount": 3,
            "SpotPrice": "0.06",
            "TagSpecifications": tagged("spot-instances-request", "other"),
        },
    ),
}
