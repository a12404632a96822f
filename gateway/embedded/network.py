# SPDX-License-Identifier: Apache-2.0
"""The embedded pool's guests' network: libvirt's bridge and DHCP, an nftables table of ours.

The table is named after the bridge and holds nothing else, so that taking it away disturbs no
one, where libvirt's own rules share tables with the host's. Its rules need no kernel module
beyond nftables itself.
"""

from __future__ import annotations

import json
import subprocess
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from gateway.config import Settings

NAME = "condor-cloud"
LINK_LOCAL = IPv4Network("169.254.0.0/16")


class NetworkError(Exception):
    """The guests' network cannot be made; the text says why in one sentence."""


def libvirt_xml(settings: Settings) -> str:
    """Return libvirt's description of the guests' network."""
    net = IPv4Network(settings.pool_network)
    network = ET.Element("network")
    ET.SubElement(network, "name").text = NAME
    # "open": a routed network for which libvirt adds no firewall rules.
    ET.SubElement(network, "forward", mode="open")
    ET.SubElement(network, "bridge", name=settings.pool_bridge, stp="off", delay="0")
    ip = ET.SubElement(network, "ip", address=str(net[1]), netmask=str(net.netmask))
    dhcp = ET.SubElement(ip, "dhcp")
    span = ET.SubElement(dhcp, "range", start=str(net[2]), end=str(net[-2]))
    # A lease that nobody gave back is forgotten soon.
    ET.SubElement(span, "lease", expiry="10", unit="minutes")
    return ET.tostring(network, encoding="unicode")


def add_rules(settings: Settings, root: Path) -> None:
    """Put the guests' rules into force."""
    made = _nft(root, "-j", "-f", "-", given=json.dumps({"nftables": rules(settings)}))
    if made.returncode != 0:
        first = made.stderr.strip().splitlines()[:1] or ["no message"]
        raise NetworkError(f"nftables refuses the guests' network: {first[0]}.")


def rules(settings: Settings) -> list[dict[str, Any]]:
    """Let guests reach what the host reaches, with the host's address (masquerading).

    The host's link-local neighbours are not for them, and what they send out in a name that is
    not their network's goes nowhere. As nft's JSON commands (libnftables-json(5)).
    """
    net = IPv4Network(settings.pool_network)
    table = _table(settings)

    def meta(key: str, operator: str = "==") -> dict[str, Any]:
        left = {"meta": {"key": key}}
        return {"match": {"op": operator, "left": left, "right": settings.pool_bridge}}

    def address(side: str, operator: str, within: IPv4Network) -> dict[str, Any]:
        left = {"payload": {"protocol": "ip", "field": side}}
        prefix = {"prefix": {"addr": str(within.network_address), "len": within.prefixlen}}
        return {"match": {"op": operator, "left": left, "right": prefix}}

    def chain(name: str, kind: str, hook: str, priority: int) -> dict[str, Any]:
        given = {"name": name, "type": kind, "hook": hook, "prio": priority, "policy": "accept"}
        return {"add": {"chain": table | given}}

    def rule(name: str, *expressions: dict[str, Any]) -> dict[str, Any]:
        return {"add": {"rule": table | {"chain": name, "expr": list(expressions)}}}

    return [
        {"add": {"table": {"family": "ip", "name": table["table"]}}},
        chain("forward", "filter", "forward", 0),
        chain("postrouting", "nat", "postrouting", 100),
        # A cloud's metadata service, credentials and all, is for this machine and not its guests.
        # Their own is on the bridge: br_netfilter shows what stays there to these rules too.
        rule(
            "forward",
            meta("iifname"),
            meta("oifname", "!="),
            address("daddr", "==", LINK_LOCAL),
            {"drop": None},
        ),
        rule(
            "forward",
            meta("iifname"),
            meta("oifname", "!="),
            address("saddr", "!=", net),
            {"drop": None},
        ),
        rule("forward", meta("iifname"), {"accept": None}),
        rule(
            "postrouting",
            meta("oifname", "!="),
            address("saddr", "==", net),
            address("daddr", "!=", net),
            {"masquerade": None},
        ),
    ]


def remove(settings: Settings, root: Path) -> None:
    """Remove the bridge and its table, if they are there."""
    if (Path("/sys/class/net") / settings.pool_bridge).exists():
        subprocess.run(
            ["ip", "link", "delete", settings.pool_bridge], check=False, capture_output=True
        )
    _nft(root, "delete", "table", "ip", _table(settings)["table"])


def _table(settings: Settings) -> dict[str, Any]:
    return {"family": "ip", "table": f"condor-cloud-{settings.pool_bridge}".replace("-", "_")}


def _nft(root: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    # The pool's root has nft even where the host has not.
    return subprocess.run(
        ["chroot", str(root), "/usr/sbin/nft", *arguments],
        input=given,
        check=False,
        capture_output=True,
        text=True,
    )
