# SPDX-License-Identifier: Apache-2.0
"""``/api``: the collections and their features, open to everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.deltacloud.operations import DRIVER, VERSION, Answer, operation

if TYPE_CHECKING:
    from gateway.deltacloud.operations import Context


class Feature(NamedTuple):
    """Something beyond the API's minimum: an operation that takes these parameters."""

    name: str
    operation: str
    parameters: tuple[str, ...]


COLLECTIONS: dict[str, tuple[Feature, ...]] = {
    "drivers": (),
    "realms": (),
    "hardware_profiles": (),
    "instance_states": (),
    "images": (
        Feature("owner_id", "index", ("owner_id",)),
        Feature("image_name", "create", ("name",)),
        Feature("image_description", "create", ("description",)),
    ),
    "instances": (
        Feature("realm_filter", "index", ("realm_id",)),
        Feature("user_name", "create", ("name",)),
        Feature("user_data", "create", ("user_data",)),
        Feature("authentication_key", "create", ("keyname",)),
        Feature("hardware_profiles", "create", ("hwp_id", "hwp_cpu", "hwp_memory", "hwp_storage")),
        Feature("instance_count", "create", ("instance_count",)),
    ),
    "keys": (Feature("import_key", "create", ("public_key",)),),
}


@operation("", open=True)
def index(ctx: Context, *, force_auth: str = "") -> Answer:  # noqa: ARG001 - the front end looks at it
    """Return the entry point: links to the collections, with their features."""
    links: list[dict[str, Any]] = []
    plain = []
    for collection, features in COLLECTIONS.items():
        href = ctx.href(collection)
        links.append({"@rel": collection, "@href": href, "feature": [_xml(f) for f in features]})
        plain.append({"rel": collection, "href": href, "features": [[_plain(f)] for f in features]})
    return Answer(
        {"api": {"@driver": DRIVER, "@version": VERSION, "link": links}},
        {"api": {"driver": DRIVER, "version": VERSION, "links": plain}},
    )


def _xml(feature: Feature) -> dict[str, Any]:
    return {
        "@name": feature.name,
        "@rel": feature.operation,
        "param": [{"@name": name} for name in feature.parameters],
    }


def _plain(feature: Feature) -> dict[str, Any]:
    return {
        "name": feature.name,
        "rel": feature.operation,
        "params": [f"{name}:string:optional" for name in feature.parameters],
        "constraints": {},
    }
