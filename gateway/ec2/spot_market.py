# SPDX-License-Identifier: Apache-2.0
"""What is asked for with a spot instance: RunInstances' InstanceMarketOptions, and the like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.cloud.spot import Terms
from gateway.ec2 import tagging
from gateway.errors import InvalidParameterCombination, InvalidParameterValue, UnsupportedOperation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

RESOURCE_TYPE = "spot-instances-request"

_OPTIONS = "InstanceMarketOptions.SpotOptions"
MEMBERS = (
    "InstanceMarketOptions.MarketType",
    f"{_OPTIONS}.InstanceInterruptionBehavior",
    f"{_OPTIONS}.MaxPrice",
    f"{_OPTIONS}.SpotInstanceType",
    f"{_OPTIONS}.ValidUntil",
)
_OTHER_MARKETS = ("capacity-block", "interruptible-capacity-reservation", "on-demand")


def read(given: Mapping[str, Any], now: datetime) -> Terms | None:
    """Return how a launch asks for spot instances, None where it does not."""
    market, options = given.get("MarketType"), given.get("SpotOptions")
    if market != "spot":
        if market in _OTHER_MARKETS:
            raise UnsupportedOperation(f"The market type {market} is not supported.")
        if market is not None:
            raise InvalidParameterValue.of("marketType", market, "It is spot.")
        if options is not None:
            raise InvalidParameterCombination(
                "SpotOptions can be used only with the market type spot."
            )
        return None
    chosen = options or {}
    terms = Terms(
        type=chosen.get("SpotInstanceType", "one-time"),
        interruption_behavior=behavior(chosen),
        max_price=chosen.get("MaxPrice"),
        valid_until=chosen.get("ValidUntil"),
    )
    # Until when is the launch's to refuse: one that is asked for again has its answer already.
    check(terms._replace(valid_until=None), now)
    if terms.type == "persistent" and terms.interruption_behavior == "terminate":
        raise InvalidParameterCombination(
            "RunInstances supports persistent Spot Instance requests only with the interruption"
            " behavior stop."
        )
    if terms.type == "one-time" and terms.valid_until is not None:
        raise InvalidParameterCombination(
            "ValidUntil is not supported for a one-time Spot Instance request of RunInstances."
        )
    return terms


class GivenTags(NamedTuple):
    """The tags that a launch gives to each of what it makes."""

    instance: Mapping[str, str]
    volume: Mapping[str, str]
    request: Mapping[str, str]


def read_tags(terms: Terms | None, specifications: Sequence[Mapping[str, Any]]) -> GivenTags:
    """Return the tags of a launch; only spot instances have requests."""
    made = ["instance", "volume", *([] if terms is None else [RESOURCE_TYPE])]
    given = tagging.read_each(specifications, *made)
    return GivenTags(given["instance"], given["volume"], given.get(RESOURCE_TYPE, {}))


def behavior(given: Mapping[str, Any]) -> str:
    """Return what an interruption is to do."""
    chosen = str(given.get("InstanceInterruptionBehavior", "terminate"))
    if chosen == "hibernate":
        raise UnsupportedOperation("The interruption behavior hibernate is not supported.")
    return chosen


def check(terms: Terms, now: datetime) -> None:
    """Refuse terms that EC2 does not take."""
    terms.check(now)
    if terms.type == "one-time" and terms.interruption_behavior == "stop":
        raise InvalidParameterCombination(
            "The interruption behavior stop is supported only for persistent Spot Instance"
            " requests."
        )


def check_protection(*, stop: bool, termination: bool) -> None:
    """Refuse what would keep a spot instance from being interrupted."""
    for name, given in (("stop", stop), ("termination", termination)):
        if given:
            raise InvalidParameterCombination(
                f"You can't enable {name} protection for Spot Instances."
            )


def shutdown_behavior(terms: Terms | None, given: str | None) -> str:
    """Return what becomes of an instance whose guest powers off.

    The instance of a one-time request cannot be stopped.
    """
    if terms is None or terms.type == "persistent":
        return "stop" if given is None else given
    if given == "stop":
        raise InvalidParameterCombination(
            "The instance initiated shutdown behavior stop is not supported for a one-time Spot"
            " Instance request."
        )
    return "terminate" if given is None else given
