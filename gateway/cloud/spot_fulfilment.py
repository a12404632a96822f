# SPDX-License-Identifier: Apache-2.0
"""Requests for spot instances that wait for room: which do, and what each gets when there is some.

The reconciler calls these; whether there is room is its to say.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gateway.cloud import instances as rules
from gateway.cloud import parking, quotas, spot, spot_launch, states, tokens
from gateway.cloud.errors import Invalid, LimitReached, Refused
from gateway.cloud.states import Reason
from gateway.store import database, instances, spot_requests, tags

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection

    from gateway.cloud.flavors import Flavor
    from gateway.cloud.instances import Launch
    from gateway.cloud.spot import Terms
    from gateway.config import Settings
    from gateway.store.instances import Instance
    from gateway.store.spot_requests import SpotRequest

VALID_FOR = timedelta(days=7)
"""How long a one-time request waits that does not say it; EC2's number."""

STARTING = Reason("pending", "pending")
_END_OF_TIME = datetime.max.replace(microsecond=0, tzinfo=UTC)


class NoRoomError(Exception):
    """No node has room now."""


def request(  # noqa: PLR0913 - whose, what, how asked for, how tagged, when, within what
    db: Connection,
    account_id: str,
    asked: Launch,
    terms: Terms,
    *,
    tagged: Mapping[str, str],
    now: datetime,
    flavors: Mapping[str, Flavor],
    limits: Mapping[str, int],
) -> list[SpotRequest]:
    """Write down as many requests as ``asked`` has instances; each waits for room.

    With a client token that came before, the first ones are returned as they are now. Raises what
    a launch raises, and :class:`Invalid` for terms that cannot be.
    """
    if not 1 <= asked.maximum <= rules.MAX_LAUNCH:
        told = f"The number of instances is from 1 to {rules.MAX_LAUNCH}."
        raise Invalid("count", str(asked.maximum), told)
    valid_until = terms.valid_until
    if terms.type == "one-time" and valid_until is None:
        begin = terms.valid_from or now
        valid_until = begin + min(VALID_FOR, _END_OF_TIME - begin)
    made = [
        one._replace(waits=True)
        for one in spot.new_requests(
            account_id, asked.maximum, terms._replace(valid_until=valid_until), asked, now
        )
    ]
    first = tokens.take(db, account_id, asked.token, made[0].id, now)
    if first is not None:
        return spot_requests.select_made_with(db, first)
    terms.check(now)
    _try(db, account_id, asked, now, flavors, limits)
    spot_requests.insert(db, made)
    tags.insert(db, account_id, [one.id for one in made], tagged)
    return made


def waiting(db: Connection) -> list[SpotRequest]:
    """Return the requests that wait for an instance, or for its start, oldest first."""
    return [
        request
        for request in spot_requests.select_state(db, "open", "disabled")
        if request.state == "open" or request.status_code == "instance-stopped-no-capacity"
    ]


def fulfil(  # noqa: PLR0913 - what, when, of what, where
    db: Connection,
    request: SpotRequest,
    now: datetime,
    *,
    settings: Settings,
    flavors: Mapping[str, Flavor],
    has_room: Callable[[Instance], bool],
    short: dict[tuple[str, str], str],
) -> Instance | None:
    """Give a request its instance if there is room, or tell in it why not.

    ``has_room`` is asked once, with the instance as it would be. ``short`` is for what one look
    finds: what one request was short of, others for the same launch are without being tried.
    """
    if request.valid_until is not None and request.valid_until <= now:
        _put(db, request, "cancelled", "schedule-expired", now)
        return None
    if request.valid_from is not None and request.valid_from > now:
        _put(db, request, "open", "not-scheduled-yet", now)
        return None
    like = request.account_id, request.launch
    if request.state == "open" and like in short:
        _put(db, request, "open", short[like], now)
        return None
    limits = quotas.binding(db, request.account_id, settings)
    work = _launch if request.state == "open" else _start
    try:
        with database.part(db):
            instance = _placed(work(db, request, now, flavors, limits), has_room)
    except (NoRoomError, LimitReached) as error:
        if request.state == "open":
            limited = isinstance(error, LimitReached)
            short[like] = "limit-exceeded" if limited else "capacity-not-available"
            _put(db, request, "open", short[like], now)
    except Refused:
        _put(db, request, "failed", "bad-parameters", now)
    else:
        values = {"spot_request_id": request.id}
        instances.update_attributes(db, instance.id, values)
        spot_requests.update(db, request.id, instance_id=instance.id, waits=True)
        _put(db, request, "active", "fulfilled", now)
        return instance
    return None


def _try(  # noqa: PLR0913, PLR0917 - what a launch takes
    db: Connection,
    account_id: str,
    asked: Launch,
    now: datetime,
    flavors: Mapping[str, Flavor],
    limits: Mapping[str, int],
) -> None:
    """Refuse what could not be launched if there were room."""
    alone = asked._replace(token=None)
    try:
        with database.part(db):
            made = rules.launch(db, account_id, alone, now, flavors=flavors, limits=limits)
            _placed(made[0], lambda _: False)  # nothing of it stays
    except NoRoomError:
        return
    except LimitReached as short:
        raise LimitReached("spot instance", short.asked, short.limit, short.used) from short


def _placed(instance: Instance, has_room: Callable[[Instance], bool]) -> Instance:
    if not has_room(instance):
        raise NoRoomError
    return instance


def _launch(
    db: Connection,
    request: SpotRequest,
    now: datetime,
    flavors: Mapping[str, Flavor],
    limits: Mapping[str, int],
) -> Instance:
    asked = spot_launch.read(request.launch)
    [made] = rules.launch(db, request.account_id, asked, now, flavors=flavors, limits=limits)
    return made


def _start(
    db: Connection,
    request: SpotRequest,
    now: datetime,
    _flavors: Mapping[str, Flavor],
    limits: Mapping[str, int],
) -> Instance:
    instance = instances.get(db, request.instance_id or "")
    if instance is None or instance.state != "stopped":
        raise NoRoomError
    quotas.check(db, request.account_id, "vcpus", instance.vcpus, limits)
    states.change(db, instance, "pending", now, reason=STARTING, transition="")
    parking.cancel(db, instance.id)
    instances.update_start(db, instance.id, instance.run + 1, now)
    return instance


def _put(db: Connection, request: SpotRequest, state: str, code: str, now: datetime) -> None:
    if (request.state, request.status_code) != (state, code):
        spot_requests.update(db, request.id, state=state, status_code=code, status_at=now)
