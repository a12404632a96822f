# SPDX-License-Identifier: Apache-2.0
"""All operations: importing this module registers them. A new collection is named here."""

from gateway.deltacloud import (
    drivers,
    entry_point,
    hardware_profiles,
    images,
    instance_states,
    instances,
    keys,
    realms,
)
from gateway.deltacloud.operations import at, find

__all__ = [
    "at",
    "drivers",
    "entry_point",
    "find",
    "hardware_profiles",
    "images",
    "instance_states",
    "instances",
    "keys",
    "realms",
]
