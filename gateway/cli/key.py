# SPDX-License-Identifier: Apache-2.0
"""``condor-cloud key``: the access keys that clients sign their requests with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from gateway.cli import output
from gateway.cli.administration import account, account_names, account_option, administration
from gateway.cloud import accounts
from gateway.cloud.errors import NotFound, unknown
from gateway.store import inspection

if TYPE_CHECKING:
    from gateway.store.access_keys import AccessKey


@click.group(name="key", cls=output.Group)
def key() -> None:
    """Make, list and revoke access keys.

    These are the keys of EC2 clients (AWS_ACCESS_KEY_ID). The key pairs for SSH
    are made by the clients: aws ec2 create-key-pair.
    """


@key.command()
@account_option
@click.option("--description", default="", help="For whom or for what the key is.")
@output.json_option
def create(account_name: str, description: str, as_json: bool) -> None:
    """Make an access key; an account that does not exist is made too.

    Example:
      condor-cloud key create --account physics --description "the batch group"

    JSON:
      {"id", "secret", "account_id", "account", "description", "created_at",
       "revoked_at"}
    """
    now = datetime.now(UTC)
    with administration() as admin, admin.writing() as db:
        owner = accounts.ensure_account(db, account_name, now)
        made = accounts.create_access_key(db, owner.id, description, now)
    if as_json:
        output.write_json(_document(made, owner.name) | {"secret": made.secret})
        return
    click.echo(f"export AWS_ACCESS_KEY_ID={made.id}")
    click.echo(f"export AWS_SECRET_ACCESS_KEY={made.secret}")
    click.echo("The secret is not shown again.", err=True)


@key.command(name="list")
@click.option("--account", "account_name", metavar="NAME", help="Only this account's keys.")
@output.json_option
def list_keys(account_name: str | None, as_json: bool) -> None:
    """List the access keys of all accounts, revoked ones too.

    Example:
      condor-cloud key list --account physics

    JSON: a list of
      {"id", "account_id", "account", "description", "created_at",
       "revoked_at"}
    """
    with administration() as admin, admin.reading() as db:
        names = account_names(db)
        found = inspection.select_access_keys(db)
        if account_name is not None:
            wanted = account(db, account_name).id
            found = [one for one in found if one.account_id == wanted]
    if as_json:
        output.write_json([_document(one, names[one.account_id]) for one in found])
        return
    output.table(
        ("ID", "ACCOUNT", "DESCRIPTION", "CREATED", "REVOKED"),
        (
            (one.id, names[one.account_id], one.description, one.created_at, one.revoked_at)
            for one in found
        ),
        empty="There is no access key; `condor-cloud key create` makes one.",
    )


@key.command()
@click.argument("key_ids", metavar="[ID...]", nargs=-1)
@click.option("--account", "account_name", metavar="NAME", help="Only keys of this account.")
@click.option("--all", "every", is_flag=True, help="All keys of the account.")
@output.json_option
def revoke(
    key_ids: tuple[str, ...], account_name: str | None, *, every: bool, as_json: bool
) -> None:
    """Accept access keys no longer; all of the named ones or none.

    A revoked key is refused from the next request on.

    Examples:
      condor-cloud key revoke AKIAIOSFODNN7EXAMPLE
      condor-cloud key revoke --account physics --all

    JSON: a list as of `key list`
    """
    if every == bool(key_ids) or (every and account_name is None):
        raise click.UsageError("Name access keys, or an account with --account and --all.")
    now = datetime.now(UTC)
    with administration() as admin, admin.writing() as db:
        names = account_names(db)
        if account_name is not None:
            owner = account(db, account_name).id
            own = [one.id for one in accounts.list_access_keys(db, owner)]
            if missing := unknown(key_ids, own):
                raise NotFound("access key", *missing)
            key_ids = key_ids or tuple(own)
        revoked = [accounts.revoke_access_key(db, key_id, now) for key_id in key_ids]
    if as_json:
        was = [one._replace(revoked_at=one.revoked_at or now) for one in revoked]
        output.write_json([_document(one, names[one.account_id]) for one in was])
        return
    for one in revoked:
        click.echo(f"{one.id} revoked")


def _document(one: AccessKey, account_name: str) -> dict[str, Any]:
    return {
        "id": one.id,
        "account_id": one.account_id,
        "account": account_name,
        "description": one.description,
        "created_at": output.time(one.created_at),
        "revoked_at": output.time(one.revoked_at),
    }
