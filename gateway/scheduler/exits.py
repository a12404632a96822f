# SPDX-License-Identifier: Apache-2.0
"""How a supervisor's exit code becomes an instance's state reason.

The node's table is execnode/exits.py; a contract test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Exit:
    """One way for a run to end: EC2's state reason code and a sentence for when none was told."""

    name: str
    code: int
    reason_code: str
    sentence: str


EXITS = (
    Exit(
        "guest-shutdown",
        0,
        "Client.InstanceInitiatedShutdown",
        "Instance initiated shutdown",
    ),
    Exit("terminated", 3, "Client.UserInitiatedShutdown", "User initiated shutdown"),
    Exit("stopped", 4, "Client.UserInitiatedShutdown", "User initiated shutdown"),
    Exit("claim-refused", 10, "Server.InternalError", "The gateway refused this run's claim"),
    Exit(
        "gateway-unreachable",
        11,
        "Server.InternalError",
        "The node could not reach the gateway",
    ),
    Exit("image-missing", 20, "Client.InvalidAMI.NotFound", "The image is no longer there"),
    Exit(
        "image-checksum",
        21,
        "Client.InvalidAMI.ChecksumMismatch",
        "The image's bytes do not match its checksum",
    ),
    Exit("image-refused", 22, "Client.InvalidAMI.Unusable", "The image cannot be used"),
    Exit("disk-full", 23, "Server.InsufficientInstanceCapacity", "The node's disk is full"),
    Exit(
        "disk-missing",
        24,
        "Server.InternalError",
        "The instance's disk is not on its node any more",
    ),
    Exit("hypervisor-error", 30, "Server.HypervisorError", "The hypervisor refused the machine"),
    Exit("network-error", 31, "Server.HypervisorError", "The node's guest network failed"),
    Exit("guest-crashed", 32, "Server.InternalError", "The machine crashed"),
    Exit("node-error", 40, "Server.InternalError", "The node failed unexpectedly"),
)
BY_CODE = {exit_.code: exit_ for exit_ in EXITS}
BY_NAME = {exit_.name: exit_ for exit_ in EXITS}
