# SPDX-License-Identifier: Apache-2.0
"""``/api/images``: the images that an account may launch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud import captures, image_sharing, images
from gateway.cloud.captures import NewCapture
from gateway.cloud.errors import NotRunning, WrongState
from gateway.deltacloud import problems
from gateway.deltacloud.operations import NOTHING, Answer, operation

if TYPE_CHECKING:
    from gateway.deltacloud.operations import Context
    from gateway.store.images import Image


@operation("images")
def index(
    ctx: Context,
    *,
    id: str = "",  # noqa: A002 - Deltacloud's parameter
    owner_id: str = "",
    architecture: str = "",
) -> Answer:
    """Return the images, oldest first."""
    found = [
        image
        for image in images.find(ctx.db, ctx.account_id)
        if image_sharing.is_shown(image, ctx.account_id, ctx.now)
        and id in {"", image.id}
        and owner_id in {"", image.account_id}
        and architecture in {"", image.architecture}
    ]
    return Answer(
        {"images": {"image": [_xml(ctx, image) for image in found]}},
        {"images": [_plain(ctx, image) for image in found]},
    )


@operation("images")
def show(ctx: Context, image_id: str) -> Answer:
    """Return one image."""
    [image] = images.find(ctx.db, ctx.account_id, [image_id])
    return Answer({"image": _xml(ctx, image)}, {"image": _plain(ctx, image)})


@operation("images", writes=True)
def create(ctx: Context, *, instance_id: str, name: str = "", description: str = "") -> Answer:
    """Make an image of an instance, which goes on or stays stopped; it is pending at first."""
    asked = NewCapture(
        instance_id,
        name or f"{instance_id} {ctx.now:%Y-%m-%d %H.%M.%S.%f}",
        description,
        tags={},
        # Nothing in this API says that a machine boots anew for it.
        grace=None,
    )
    try:
        image = captures.begin(
            ctx.db, ctx.account_id, asked, ctx.now, ctx.terminated_after, limits=ctx.limits
        )
    except (NotRunning, WrongState) as error:
        raise problems.not_allowed(str(error), ["OPTIONS", "HEAD", "GET"]) from error
    ctx.wakes.update(("nodelink", "importer"))
    return Answer(
        {"image": _xml(ctx, image)},
        {"image": _plain(ctx, image)},
        status=201,
        location=ctx.href("images", image.id),
    )


@operation("images", writes=True)
def destroy(ctx: Context, image_id: str) -> Answer:
    """Take an image away from new launches; instances that have it go on."""
    images.deregister(ctx.db, ctx.account_id, image_id)
    ctx.wakes.add("importer")
    return NOTHING


def _xml(ctx: Context, image: Image) -> dict[str, Any]:
    launch = f"{ctx.href('instances')};image_id={image.id}"
    links = [{"@rel": "create_instance", "@method": "post", "@href": launch}]
    if image.account_id == ctx.account_id:
        href = ctx.href("images", image.id)
        links.append({"@rel": "destroy_image", "@method": "delete", "@href": href})
    return {
        **ctx.reference("images", image.id),
        "name": image.name,
        "description": image.description or image.name,
        "owner_id": image.account_id,
        "architecture": image.architecture,
        "state": image.state.upper(),
        "creation_time": created(image),
        "hardware_profiles": {
            "hardware_profile": [
                {**ctx.reference("hardware_profiles", name), "@rel": "hardware_profile"}
                for name in ctx.gateway.flavors
            ]
        },
        "root_type": "persistent",
        "actions": {"link": links},
    }


def _plain(ctx: Context, image: Image) -> dict[str, Any]:
    return {
        "id": image.id,
        "href": ctx.href("images", image.id),
        "name": image.name,
        "description": image.description or image.name,
        "owner": image.account_id,
        "owner_id": image.account_id,
        "architecture": image.architecture,
        "state": image.state.upper(),
        "creation_time": created(image),
        "root_type": "persistent",
        "hardware_profiles": [
            ctx.plain_reference("hardware_profiles", name) for name in ctx.gateway.flavors
        ],
    }


def created(image: Image) -> str:
    """Return when an image was registered, as ISO 8601 in UTC."""
    return f"{image.created_at:%Y-%m-%dT%H:%M:%SZ}"
