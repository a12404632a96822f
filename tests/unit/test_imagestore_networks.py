# SPDX-License-Identifier: Apache-2.0
"""From where images may be fetched for tenants."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from gateway.config import Settings, SettingsError, load
from gateway.imagestore.networks import ForbiddenError, Networks

ON_LOOPBACK = Networks(Settings().source_networks)
ON_THE_NET = Networks(Settings(host="192.0.2.7").source_networks)
EVERYTHING = Networks(Settings(image_source_networks="0.0.0.0/0,::/0").source_networks)

PUBLIC = ["9.9.9.9", "2620:fe::fe", "64:ff9b::909:909"]
LOOPBACK = ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
PRIVATE = [
    *("10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd12::1", "::ffff:10.1.2.3"),
    *("0.0.0.1", "::", "224.0.0.1", "239.1.1.1", "ff0e::1", "255.255.255.255", "240.0.0.1"),
    *("2002:a01:203::1", "::7f00:1", "192.0.2.1"),
]
METADATA = ["169.254.169.254", "169.254.0.1", "::ffff:169.254.169.254", "fe80::1", "fd00:ec2::254"]


def allowed(networks: Networks, addresses: list[str]) -> list[str]:
    return [one for one in addresses if networks.allows(ipaddress.ip_address(one))]


@pytest.mark.parametrize("networks", [ON_LOOPBACK, ON_THE_NET, EVERYTHING])
def test_public_addresses_are_always_allowed(networks: Networks) -> None:
    assert allowed(networks, PUBLIC) == PUBLIC


def test_loopback_is_allowed_to_those_who_are_there_themselves() -> None:
    assert allowed(ON_LOOPBACK, LOOPBACK) == LOOPBACK
    assert allowed(ON_THE_NET, LOOPBACK) == []


def test_nothing_else_is_allowed_unless_it_is_named() -> None:
    assert allowed(ON_LOOPBACK, PRIVATE) == []
    assert allowed(ON_THE_NET, PRIVATE) == []
    named = Networks(Settings(image_source_networks="10.0.0.0/8, fd12::/16").source_networks)
    assert allowed(named, PRIVATE + LOOPBACK) == [
        *("10.1.2.3", "fd12::1", "::ffff:10.1.2.3", "2002:a01:203::1"),
    ]


@pytest.mark.parametrize("networks", [ON_LOOPBACK, ON_THE_NET, EVERYTHING])
def test_a_metadata_service_is_never_allowed(networks: Networks) -> None:
    assert allowed(networks, METADATA) == []


def test_what_was_checked_is_what_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = []

    def answers(*_arguments: object, **_options: object) -> list[object]:
        # A server that a second look-up would send elsewhere.
        looked_up.append("127.0.0.1" if not looked_up else "169.254.169.254")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (looked_up[-1], 0))]

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *rest, **more: (answers if host == "rebinds.example" else real)(
                host, *rest, **more
            ),
        )
        with ON_LOOPBACK.connect("rebinds.example", port, 5) as connection:
            assert connection.getpeername() == ("127.0.0.1", port)
        assert looked_up == ["127.0.0.1"]
        with pytest.raises(ForbiddenError):
            ON_LOOPBACK.connect("rebinds.example", port, 5)


def test_a_name_that_does_not_exist_is_not_told_from_a_forbidden_one() -> None:
    with pytest.raises(ForbiddenError):
        ON_LOOPBACK.connect("a..b", 80, 5)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("image_source_networks", "10.0.0.1/8"),
        ("image_source_networks", "here"),
        ("pool_network", "10.77.0.0/33"),
        ("nodelink_names", "gateway, a b"),
        ("nodelink_host", "*"),
    ],
)
def test_a_setting_that_means_nothing_is_refused_by_name(setting: str, value: str) -> None:
    with pytest.raises(SettingsError, match=setting):
        load(environment={f"CONDOR_CLOUD_{setting.upper()}": value})
