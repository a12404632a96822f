# SPDX-License-Identifier: Apache-2.0
"""How machines boot: what an image says, and what that comes to.

As in EC2, an image that says nothing boots by BIOS, and one that prefers UEFI gets it wherever the
instance type can; here all types can. There is no 32-bit UEFI firmware.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-boot.html
"""

from __future__ import annotations

from gateway.cloud.errors import Invalid

LEGACY, UEFI, PREFERRED = "legacy-bios", "uefi", "uefi-preferred"

OF_IMAGES = (LEGACY, UEFI, PREFERRED)
OF_IMPORTS = (LEGACY, UEFI)
"""EC2 imports no disk whose boot mode depends."""

OF_MACHINES = (LEGACY, UEFI)


def check(mode: str | None, architecture: str, allowed: tuple[str, ...] = OF_IMAGES) -> None:
    """Raise :class:`Invalid` for a mode that an image of this architecture cannot have."""
    if mode is not None and mode not in allowed:
        raise Invalid("boot mode", mode, f"It is one of: {', '.join(allowed)}.")
    if mode == UEFI and architecture != "x86_64":
        raise Invalid("boot mode", mode, f"The architecture {architecture} boots by {LEGACY} only.")


def current(mode: str | None, architecture: str) -> str:
    """Return how a machine boots from an image that says this."""
    return UEFI if mode in {UEFI, PREFERRED} and architecture == "x86_64" else LEGACY
