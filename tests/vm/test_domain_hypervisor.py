# SPDX-License-Identifier: Apache-2.0
"""What a supervisor relies on in a hypervisor: the same tests for the fake and for libvirt.

Libvirt's part needs a node: libvirtd, and a network named by ``CONDOR_CLOUD_TEST_NETWORK``.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from execnode.fake import FakeDaemon, FakeHypervisor
from execnode.hypervisor import Hypervisor, HypervisorError
from execnode.libvirtd import LibvirtHypervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOLDEN = Path(__file__).parents[1] / "unit" / "golden"
NAME = "i-0000000000000c0de"
DOMAIN = f"""<domain type='qemu'><name>{NAME}</name>
<metadata><c:instance xmlns:c='urn:condor-cloud:instance:1' id='{NAME}' run='1'/></metadata>
<memory unit='MiB'>64</memory><os><type machine='pc'>hvm</type></os>
<devices><graphics type='vnc' autoport='yes' listen='127.0.0.1'/></devices></domain>"""
MAC = "52:54:00:0c:0d:0e"


@pytest.fixture(params=["fake", "libvirt"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[[], Hypervisor]]:
    """Yield a maker of connections to one hypervisor; closes them all."""
    opened: list[Hypervisor] = []
    daemon = FakeDaemon()
    network = os.environ.get("CONDOR_CLOUD_TEST_NETWORK", "")
    if request.param == "libvirt" and not network:
        pytest.skip("CONDOR_CLOUD_TEST_NETWORK does not name a libvirt network to use")

    def connected() -> Hypervisor:
        fake = request.param == "fake"
        new = FakeHypervisor(daemon) if fake else LibvirtHypervisor("qemu:///system", network)
        new.connect()
        opened.append(new)
        return new

    yield connected
    for hypervisor in opened:
        hypervisor.close()
    # libvirtd destroys what a closed connection made in its own time: the next test waits for it.
    watcher = connected()
    for _ in range(200):
        if not watcher.is_active(NAME):
            break
        watcher.next_event(0.1)
    assert not watcher.is_active(NAME)
    watcher.close()


class TestHypervisor:
    def test_a_domain_runs_with_a_display_until_it_is_destroyed(
        self, connect: Callable[[], Hypervisor]
    ) -> None:
        hypervisor = connect()
        hypervisor.create(DOMAIN)
        assert hypervisor.is_active(NAME)
        assert (hypervisor.vnc_port(NAME) or 0) >= 5900
        hypervisor.destroy(NAME)
        assert not hypervisor.is_active(NAME)
        assert hypervisor.vnc_port(NAME) is None
        event = hypervisor.next_event(10)
        assert event == ("destroyed", NAME)

    def test_the_display_of_a_domain_can_be_seen_and_its_keys_pressed(
        self, connect: Callable[[], Hypervisor]
    ) -> None:
        hypervisor = connect()
        hypervisor.create(DOMAIN)
        for wake_up in (False, True):
            picture = hypervisor.screenshot(NAME, 1 << 23, wake_up=wake_up)
            assert picture.startswith((b"\x89PNG", b"P6"))
            assert hypervisor.screenshot(NAME, 8, wake_up=False) == b""
        hypervisor.destroy(NAME)
        assert hypervisor.screenshot(NAME, 1 << 23, wake_up=True) == b""

    def test_destroying_what_is_not_there_is_no_error(
        self, connect: Callable[[], Hypervisor]
    ) -> None:
        connect().destroy(NAME)

    def test_a_domain_that_runs_is_not_stopped_and_resuming_it_is_no_error(
        self, connect: Callable[[], Hypervisor]
    ) -> None:
        hypervisor = connect()
        assert not hypervisor.is_stopped(NAME)
        hypervisor.resume(NAME)
        hypervisor.create(DOMAIN)
        hypervisor.resume(NAME)
        assert not hypervisor.is_stopped(NAME)
        assert hypervisor.is_active(NAME)

    def test_a_name_is_used_once(self, connect: Callable[[], Hypervisor]) -> None:
        hypervisor = connect()
        hypervisor.create(DOMAIN)
        with pytest.raises(HypervisorError, match="already"):
            hypervisor.create(DOMAIN)

    def test_a_domain_dies_with_the_connection_that_made_it(
        self, connect: Callable[[], Hypervisor]
    ) -> None:
        maker, other = connect(), connect()
        maker.create(DOMAIN)
        assert other.domains() == [NAME]
        maker.close()
        for _ in range(100):
            if not other.is_active(NAME):
                break
            other.next_event(0.1)
        assert not other.is_active(NAME)

    def test_a_domain_without_our_mark_is_not_ours(self, connect: Callable[[], Hypervisor]) -> None:
        hypervisor = connect()
        start, end = DOMAIN.index("<metadata>"), DOMAIN.index("<memory")
        hypervisor.create(DOMAIN[:start] + DOMAIN[end:])
        assert NAME not in hypervisor.domains()

    def test_an_address_is_reserved_for_one_name_until_released(
        self, connect: Callable[[], Hypervisor]
    ) -> None:
        first, second = connect(), connect()
        names = [f"i-0000000{n}" for n in range(4)]
        try:
            addresses = [
                (first, second)[n % 2].reserve_address(f"{MAC[:-1]}{n}", name)
                for n, name in enumerate(names)
            ]
            assert len(set(addresses)) == len(names)
            assert set(names) <= set(first.reserved_names())
        finally:
            for name in names:
                first.release_address(name)
        assert not set(names) & set(second.reserved_names())

    def test_reserving_again_replaces_what_a_dead_run_left(
        self, connect: Callable[[], Hypervisor]
    ) -> None:
        hypervisor = connect()
        hypervisor.reserve_address(MAC, NAME)
        hypervisor.reserve_address(MAC, NAME)
        assert hypervisor.reserved_names().count(NAME) == 1
        hypervisor.release_address(NAME)
        hypervisor.release_address(NAME)


@pytest.mark.parametrize("name", ["domain-qemu", "domain-kvm", "domain-i386", "domain-uefi"])
def test_libvirt_accepts_the_golden_domains(name: str) -> None:
    if importlib.util.find_spec("libvirt") is None:
        pytest.skip("python3-libvirt is not installed")
    libvirt = importlib.import_module("libvirt")
    connection = libvirt.open("test:///default")
    try:
        assert connection.defineXML((GOLDEN / f"{name}.xml").read_text()).name()
    finally:
        connection.close()
