# SPDX-License-Identifier: Apache-2.0
"""Which addresses are free, and how a lease is given back."""

from __future__ import annotations

from execnode import network

XML = """<network><name>n</name><bridge name='br9' stp='on'/>
<ip address='10.0.0.1' netmask='255.255.255.0'><dhcp><range start='10.0.0.1' end='10.0.0.5'/>
<host mac='52:54:00:00:00:01' name='i-12345678' ip='10.0.0.3'/></dhcp></ip>
<ip family='ipv6' address='fd00::1' prefix='64'/></network>"""


def test_the_networks_own_address_and_the_reserved_ones_are_not_free() -> None:
    parsed = network.parse(XML)
    assert (parsed.bridge, parsed.server) == ("br9", "10.0.0.1")
    assert set(network.candidates(parsed, frozenset())) == {"10.0.0.2", "10.0.0.4", "10.0.0.5"}


def test_an_address_somebody_has_a_lease_for_comes_last() -> None:
    parsed = network.parse(XML)
    for _ in range(20):
        assert network.candidates(parsed, frozenset({"10.0.0.4"}))[-1] == "10.0.0.4"


def test_a_network_without_addresses_offers_none() -> None:
    assert network.candidates(network.parse("<network><name>n</name></network>"), frozenset()) == []


def test_a_fixed_address_is_escaped() -> None:
    assert network.Host("m", "a'\"<", "i").xml() == '<host mac="m" name="a\'&quot;&lt;" ip="i" />'


def test_a_release_names_the_guest_its_address_and_the_server() -> None:
    packet = network.release_packet("52:54:00:00:00:01", "10.0.0.3", "10.0.0.1", b"\x01\x02")
    assert packet[:4] == b"\x01\x01\x06\x00"
    assert packet[12:16] == bytes([10, 0, 0, 3])
    assert packet[28:34] == bytes.fromhex("525400000001")
    options = packet[236:]
    assert options == (b"\x63\x82\x53\x63\x35\x01\x07\x36\x04\x0a\x00\x00\x01\x3d\x02\x01\x02\xff")


def test_the_address_that_a_guest_had_comes_first_unless_it_is_taken() -> None:
    parsed = network.parse(XML)
    free = network.candidates(parsed, frozenset())
    assert network.candidates(parsed, frozenset(), free[-1])[0] == free[-1]
    assert parsed.hosts[0].ip not in network.candidates(parsed, frozenset(), parsed.hosts[0].ip)
