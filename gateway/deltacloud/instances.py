# SPDX-License-Identifier: Apache-2.0
"""``/api/instances``: the machines, as Deltacloud sees them."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from gateway import throttle
from gateway.cloud import instances, power, zones
from gateway.cloud.errors import NotFound
from gateway.cloud.instances import Launch
from gateway.cloud.tags import collect
from gateway.deltacloud import hardware_profiles, problems, realms
from gateway.deltacloud.instance_states import STATES, actions
from gateway.deltacloud.operations import NOTHING, Answer, operation
from gateway.deltacloud.problems import Problem
from gateway.store import tags
from gateway.store.instances import select_described

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from gateway.deltacloud.operations import Context
    from gateway.store.instances import Instance

DEFAULT_PROFILE = "small"
NAME_TAG = "Name"
"""The tag that EC2's consoles show as a machine's name: a name given here is one there."""


@operation("instances")
def index(
    ctx: Context,
    *,
    id: str = "",  # noqa: A002 - Deltacloud's parameter
    state: str = "",
    realm_id: str = "",
) -> Answer:
    """Return the instances that have not ended, oldest first."""
    batches = select_described(ctx.db, ctx.account_id, terminated_after=ctx.terminated_after)
    found = [
        instance
        for batch in batches
        for instance in batch
        if (shown := STATES[instance.state]) != "finish"
        and id in {"", instance.id}
        and state.lower() in {"", shown}
        and realm_id in {"", instance.availability_zone}
    ]
    return _several(ctx, found)


@operation("instances")
def show(ctx: Context, instance_id: str) -> Answer:
    """Return one instance; one that has ended is there for an hour (terminated_kept)."""
    return _one(ctx, _find(ctx, instance_id))


@operation("instances", writes=True)
def create(  # noqa: PLR0913 - Deltacloud's parameters
    ctx: Context,
    *,
    image_id: str,
    name: str = "",
    realm_id: str = "",
    keyname: str = "",
    user_data: str = "",
    instance_count: str = "1",
    hwp_id: str = "",
    hwp_cpu: str = "",
    hwp_memory: str = "",
    hwp_storage: str = "",
) -> Answer:
    """Launch instances; they are pending when this is answered."""
    if realm_id:
        realms.find(ctx, realm_id)
    profile = hwp_id or DEFAULT_PROFILE
    if profile not in ctx.gateway.flavors:
        raise NotFound("hardware profile", profile)
    hardware_profiles.check_overrides(
        ctx.gateway.flavors[profile],
        {"cpu": hwp_cpu, "memory": hwp_memory, "storage": hwp_storage},
    )
    if not (instance_count.isascii() and instance_count.isdigit()):
        raise Problem(400, "The parameter 'instance_count' is not a number.")
    count = int(instance_count[:9])
    if count > instances.MAX_LAUNCH:
        raise Problem(403, f"At most {instances.MAX_LAUNCH} instances can be launched at once.")
    ctx.gateway.throttle.take(ctx.account_id, throttle.LAUNCH, count)
    launched = instances.launch(
        ctx.db,
        ctx.account_id,
        Launch(
            image_id=image_id,
            flavor=profile,
            minimum=count,
            maximum=count,
            zone=realm_id or zones.choose(ctx.zones, ctx.settings.availability_zone),
            zone_required=bool(realm_id),
            key_name=keyname or None,
            user_data=_user_data(user_data),
            tags=collect([(NAME_TAG, name)] if name else []),
        ),
        ctx.now,
        flavors=ctx.gateway.flavors,
        limits=ctx.limits,
    )
    ctx.wakes.add("reconciler")
    made = _one(ctx, launched[0]) if count == 1 else _several(ctx, launched)
    return Answer(made.xml, made.plain, status=201, location=ctx.href("instances", launched[0].id))


@operation("instances", writes=True)
def reboot(ctx: Context, instance_id: str) -> Answer:
    """Boot the guest anew; disk and address stay."""

    def rule(*given: Any) -> None:
        power.reboot(*given, grace=ctx.settings.shutdown_grace)

    return _accepted(ctx, _act(ctx, instance_id, "reboot", rule))


@operation("instances", writes=True)
def stop(ctx: Context, instance_id: str) -> Answer:
    """Shut the guest down; its disk is kept."""

    def rule(*given: Any) -> None:
        power.stop(*given, grace=ctx.settings.shutdown_grace, force=False)

    return _accepted(ctx, _act(ctx, instance_id, "stop", rule))


@operation("instances", writes=True)
def start(ctx: Context, instance_id: str) -> Answer:
    """Start a stopped instance on the node that has its disk."""

    def rule(*given: Any) -> None:
        power.start(*given, limits=ctx.limits)

    ctx.gateway.throttle.take(ctx.account_id, throttle.LAUNCH, 1)
    return _accepted(ctx, _act(ctx, instance_id, "start", rule))


@operation("instances", writes=True)
def destroy(ctx: Context, instance_id: str) -> Answer:
    """End an instance for good."""
    _act(ctx, instance_id, "destroy", instances.terminate)
    return NOTHING


def _act(ctx: Context, instance_id: str, name: str, rule: Callable[..., object]) -> Instance:
    """Do what the instance's state allows; raise :class:`Problem` 405 for the rest."""
    before = _find(ctx, instance_id)
    possible = actions(before.state)
    if name not in possible:
        raise problems.not_allowed(
            f"The instance {instance_id} is {STATES[before.state].upper()};"
            f" what is possible then: {', '.join(possible) or 'nothing'}.",
            ["OPTIONS", "HEAD", "GET"],
        )
    rule(ctx.db, ctx.account_id, [instance_id], ctx.now, ctx.terminated_after)
    ctx.wakes.update({"reconciler", "nodelink"})
    return _find(ctx, instance_id)


def _find(ctx: Context, instance_id: str) -> Instance:
    return instances.find(ctx.db, ctx.account_id, [instance_id], ctx.terminated_after)[0]


def _user_data(text: str) -> bytes | None:
    # Clients wrap lines, and a form's decoding makes a blank of a plus that was not escaped.
    compact = "".join(text.replace(" ", "+").split())
    if not compact:
        return None
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Problem(400, "The parameter 'user_data' is not base64.") from None


def _one(ctx: Context, instance: Instance) -> Answer:
    names = _names(ctx, [instance])
    return Answer(
        {"instance": _xml(ctx, instance, names)}, {"instance": _plain(ctx, instance, names)}
    )


def _accepted(ctx: Context, instance: Instance) -> Answer:
    # What an action answers has no envelope in JSON, unlike everything else.
    one = _one(ctx, instance)
    names = _names(ctx, [instance])
    return Answer(one.xml, _plain(ctx, instance, names), status=202)


def _several(ctx: Context, found: Sequence[Instance]) -> Answer:
    names = _names(ctx, found)
    return Answer(
        {"instances": {"instance": [_xml(ctx, one, names) for one in found]}},
        {"instances": [_plain(ctx, one, names) for one in found]},
    )


def _names(ctx: Context, found: Iterable[Instance]) -> dict[str, str]:
    tagged = tags.select(ctx.db, [instance.id for instance in found])
    return {name: pairs.get(NAME_TAG, "") for name, pairs in tagged.items()}


def _xml(ctx: Context, instance: Instance, names: Mapping[str, str]) -> dict[str, Any]:
    login = {"login": {"keyname": instance.key_name}} if instance.key_name else {}
    return {
        **ctx.reference("instances", instance.id),
        "name": names.get(instance.id) or instance.id,
        "owner_id": instance.account_id,
        "image": ctx.reference("images", instance.image_id),
        "realm": ctx.reference("realms", instance.availability_zone),
        "state": STATES[instance.state].upper(),
        "hardware_profile": ctx.reference("hardware_profiles", instance.instance_type),
        "actions": {
            "link": [
                {f"@{key}": value for key, value in link.items()}
                for link in (*_links(ctx, instance), *_image_link(ctx, instance))
            ]
        },
        "launch_time": _time(instance.begun_at),
        # The network has one address for each machine: it is the private and the public one.
        "public_addresses": {"address": _xml_address(instance)},
        "private_addresses": {"address": _xml_address(instance)},
        "firewalls": None,
        "storage_volumes": None,
        "authentication": {"@type": "key", **login},
    }


def _plain(ctx: Context, instance: Instance, names: Mapping[str, str]) -> dict[str, Any]:
    profile = hardware_profiles.properties(instance.vcpus, instance.memory_mib)
    return {
        "id": instance.id,
        "href": ctx.href("instances", instance.id),
        "name": names.get(instance.id) or instance.id,
        "owner": instance.account_id,
        "owner_id": instance.account_id,
        "image": ctx.plain_reference("images", instance.image_id),
        "realm": ctx.plain_reference("realms", instance.availability_zone),
        "state": STATES[instance.state].upper(),
        "hardware_profile": {
            **ctx.plain_reference("hardware_profiles", instance.instance_type),
            "properties": profile,
        },
        "actions": _links(ctx, instance),
        "create_time": _time(instance.launched_at),
        "launch_time": _time(instance.begun_at),
        "create_image": _becomes_image(instance),
        "public_addresses": [_plain_address(instance)],
        "private_addresses": [_plain_address(instance)],
        "firewalls": [],
        "storage_volumes": [],
        "authentication_type": "key",
        "authentication": {"keyname": instance.key_name},
    }


def _links(ctx: Context, instance: Instance) -> list[dict[str, str]]:
    href = ctx.href("instances", instance.id)
    return [
        {"rel": name, "method": "delete", "href": href}
        if name == "destroy"
        else {"rel": name, "method": "post", "href": f"{href}/{name}"}
        for name in actions(instance.state)
    ]


def _becomes_image(instance: Instance) -> bool:
    """Whether an instance runs, or a node has its disk."""
    return instance.state == "running" or (instance.state == "stopped" and not instance.parked)


def _image_link(ctx: Context, instance: Instance) -> list[dict[str, str]]:
    # JSON has a word of its own for it instead.
    if not _becomes_image(instance):
        return []
    href = f"{ctx.href('images')};instance_id={instance.id}"
    return [{"rel": "create_image", "method": "post", "href": href}]


def _xml_address(instance: Instance) -> dict[str, str]:
    plain = _plain_address(instance)
    return {"@type": plain["type"], "#text": plain["address"]}


def _plain_address(instance: Instance) -> dict[str, str]:
    if instance.private_ip is None:
        return {"address": "unavailable", "type": "unavailable"}
    return {"address": instance.private_ip, "type": "ipv4"}


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
