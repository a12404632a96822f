# SPDX-License-Identifier: Apache-2.0
"""``condor-cloud image``: the images that instances start from."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from gateway.cli import output
from gateway.cli.administration import (
    absolute,
    account,
    account_names,
    account_option,
    administration,
)
from gateway.cli.image_cache import cache
from gateway.cli.image_prefetch import prefetch
from gateway.cli.output import Failure
from gateway.cloud import boot_modes, images
from gateway.cloud.errors import NotFound, unknown
from gateway.cloud.images import ARCHITECTURES, NewImage
from gateway.store import inspection

if TYPE_CHECKING:
    from gateway.store.images import Image


@click.group(name="image", cls=output.Group)
def image() -> None:
    """Add, list and remove images of any account; see where they are cached, and have them so."""


image.add_command(cache)
image.add_command(prefetch)


@image.command()
@click.argument("location", metavar="FILE|URL")
@click.option("--name", help="The image's name; by default the file's.")
@click.option(
    "--architecture",
    type=click.Choice(ARCHITECTURES),
    default="x86_64",
    show_default=True,
    help="What the image's system is built for.",
)
@click.option(
    "--boot-mode",
    type=click.Choice(boot_modes.OF_IMAGES),
    help="How its machines boot; by BIOS if nothing is said.",
)
@click.option("--description", default="", help="A line for people.")
@click.option("--public", is_flag=True, help="Let every account use it.")
@account_option
@output.json_option
def add(  # noqa: PLR0913 - an image is all of these
    *,
    location: str,
    name: str | None,
    architecture: str,
    boot_mode: str | None,
    description: str,
    public: bool,
    account_name: str,
    as_json: bool,
) -> None:
    """Take a disk image into the store and register it.

    qcow2 and raw are kept as they are; vmdk, vhd, vhdx and the first disk of an
    OVA are converted.

    The file is copied and looked at: one that refers to other files is refused.
    When this returns, the image can be launched; the gateway need not run.

    Should the copy be cut, by Ctrl-C, a crash or a server that goes away, the
    same command goes on where it was, within a day and unless the machine was
    booted meanwhile. A web server has to say by an ETag or a date that it is
    still the same file.

    Examples:
      condor-cloud image add debian-13.qcow2 --public
      condor-cloud image add https://example.org/debian-13.qcow2 --name debian-13

    JSON:
      {"id", "account_id", "account", "name", "description", "state",
       "state_reason", "architecture", "boot_mode", "location", "format",
       "size", "virtual_size", "sha256", "public", "created_at"}
    """
    # Imported here because no other command needs it, and it takes its time.
    from gateway.imagestore import importer, taker  # noqa: PLC0415

    where = absolute(location)
    file_name = PurePosixPath(urlsplit(where).path if "://" in where else where)
    new = NewImage(
        name or file_name.stem, where, description, architecture, public, boot_mode=boot_mode
    )
    with administration() as admin:
        with admin.reading() as db:
            owner = account(db, account_name)
        try:
            with output.Transfer(file_name.name) as transfer:
                made, content = importer.add_file(admin.settings, owner.id, new, transfer)
        except taker.ImportFailedError as error:
            raise Failure(str(error)) from error
        except KeyboardInterrupt:
            click.echo("The same command goes on with what has come, for a day.", err=True)
            raise
    if as_json:
        output.write_json(_document(made, owner.name))
        return
    click.echo(f"{made.id} {made.name}")
    click.echo(f"sha256 {content.sha256}")
    click.echo(
        f"{content.format}, {output.size(content.size)}, as a disk"
        f" {output.size(content.virtual_size)}"
    )


@image.command(name="list")
@output.json_option
def list_images(as_json: bool) -> None:
    """List the images of all accounts, oldest first.

    An image is pending while it is copied, then available, or failed for the
    reason that is shown.

    Example:
      condor-cloud image list --json | jq -r '.[].id'

    JSON: a list of what `image add --json` writes
    """
    with administration() as admin, admin.reading() as db:
        names = account_names(db)
        found = [one for one in inspection.select_images(db) if one.registered]
    if as_json:
        output.write_json([_document(one, names[one.account_id]) for one in found])
        return
    output.table(
        ("ID", "NAME", "STATE", "ARCH", "SIZE", "DISK", "PUBLIC", "ACCOUNT", "CREATED", "REASON"),
        (
            (
                one.id,
                one.name,
                one.state,
                one.architecture,
                output.size(one.size),
                output.size(one.virtual_size),
                one.public,
                names[one.account_id],
                one.created_at,
                one.state_reason,
            )
            for one in found
        ),
        empty="There is no image; `condor-cloud image add` adds one.",
    )


@image.command()
@click.argument("image_ids", metavar="ID...", nargs=-1, required=True)
@output.json_option
def remove(image_ids: tuple[str, ...], as_json: bool) -> None:
    """Deregister images of any account; all of the named ones or none.

    Nothing starts from them any more; instances that run go on. The file is
    deleted when the last of these instances has gone.

    Example:
      condor-cloud image remove ami-0123456789abcdef0

    JSON: a list of what `image add --json` writes
    """
    with administration() as admin, admin.writing("importer") as db:
        names = account_names(db)
        known = {one.id: one for one in inspection.select_images(db) if one.registered}
        if missing := unknown(image_ids, list(known)):
            raise NotFound("image", *missing)
        removed = [known[image_id] for image_id in dict.fromkeys(image_ids)]
        for one in removed:
            images.deregister(db, one.account_id, one.id)
    if as_json:
        output.write_json([_document(one, names[one.account_id]) for one in removed])
        return
    for one in removed:
        click.echo(f"{one.id} removed")


def _document(one: Image, account_name: str) -> dict[str, Any]:
    return {
        "id": one.id,
        "account_id": one.account_id,
        "account": account_name,
        "name": one.name,
        "description": one.description,
        "state": one.state,
        "state_reason": one.state_reason,
        "architecture": one.architecture,
        "boot_mode": one.boot_mode,
        "location": one.location,
        "format": one.format,
        "size": one.size,
        "virtual_size": one.virtual_size,
        "sha256": one.sha256,
        "public": one.public,
        "created_at": output.time(one.created_at),
    }
