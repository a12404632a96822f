# SPDX-License-Identifier: Apache-2.0
"""``condor-cloud account``: the tenants, what they have and what they may have."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from gateway.cli import output
from gateway.cli.administration import account as find
from gateway.cli.administration import administration
from gateway.cloud import accounts, quotas
from gateway.store import accounts as rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection

    from gateway.config import Settings
    from gateway.store.accounts import Account

_DEFAULT = "default"
_AMOUNT = re.compile(r"(\d+)([KMGT]i?B?)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Amount(click.ParamType[int | str]):
    """A quota: a number, for bytes also with a unit (10G), or ``default``: the setting's."""

    name = "N|default"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """Return the number, or the word ``default``."""
        text = str(value)
        if text == _DEFAULT:
            return _DEFAULT
        found = _AMOUNT.fullmatch(text)
        unit = (found[2] or "")[:1].upper() if found else ""
        if not found or (unit and param is not None and "bytes" not in str(param.name)):
            self.fail(f"{text!r} is neither a number nor {_DEFAULT!r}.", param, ctx)
        return int(found[1]) * _UNITS[unit]


def _quota_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for kind in reversed(list(quotas.KINDS)):
        option = click.option(f"--{kind}", type=Amount(), help=f"The quota {kind}.")
        command = option(command)
    return command


@click.group(name="account", cls=output.Group)
def account() -> None:
    """Make and list accounts; set what they may have.

    Clients sign their requests with an account's access keys: condor-cloud key.
    """


@account.command()
@click.argument("name")
@output.json_option
def create(name: str, as_json: bool) -> None:
    """Make an account without any access key.

    Example:
      condor-cloud account create physics
      condor-cloud key create --account physics

    JSON: as of `account show`
    """
    with administration() as admin, admin.writing() as db:
        made = accounts.create_account(db, name, datetime.now(UTC))
        document = _document(db, made, admin.settings)
    if as_json:
        output.write_json(document)
        return
    click.echo(f"{made.id} {made.name}")


@account.command(name="list")
@output.json_option
def list_accounts(as_json: bool) -> None:
    """List all accounts with what they have of what they may have.

    Example:
      condor-cloud account list

    JSON: a list of what `account show --json` writes
    """
    with administration() as admin, admin.reading() as db:
        found = [_document(db, one, admin.settings) for one in rows.select(db)]
        created = {one.id: one.created_at for one in rows.select(db)}
    if as_json:
        output.write_json(found)
        return
    output.table(
        ("NAME", "ID", *(kind.replace("-", " ").upper() for kind in quotas.KINDS), "CREATED"),
        (
            (
                one["name"],
                one["id"],
                *(_of(kind, quota) for kind, quota in one["quotas"].items()),
                created[one["id"]],
            )
            for one in found
        ),
        empty="There is no account; `condor-cloud account create` makes one.",
    )


@account.command()
@click.argument("name")
@output.json_option
def show(name: str, as_json: bool) -> None:
    """Show what an account (by name or number) has and what it may have.

    Example:
      condor-cloud account show physics

    JSON:
      {"id", "name", "created_at",
       "quotas": {KIND: {"used", "limit", "own"}}}
      where own tells a quota of the account's own from the setting's
    """
    with administration() as admin, admin.reading() as db:
        document = _document(db, find(db, name), admin.settings)
    _tell(document, as_json=as_json)


@account.command()
@click.argument("name")
@_quota_options
@output.json_option
def quota(name: str, *, as_json: bool, **given: int | str | None) -> None:
    """Set what an account may have; with no option, show it.

    N is a number, for --image-bytes also with K, M, G or T (10G is 10 GiB).
    `default` gives the quota back to the settings. What the account already
    has stays, also above its new quota; it only gets nothing more.

    Examples:
      condor-cloud account quota physics --instances 50 --vcpus 200
      condor-cloud account quota physics --image-bytes 500G --vcpus default

    JSON: as of `account show`
    """
    wanted = {kind: given[kind.replace("-", "_")] for kind in quotas.KINDS}
    with administration() as admin, admin.writing() as db:
        one = find(db, name)
        for kind, value in wanted.items():
            if value is not None:
                quotas.put(db, one.id, kind, None if value == _DEFAULT else int(value))
        document = _document(db, one, admin.settings)
    _tell(document, as_json=as_json)


def _tell(document: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.write_json(document)
        return
    click.echo(f"{document['id']} {output.printable(document['name'])}")
    output.table(
        ("QUOTA", "USED", "LIMIT", "FROM"),
        (
            (
                kind,
                _amount(kind, one["used"]),
                _amount(kind, one["limit"]),
                "account" if one["own"] else f"setting {quotas.KINDS[kind].setting}",
            )
            for kind, one in document["quotas"].items()
        ),
        empty="",
    )


def _document(db: Connection, one: Account, settings: Settings) -> dict[str, Any]:
    limits, own = quotas.current(db, one.id, settings), quotas.own(db, one.id)
    used = quotas.usage(db, one.id)
    return {
        "id": one.id,
        "name": one.name,
        "created_at": output.time(one.created_at),
        "quotas": {
            kind: {"used": used[kind], "limit": limits[kind], "own": kind in own}
            for kind in quotas.KINDS
        },
    }


def _of(kind: str, quota: Mapping[str, int]) -> str:
    return f"{_amount(kind, quota['used'])} of {_amount(kind, quota['limit'])}"


def _amount(kind: str, count: int) -> str:
    return output.size(count) if kind.endswith("bytes") else str(count)
