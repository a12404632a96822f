# SPDX-License-Identifier: Apache-2.0
"""``/api/hardware_profiles``: the instance types, each with fixed properties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud.errors import NotFound
from gateway.deltacloud.operations import Answer, operation
from gateway.deltacloud.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.cloud.flavors import Flavor
    from gateway.deltacloud.operations import Context

ARCHITECTURE = "x86_64"
"""What every node is; a 32-bit image runs on it as well."""

_UNITS = {"cpu": "count", "memory": "MB", "storage": "GB", "architecture": "label"}


@operation("hardware_profiles", open=True)
def index(ctx: Context, *, id: str = "", architecture: str = "") -> Answer:  # noqa: A002 - Deltacloud's
    """Return the instance types."""
    found = [
        flavor
        for flavor in ctx.gateway.flavors.values()
        if id in {"", flavor.name} and architecture in {"", ARCHITECTURE}
    ]
    return Answer(
        {"hardware_profiles": {"hardware_profile": [_xml(ctx, one) for one in found]}},
        {"hardware_profiles": [_plain(ctx, one) for one in found]},
    )


@operation("hardware_profiles", open=True)
def show(ctx: Context, name: str) -> Answer:
    """Return one instance type."""
    flavor = ctx.gateway.flavors.get(name)
    if flavor is None:
        raise NotFound("hardware profile", name)
    return Answer(
        {"hardware_profile": _xml(ctx, flavor)}, {"hardware_profile": _plain(ctx, flavor)}
    )


def properties(vcpus: int, memory_mib: int) -> dict[str, str]:
    """Return the properties of a size, as Deltacloud names them.

    ``storage`` is 0: a machine's disk is as large as its image, whatever the type.
    """
    return {
        "cpu": str(vcpus),
        "memory": str(memory_mib),
        "storage": "0",
        "architecture": ARCHITECTURE,
    }


def check_overrides(flavor: Flavor, given: Mapping[str, str]) -> None:
    """Refuse hwp_ parameters that differ from what the profile has: nothing in it can be chosen."""
    fixed = properties(flavor.vcpus, flavor.memory_mib)
    for name, value in given.items():
        if value and value != fixed[name]:
            raise Problem(
                400, f"The parameter 'hwp_{name}' is fixed: {flavor.name} has {fixed[name]}."
            )


def _xml(ctx: Context, flavor: Flavor) -> dict[str, Any]:
    return {
        **ctx.reference("hardware_profiles", flavor.name),
        "id": flavor.name,
        "name": flavor.name,
        "property": [
            {"@kind": "fixed", "@name": name, "@unit": _UNITS[name], "@value": value}
            for name, value in properties(flavor.vcpus, flavor.memory_mib).items()
        ],
    }


def _plain(ctx: Context, flavor: Flavor) -> dict[str, Any]:
    return {
        "id": flavor.name,
        "href": ctx.href("hardware_profiles", flavor.name),
        "name": flavor.name,
        "properties": properties(flavor.vcpus, flavor.memory_mib),
    }
