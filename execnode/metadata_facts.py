# SPDX-License-Identifier: Apache-2.0
"""What the gateway says about an instance beside its specification, and may change as it runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_NETWORK_FILES = frozenset(
    (
        *("interface-id", "subnet-id", "subnet-ipv4-cidr-block", "security-group-ids"),
        *("vpc-id", "vpc-ipv4-cidr-block", "vpc-ipv4-cidr-blocks"),
    )
)
_LINE = re.compile(r"[^\x00-\x1f\x7f]{0,1024}")


class Options(NamedTuple):
    """EC2's MetadataOptions: who may ask how."""

    enabled: bool = True
    """HttpEndpoint"""
    tokens_required: bool = False
    """HttpTokens"""
    hop_limit: int = 1
    """HttpPutResponseHopLimit: how many routers a token's packets may pass, plus one"""
    instance_tags: bool = False
    """InstanceMetadataTags"""


class Facts(NamedTuple):
    """The document ``metadata`` of the node link, read."""

    etag: str = ""
    """changes with anything else here"""
    options: Options = Options()
    tags: Mapping[str, str] = {}
    security_groups: tuple[str, ...] = ()
    """names"""
    root_device: str = "/dev/vda"
    launched_at: str = ""
    """UTC, like 2026-11-22T17:00:00Z"""
    life_cycle: str = "on-demand"
    """or ``spot``"""
    interruption: tuple[str, str] | None = None
    """what is to happen to a spot instance, ``terminate`` or ``stop``, and when, UTC"""
    network: Mapping[str, str] = {}
    """file names below the network card's, and their text"""


class FactsError(ValueError):
    """The gateway's document is not one that this version understands; names the member."""


def read(document: object) -> Facts:
    """Read the document; a gateway that sends none, or not all of it, means the defaults."""
    members = _Members({} if document is None else document)
    options = _Members(members.get("options", dict, {}))
    network = members.texts("network")
    return Facts(
        etag=members.text("etag", ""),
        options=Options(
            enabled=options.choice("http_endpoint", "enabled", "disabled"),
            tokens_required=not options.choice("http_tokens", "optional", "required"),
            hop_limit=options.number("hop_limit", 1, 64),
            instance_tags=not options.choice("instance_tags", "disabled", "enabled"),
        ),
        tags=members.texts("tags"),
        security_groups=tuple(members.lines("security_groups")),
        root_device=members.text("root_device", Facts().root_device),
        launched_at=members.text("launched_at", ""),
        life_cycle=members.text("life_cycle", "on-demand"),
        interruption=_interruption(members),
        network={name: text for name, text in network.items() if name in _NETWORK_FILES},
    )


def _interruption(members: _Members) -> tuple[str, str] | None:
    spot = _Members(members.get("spot", dict, {}))
    action, time = spot.text("action", ""), spot.text("time", "")
    return (action, time) if action and time else None


class _Members:
    """The members of a JSON object, each with its type and a default."""

    def __init__(self, document: object) -> None:
        if not isinstance(document, dict):
            raise FactsError("metadata")
        self._document: dict[str, Any] = document

    def get(self, name: str, kind: type, default: Any) -> Any:
        value = self._document.get(name, default)
        if type(value) is not kind:
            raise FactsError(name)
        return value

    def text(self, name: str, default: str) -> str:
        value: str = self.get(name, str, default)
        if not _LINE.fullmatch(value):
            raise FactsError(name)
        return value

    def number(self, name: str, least: int, most: int) -> int:
        value: int = self.get(name, int, least)
        if not least <= value <= most:
            raise FactsError(name)
        return value

    def choice(self, name: str, usual: str, other: str) -> bool:
        """Whether it is as usual."""
        value = self.get(name, str, usual)
        if value not in {usual, other}:
            raise FactsError(name)
        return bool(value == usual)

    def texts(self, name: str) -> dict[str, str]:
        value: dict[str, Any] = self.get(name, dict, {})
        if not all(isinstance(text, str) for text in value.values()):
            raise FactsError(name)
        return value

    def lines(self, name: str) -> list[str]:
        value: list[Any] = self.get(name, list, [])
        if not all(isinstance(text, str) and _LINE.fullmatch(text) for text in value):
            raise FactsError(name)
        return value
