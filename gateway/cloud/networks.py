# SPDX-License-Identifier: Apache-2.0
"""The one network that guests are on, as each account sees it.

There is nothing to write down: every account is on the same network and has the same things in
it, and their ids follow from the account's. docs/explanation/network.md says what is behind them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from gateway.cloud import ids
from gateway.cloud.errors import NotFound, unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = (
    "vpc",
    "subnet",
    "internet gateway",
    "route table",
    "security group",
    "security group rule",
    "network acl",
    "dhcp options",
)
"""What an account has, of each kind one (a subnet in each zone; of the rules two: in and out)."""

GROUP_NAME = "default"


class Network(NamedTuple):
    """The ids of what an account has on the network."""

    account_id: str
    vpc: str
    vpc_cidr_association: str
    internet_gateway: str
    route_table: str
    route_table_association: str
    security_group: str
    rule_in: str
    rule_out: str
    network_acl: str
    dhcp_options: str

    def of_kind(self, kind: str, zones: Sequence[str]) -> tuple[str, ...]:
        """Return the ids of one of :data:`KINDS`; ``zones`` are the names of all zones."""
        if kind == "subnet":
            return tuple(subnet(self.account_id, zone) for zone in zones)
        if kind == "security group rule":
            return (self.rule_in, self.rule_out)
        return (str(getattr(self, kind.replace(" ", "_"))),)


@lru_cache(maxsize=1024)
def of(account_id: str) -> Network:
    """Return what the account has."""
    return Network(
        account_id,
        vpc=ids.derived("vpc", account_id),
        vpc_cidr_association=ids.derived("vpc-cidr-assoc", account_id),
        internet_gateway=ids.derived("igw", account_id),
        route_table=ids.derived("rtb", account_id),
        route_table_association=ids.derived("rtbassoc", account_id),
        security_group=ids.derived("sg", account_id),
        rule_in=ids.derived("sgr", account_id, "in"),
        rule_out=ids.derived("sgr", account_id, "out"),
        network_acl=ids.derived("acl", account_id),
        dhcp_options=ids.derived("dopt", account_id),
    )


@lru_cache(maxsize=4096)
def subnet(account_id: str, zone: str) -> str:
    """Return the id of the account's subnet in a zone."""
    return ids.derived("subnet", account_id, zone)


def network_acl_association(subnet_id: str) -> str:
    """Return the id of what ties a subnet to the network ACL."""
    return f"aclassoc-{subnet_id.rpartition('-')[2]}"


def check(account_id: str, kind: str, texts: Sequence[str], zones: Sequence[str] = ()) -> None:
    """Raise :class:`Malformed` or :class:`NotFound` unless the account has all of these.

    ``zones`` are the names of all zones, each of which has a subnet.
    """
    ids.check(kind, texts)
    if missing := unknown(texts, of(account_id).of_kind(kind, zones)):
        raise NotFound(kind, *missing)


def interface_id(instance_id: str) -> str:
    """Return the id of an instance's network interface."""
    return ids.sibling("network interface", instance_id)


def attachment_id(instance_id: str) -> str:
    """Return the id of what ties the interface to its instance."""
    return f"eni-attach-{instance_id.rpartition('-')[2]}"


def instance_id(interface_id: str) -> str:
    """Return the id of the instance whose interface has that id."""
    return ids.sibling("instance", interface_id)
