# SPDX-License-Identifier: Apache-2.0
"""What guests may read about themselves, and how: the options, and the facts that may change.

The node answers its guests by a document of the gateway's (:func:`document`). A change rings the
node link, and the supervisor takes the new document with its commands.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.cloud import instances as rules
from gateway.cloud import networks, spot
from gateway.cloud.errors import Invalid, WrongState
from gateway.store import commands, instances, tags

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from gateway.config import Settings
    from gateway.store.instances import Instance

VERB = "metadata"
"""The command that has a supervisor look for a new document."""

LARGEST_HOP_LIMIT = 64
_TAG_KEY = re.compile(r"(?!\.{1,2}$|_index$)[0-9a-zA-Z\-_+=,.@:]{1,255}")


class Options(NamedTuple):
    """Who may ask how, in EC2's words; None: as it is, or for a launch EC2's default."""

    http_endpoint: str | None = None
    http_tokens: str | None = None
    hop_limit: int | None = None
    instance_tags: str | None = None

    def chosen(self) -> dict[str, object]:
        """Return what is not None as columns of an instance; raise :class:`Invalid`."""
        for name, value, allowed in (
            ("HttpEndpoint", self.http_endpoint, ("enabled", "disabled")),
            ("HttpTokens", self.http_tokens, ("optional", "required")),
            ("InstanceMetadataTags", self.instance_tags, ("enabled", "disabled")),
        ):
            if value is not None and value not in allowed:
                _refuse(name, value, f"must be one of [{', '.join(allowed)}]")
        if self.hop_limit is not None and not 1 <= self.hop_limit <= LARGEST_HOP_LIMIT:
            told = f"must be from 1 to {LARGEST_HOP_LIMIT}"
            _refuse("HttpPutResponseHopLimit", str(self.hop_limit), told)
        columns = {
            "metadata_endpoint": self.http_endpoint,
            "metadata_tokens": self.http_tokens,
            "metadata_hop_limit": self.hop_limit,
            "metadata_tags": self.instance_tags,
        }
        return {name: value for name, value in columns.items() if value is not None}


def _refuse(name: str, value: str, told: str) -> None:
    raise Invalid("metadata option", value, f"Value ({value}) for parameter {name} {told}.")


def check_tags(keys: Iterable[str]) -> None:
    """Refuse keys that cannot be the name of a file among the metadata."""
    for key in keys:
        if not _TAG_KEY.fullmatch(key):
            raise Invalid(
                "metadata option",
                key,
                f"'{key}' is not a valid tag key for the instance metadata. Tag keys must match"
                r" the pattern [0-9a-zA-Z\-_+=,.@:]{1,255} and not be '.', '..' or '_index'.",
            )


def modify(  # noqa: PLR0913 - whose, which, what, when
    db: Connection,
    account_id: str,
    instance_id: str,
    options: Options,
    *,
    now: datetime,
    terminated_after: datetime,
) -> Instance:
    """Change an instance's options; a running guest's service follows in a moment.

    Raises :class:`NotFound`, :class:`WrongState`, :class:`Invalid`.
    """
    chosen = options.chosen()
    [instance] = rules.find(db, account_id, [instance_id], terminated_after)
    if instance.state in {"shutting-down", "terminated"}:
        raise WrongState("instance", instance_id, "modified")
    if options.instance_tags == "enabled":
        check_tags(tags.select(db, [instance_id]).get(instance_id, {}))
    claimed = instance.state in {"pending", "running"} and instance.claim_nonce is not None
    instances.update_metadata(db, instance_id, chosen | {"metadata_pending": claimed})
    if claimed:
        commands.insert(db, instance_id, instance.run, VERB, grace=0.0, at=now)
    [changed] = rules.find(db, account_id, [instance_id], terminated_after)
    return changed


def tags_changed(
    db: Connection, account_id: str, resource_ids: Sequence[str], now: datetime
) -> None:
    """Have the nodes look again at the instances among the resources whose guests read tags.

    Refuses, as EC2 does, tags that those could not read.
    """
    found = instances.select_ids(db, account_id, [i for i in resource_ids if i.startswith("i-")])
    shown = [instance for instance in found if instance.metadata_tags == "enabled"]
    tagged = tags.select(db, [instance.id for instance in shown])
    for instance in shown:
        check_tags(tagged.get(instance.id, {}))
        if instance.claim_nonce is not None and instance.state in {"pending", "running"}:
            commands.insert(db, instance.id, instance.run, VERB, grace=0.0, at=now)


def taken(db: Connection, instance: Instance) -> None:
    """Note that the supervisor has what there is, if it has taken every change."""
    waiting = commands.select(db, instance.id, instance.run)
    if instance.metadata_pending and not any(command.verb == VERB for command in waiting):
        instances.update_metadata(db, instance.id, {"metadata_pending": False})


def document(db: Connection, settings: Settings, instance: Instance) -> dict[str, Any]:
    """Return the node link's document; ``docs/reference/node-link.md`` describes it."""
    network = networks.of(instance.account_id)
    told: dict[str, Any] = {
        "options": {
            "http_endpoint": instance.metadata_endpoint,
            "http_tokens": instance.metadata_tokens,
            "hop_limit": instance.metadata_hop_limit,
            "instance_tags": instance.metadata_tags,
        },
        "tags": {},
        "security_groups": [networks.GROUP_NAME],
        "root_device": instance.root_device_name,
        "launched_at": f"{instance.launched_at:%Y-%m-%dT%H:%M:%SZ}",
        "network": {
            "interface-id": networks.interface_id(instance.id),
            "subnet-id": networks.subnet(instance.account_id, instance.availability_zone),
            "subnet-ipv4-cidr-block": str(settings.guests),
            "security-group-ids": network.security_group,
            "vpc-id": network.vpc,
            "vpc-ipv4-cidr-block": str(settings.guests),
        },
    }
    if instance.is_spot:
        told["life_cycle"] = "spot"
    if (coming := spot.notice(db, instance)) is not None:
        action, at = coming
        told["spot"] = {"action": action, "time": f"{at:%Y-%m-%dT%H:%M:%SZ}"}
    if instance.metadata_tags == "enabled":
        told["tags"] = dict(tags.select(db, [instance.id]).get(instance.id, {}))
    text = json.dumps(told, sort_keys=True)
    return told | {"etag": hashlib.sha256(text.encode()).hexdigest()[:16]}
