# SPDX-License-Identifier: Apache-2.0
"""The one table of how a supervisor can end, and the exception that carries an ending.

The name travels in the last report to the gateway, the code is the job's exit code, the sentence
opens the message that a user reads as the instance's state reason.
"""

from __future__ import annotations

from typing import NamedTuple


class Exit(NamedTuple):
    """One way to end: its name in reports, the process's exit code, the sentence for people."""

    name: str
    code: int
    sentence: str


GUEST_SHUTDOWN = Exit("guest-shutdown", 0, "The guest powered itself off.")
TERMINATED = Exit("terminated", 3, "The instance was terminated on request.")
STOPPED = Exit("stopped", 4, "The instance was stopped on request.")
CLAIM_REFUSED = Exit("claim-refused", 10, "The gateway does not want this run of the instance.")
GATEWAY_UNREACHABLE = Exit("gateway-unreachable", 11, "The node cannot reach the gateway.")
IMAGE_MISSING = Exit("image-missing", 20, "The gateway no longer has the instance's image.")
IMAGE_CHECKSUM = Exit("image-checksum", 21, "The image's bytes do not match its checksum.")
IMAGE_REFUSED = Exit("image-refused", 22, "The image cannot be used as a disk.")
DISK_FULL = Exit("disk-full", 23, "The node's disk is full.")
DISK_MISSING = Exit("disk-missing", 24, "The instance's disk is not on this node any more.")
HYPERVISOR_ERROR = Exit("hypervisor-error", 30, "The hypervisor refused the instance.")
NETWORK_ERROR = Exit("network-error", 31, "The node's network cannot take the instance.")
GUEST_CRASHED = Exit("guest-crashed", 32, "The guest's machine stopped by itself.")
NODE_ERROR = Exit("node-error", 40, "The node met an unexpected error.")

TABLE = (
    GUEST_SHUTDOWN,
    TERMINATED,
    STOPPED,
    CLAIM_REFUSED,
    GATEWAY_UNREACHABLE,
    IMAGE_MISSING,
    IMAGE_CHECKSUM,
    IMAGE_REFUSED,
    DISK_FULL,
    DISK_MISSING,
    HYPERVISOR_ERROR,
    NETWORK_ERROR,
    GUEST_CRASHED,
    NODE_ERROR,
)

MESSAGE_LIMIT = 500  # characters; a report is one bounded line


class EndedError(Exception):
    """The instance ends here, for the reason given; detail is another program's own text."""

    def __init__(self, how: Exit, detail: str = "") -> None:
        super().__init__(how.name)
        self.exit = how
        self.detail = detail

    @property
    def message(self) -> str:
        """Sentence and detail on one line, at most MESSAGE_LIMIT characters."""
        text = " ".join(f"{self.exit.sentence} {self.detail}".split())
        text = text.encode(errors="replace").decode()  # half a surrogate pair is no text
        return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 3] + "..."


class TerminatedError(BaseException):
    """SIGTERM: the job was removed. Not an Exception: no handler for trouble may swallow it."""
