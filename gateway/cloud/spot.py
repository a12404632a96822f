# SPDX-License-Identifier: Apache-2.0
"""Spot instances: they run in room that nobody else needs, and make it when somebody does.

Each is of one request. A one-time request ends with its instance; a persistent one launches
another, or starts the stopped one again. The states and codes are EC2's:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html

An interruption is a point in time in the database (``interrupt_at``). Until then the guest reads
of it in its metadata, whoever is restarted meanwhile; then it is ended as its owner would end it.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from gateway.cloud import ids, spot_launch, states
from gateway.cloud.errors import Invalid, NotFound, NotReady, unknown
from gateway.cloud.states import Reason
from gateway.store import commands, instances, spot_requests, tags
from gateway.store.spot_requests import SpotRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from gateway.cloud.instances import Launch
    from gateway.store.instances import Instance

KIND = "spot instances request"
TYPES = ("one-time", "persistent")
BEHAVIORS = ("terminate", "stop")
KEPT = timedelta(days=2)
"""How long a request that has ended is told of, at least."""

METADATA_VERB = "metadata"
TERMINATED = Reason(
    "Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination"
)
STOPPED = Reason("Server.SpotInstanceShutdown", "Server.SpotInstanceShutdown: Spot instance stop")
NO_ROOM = "Server.InsufficientInstanceCapacity"

MESSAGES: Mapping[str, str] = {
    "pending-evaluation": "Your Spot request has been submitted for review, and is pending"
    " evaluation.",
    "not-scheduled-yet": "Your Spot request will not be evaluated until the scheduled date.",
    "capacity-not-available": "There is no capacity available that matches your request.",
    "limit-exceeded": "A quota of your account allows no more instances now.",
    "bad-parameters": "Your Spot request has parameters that are not valid, such as an image that"
    " is not there any more.",
    "schedule-expired": "Your Spot request expired before it was fulfilled.",
    "canceled-before-fulfillment": "Your Spot request is canceled before it was fulfilled.",
    "system-error": "Your Spot Instance ended by an unexpected system error.",
    "fulfilled": "Your spot request is fulfilled.",
    "request-canceled-and-instance-running": "Your Spot request is canceled, but your instance is"
    " still running.",
    "marked-for-termination": "Your Spot Instance is marked for termination.",
    "marked-for-stop": "Your Spot Instance is marked for stop.",
    "instance-terminated-by-user": "Spot Instance terminated due to user-initiated termination.",
    "instance-terminated-no-capacity": "Your Spot Instance was terminated because there is no"
    " longer capacity for it.",
    "instance-stopped-by-user": "Your Spot Instance was stopped by its user.",
    "instance-stopped-no-capacity": "Your Spot Instance was stopped because there is no longer"
    " capacity for it.",
}
"""What each status code says to people."""

_PRICE = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?")
_LEAST_PRICE = Decimal("0.001")
_NEVER_FULFILLED = {"canceled-before-fulfillment", "schedule-expired"}
_OPEN_AGAIN = {TERMINATED.code, "Client.UserInitiatedShutdown", "Client.InstanceInitiatedShutdown"}


class Terms(NamedTuple):
    """How a spot instance is asked for, beside what is launched."""

    type: str = "one-time"
    interruption_behavior: str = "terminate"
    max_price: str | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None

    def check(self, now: datetime) -> None:
        """Raise :class:`Invalid` for what EC2 does not take; ``now`` is when it is asked for."""
        if self.type not in TYPES:
            _refuse("spot type", self.type, f"It is one of: {', '.join(TYPES)}.")
        if self.interruption_behavior not in BEHAVIORS:
            told = f"It is one of: {', '.join(BEHAVIORS)}."
            _refuse("interruption behavior", self.interruption_behavior, told)
        if self.max_price is not None and not _is_price(self.max_price):
            told = f'"{self.max_price}" is an invalid spot instance price'
            _refuse("spot price", self.max_price, told)
        if self.valid_from is not None and self.valid_from <= now:
            _refuse("valid from", _time(self.valid_from), "It has to be in the future.")
        if self.valid_until is not None and self.valid_until <= (self.valid_from or now):
            told = "It has to be in the future, and after the beginning."
            _refuse("valid until", _time(self.valid_until), told)


def fulfil_at_once(  # noqa: PLR0913 - whose, which, how asked for, how tagged, when
    db: Connection,
    account_id: str,
    launched: Sequence[Instance],
    asked: Launch,
    terms: Terms,
    *,
    tagged: Mapping[str, str],
    now: datetime,
) -> list[Instance]:
    """Make the instances of a launch spot instances, each with a request; return them.

    A launch that is answered again because of its client token has its requests already.
    Raises :class:`Invalid` for terms that EC2 does not take.
    """
    if not launched or launched[0].is_spot:
        return list(launched)
    terms.check(now)
    requests = [
        request._replace(state="active", status_code="fulfilled", instance_id=instance.id)
        for request, instance in zip(
            new_requests(account_id, len(launched), terms, asked, now), launched, strict=True
        )
    ]
    spot_requests.insert(db, requests)
    tags.insert(db, account_id, [request.id for request in requests], tagged)
    for request in requests:
        values = {"spot_request_id": request.id}
        instances.update_attributes(db, request.instance_id or "", values)
    return instances.select_reservation(db, launched[0].reservation_id)


def find(
    db: Connection, account_id: str, request_ids: Sequence[str] | None = None
) -> list[SpotRequest]:
    """Return the account's requests, or those of them that are named.

    Raises :class:`NotFound`, :class:`Malformed`.
    """
    if request_ids is not None:
        ids.check(KIND, request_ids)
    found = spot_requests.select(db, account_id, request_ids)
    if request_ids is not None and (missing := unknown(request_ids, [one.id for one in found])):
        raise NotFound(KIND, *missing)
    return found


def cancel(
    db: Connection, account_id: str, request_ids: Sequence[str], now: datetime
) -> list[SpotRequest]:
    """Cancel requests, all of the named ones or none; instances go on. Return them as they are."""
    for request in find(db, account_id, request_ids):
        if request.state in spot_requests.ENDED:
            continue
        code = request.status_code
        if request.state == "open":
            code = "canceled-before-fulfillment"
        elif code == "fulfilled":
            code = "request-canceled-and-instance-running"
        _put(db, request, "cancelled", code, now)
    by_id = {request.id: request for request in find(db, account_id, request_ids)}
    return [by_id[name] for name in dict.fromkeys(request_ids)]


def mark(db: Connection, instance: Instance, at: datetime, now: datetime) -> None:
    """Give an instance notice that it is to be interrupted then; a second one changes nothing."""
    request = spot_requests.get(db, instance.spot_request_id or "")
    if request is None or request.interrupt_at is not None:
        return
    code = f"marked-for-{_noun(request)}"
    spot_requests.update(db, request.id, interrupt_at=at, status_code=code, status_at=now)
    if instance.claim_nonce is not None:
        commands.insert(db, instance.id, instance.run, METADATA_VERB, grace=0.0, at=now)


def interrupt_due(db: Connection, now: datetime, grace: float) -> list[str]:
    """Interrupt the instances whose notice is over; return them.

    One that stops and does not within ``grace`` seconds is ended, as with StopInstances.
    """
    done = []
    for request in spot_requests.select_due(db, now):
        instance = instances.get(db, request.instance_id or "")
        if instance is not None and _can_go(instance, request):
            _interrupt(db, instance, request, now, grace)
            done.append(instance.id)
        spot_requests.update(db, request.id, interrupt_at=None)
    return done


def untold(db: Connection) -> list[tuple[SpotRequest, str, str]]:
    """Return the requests that do not say yet what their instances are; and what they would say."""
    found = []
    followed = spot_requests.select_followed(db)
    known = instances.select_any(db, (request.instance_id or "" for request in followed))
    for request in followed:
        instance = known.get(request.instance_id or "")
        told = None if instance is None else _told(request, instance)
        if told is not None and told != (request.state, request.status_code):
            found.append((request, *told))
    return found


def follow(db: Connection, now: datetime) -> bool:
    """Tell in the requests what has become of their instances; whether any has left its node."""
    changed = untold(db)
    for request, state, code in changed:
        _put(db, request, state, code, now)
        if state != "active":
            spot_requests.update(db, request.id, interrupt_at=None)
    return any(code.startswith("instance-") for _, _, code in changed)


def check_stop(db: Connection, instance: Instance) -> None:
    """Refuse what its owner cannot stop: a spot instance that no request would start again."""
    request = spot_requests.get(db, instance.spot_request_id) if instance.spot_request_id else None
    if request is not None and request.type == "one-time":
        raise Invalid(
            "spot instance",
            instance.id,
            f"You can't stop the Spot Instance '{instance.id}' because it is associated with a"
            " one-time Spot Instance request. You can only stop Spot Instances associated with"
            " persistent Spot Instance requests.",
        )


def check_start(db: Connection, instance: Instance) -> None:
    """Refuse what its owner cannot start: a spot instance that waits for room, or is cancelled."""
    request = spot_requests.get(db, instance.spot_request_id) if instance.spot_request_id else None
    if request is not None and request.status_code != "instance-stopped-by-user":
        raise NotReady(KIND, instance.id, request.status_code)
    if request is not None and request.state == "cancelled":
        raise NotReady(KIND, instance.id, request.state)


def notice(db: Connection, instance: Instance) -> tuple[str, datetime] | None:
    """Return what is to happen to an instance and when, None where nothing is."""
    request = spot_requests.get(db, instance.spot_request_id) if instance.spot_request_id else None
    if request is None or request.interrupt_at is None or request.instance_id != instance.id:
        return None
    return request.interruption_behavior, request.interrupt_at


def forget(db: Connection, now: datetime) -> None:
    """Remove requests of long ago, with their tags."""
    old = spot_requests.select_ended_before(db, now - KEPT)
    for start in range(0, len(old), instances.BATCH):
        batch = old[start : start + instances.BATCH]
        tags.delete(db, batch)
        spot_requests.delete(db, batch)


def new_requests(
    account_id: str, count: int, terms: Terms, asked: Launch, now: datetime
) -> list[SpotRequest]:
    """Return so many requests for what a launch asks for, open and yet to be written down."""
    made = [ids.new(KIND) for _ in range(count)]
    text = spot_launch.write(asked)
    return [
        SpotRequest(
            id=request_id,
            account_id=account_id,
            created_at=now,
            made_with=made[0],
            number=number,
            **terms._asdict(),
            waits=False,
            launch=text,
            state="open",
            status_code="pending-evaluation",
            status_at=now,
            instance_id=None,
            interrupt_at=None,
        )
        for number, request_id in enumerate(made)
    ]


def _interrupt(
    db: Connection, instance: Instance, request: SpotRequest, now: datetime, grace: float
) -> None:
    told = states.initiated("Service initiated", now)
    if request.interruption_behavior == "stop":
        states.change(db, instance, "stopping", now, reason=STOPPED, transition=told)
        instances.update_wanted(db, instance.id, "stopped")
        commands.insert(db, instance.id, instance.run, "stop", grace=grace, at=now)
    else:
        states.change(db, instance, "shutting-down", now, reason=TERMINATED, transition=told)
        instances.update_wanted(db, instance.id, "terminated")


def _can_go(instance: Instance, request: SpotRequest) -> bool:
    """Return whether an instance can be interrupted: what is to be stopped has to run."""
    if request.interruption_behavior == "stop":
        return instance.state == "running"
    return instance.state in {"pending", "running"}


def _told(request: SpotRequest, instance: Instance) -> tuple[str, str] | None:
    """Return state and status code that follow from the instance; None: as they are."""
    if request.status_code in _NEVER_FULFILLED:
        return None  # the instance is one of before
    cancelled = request.state == "cancelled"
    if instance.state == "terminated":
        state, code = _ended(request, instance)
        return ("cancelled" if cancelled else state), code
    if instance.state == "stopped":
        short = instance.reason_code in {STOPPED.code, NO_ROOM}
        code = "instance-stopped-no-capacity" if short else "instance-stopped-by-user"
        return ("cancelled" if cancelled else "disabled"), code
    if instance.state not in {"pending", "running"} or request.interrupt_at is not None:
        return None
    if cancelled:
        return "cancelled", "request-canceled-and-instance-running"
    return "active", "fulfilled"


def _ended(request: SpotRequest, instance: Instance) -> tuple[str, str]:
    reason = instance.reason_code or ""
    again = request.type == "persistent"
    if reason == NO_ROOM:
        # Nothing has run: a request that waits for room goes on waiting.
        return ("open" if request.waits else "closed"), "capacity-not-available"
    if reason.startswith("Client.InvalidAMI"):
        return "failed", "bad-parameters"
    if reason not in _OPEN_AGAIN:
        return "closed", "system-error"
    code = "no-capacity" if reason == TERMINATED.code else "by-user"
    return ("open" if again else "closed"), f"instance-terminated-{code}"


def _put(db: Connection, request: SpotRequest, state: str, code: str, now: datetime) -> None:
    spot_requests.update(db, request.id, state=state, status_code=code, status_at=now)


def _noun(request: SpotRequest) -> str:
    return "stop" if request.interruption_behavior == "stop" else "termination"


def _is_price(text: str) -> bool:
    return bool(_PRICE.fullmatch(text)) and Decimal(text) >= _LEAST_PRICE


def _time(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def _refuse(what: str, value: str, sentence: str) -> None:
    raise Invalid(what, value, sentence)
