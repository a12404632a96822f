# SPDX-License-Identifier: Apache-2.0
"""What a supervisor asks of a hypervisor; ``libvirtd`` has the real one, ``fake`` another."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from pathlib import Path


class HypervisorError(Exception):
    """The hypervisor refused; the text is its own."""


class ConnectionLostError(HypervisorError):
    """The hypervisor's daemon went away in the middle; what it did is unknown."""


class NetworkError(HypervisorError):
    """The network is missing, inactive, or has no address left."""


class Event(NamedTuple):
    """Something that happened to a domain.

    kind: ``shutdown`` (the guest powered off), ``destroyed``, ``crashed``, ``failed`` (QEMU died),
    ``io-error`` (a write failed and the guest's CPUs were stopped), ``reboot`` (its machine was
    reset), ``connection-lost`` or ``woken`` (domain is empty).
    """

    kind: str
    domain: str = ""


class Copied(NamedTuple):
    """How far a copy of a disk is; ``trouble`` is why it failed, empty if it did not."""

    whole: bool
    trouble: str = ""


class Hypervisor(Protocol):
    """The verbs; every method raises HypervisorError or one of its children."""

    def connect(self) -> None:
        """Connect, or connect again after ``connection-lost``."""

    def create(self, xml: str) -> None:
        """Start a domain that dies with this connection."""

    def is_active(self, name: str) -> bool:
        """Whether the domain is there, running or stopped."""

    def is_stopped(self, name: str) -> bool:
        """Whether the domain's CPUs are stopped because a write to its disk failed."""

    def resume(self, name: str) -> None:
        """Let a stopped domain try its write again; one that is gone is no error."""

    def reboot(self, name: str) -> None:
        """Ask the guest to boot anew, as a power button does; a ``reboot`` follows if it does."""

    def reset(self, name: str) -> None:
        """Boot the guest anew without asking it; a ``reboot`` follows."""

    def shut_down(self, name: str) -> None:
        """Press the guest's power button; a ``shutdown`` follows if it obeys."""

    def screenshot(self, name: str, most: int, *, wake_up: bool) -> bytes:
        """Return the display as a PNG or PPM; nothing if it has more bytes or the domain is gone.

        wake_up: press a key first that means nothing by itself.
        """

    def has_agent(self, name: str) -> bool:
        """Whether a process in the guest listens on the agent's channel."""

    def freeze(self, name: str) -> None:
        """Have the guest's agent write out and hold its file systems; an error without one."""

    def thaw(self, name: str) -> None:
        """Have the agent let go of them again."""

    def disk_size(self, name: str) -> int:
        """Bytes of the disk that the guest sees."""

    def begin_copy(self, name: str, target: Path) -> None:
        """Begin to copy the guest's disk as it is at this instant; the guest goes on meanwhile.

        target: an empty qcow2 of the disk's size. Nothing of the disk itself is changed.
        """

    def copied(self, name: str) -> Copied:
        """Tell how far the copy is that was begun last."""

    def end_copy(self, name: str) -> None:
        """Give a copy up that is under way; none is no error."""

    def wake(self) -> None:
        """Let next_event return ``woken``; from any thread."""

    def vnc_port(self, name: str) -> int | None:
        """TCP port of the domain's display."""

    def destroy(self, name: str) -> None:
        """Stop a domain at once; one that is already gone is no error."""

    def domains(self) -> list[str]:
        """Names of the domains that carry our mark."""

    def reserve_address(self, mac: str, name: str, wanted: str | None = None) -> str:
        """Reserve a fixed IPv4 address on the network, the wanted one if it is free.

        name is the instance's id.
        """

    def release_address(self, name: str) -> None:
        """Give the address of that name back, its lease too; none is no error."""

    def reserved_names(self) -> list[str]:
        """Names that hold a fixed address."""

    def bridge(self) -> str:
        """Name of the network's bridge on the node."""

    def next_event(self, timeout: float | None = None) -> Event | None:
        """Wait for an event, at most timeout seconds."""

    def close(self) -> None:
        """Drop the connection, and with it every domain created through it."""
