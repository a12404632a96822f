# SPDX-License-Identifier: Apache-2.0
"""``condor-cloud node``: which machines may use the node link."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

import click

from gateway.cli import output
from gateway.cli.administration import administration
from gateway.cli.output import Failure
from gateway.nodelink import credentials
from gateway.store import inspection, nodes
from gateway.store.nodes import Node


@click.group(name="node", cls=output.Group)
def node() -> None:
    """Admit the nodes of an existing pool to the node link.

    The embedded pool's node is admitted by `condor-cloud run`.
    """


@node.command()
@click.argument("name")
@output.json_option
def add(name: str, as_json: bool) -> None:
    """Admit the node NAME and write its new token; an earlier one is void.

    The token belongs into the node's /etc/condor-cloud/node.token, beside a
    copy of the gateway's certificate, whose place is told.

    Example:
      condor-cloud node add node7.example.org > node7.token

    JSON: {"name", "token", "certificate": the file's path}
    """
    token = secrets.token_urlsafe(32)
    hashed = credentials.token_hash(token)
    with administration() as admin:
        with admin.writing() as db:
            if nodes.get(db, name) is None:
                nodes.insert(db, Node(name, hashed, datetime.now(UTC), None))
            else:
                nodes.update_token(db, name, hashed)
        certificate = credentials.certificate(admin.settings)
    if as_json:
        output.write_json({"name": name, "token": token, "certificate": str(certificate)})
        return
    click.echo(token)
    click.echo(f"The certificate for /etc/condor-cloud/nodelink-ca.pem: {certificate}", err=True)


@node.command(name="list")
@output.json_option
def list_nodes(as_json: bool) -> None:
    """List the nodes that are or were admitted.

    Example:
      condor-cloud node list

    JSON: a list of {"name", "created_at", "revoked_at"}
    """
    with administration() as admin, admin.reading() as db:
        found = inspection.select_nodes(db)
    if as_json:
        output.write_json(
            [
                {
                    "name": one.name,
                    "created_at": output.time(one.created_at),
                    "revoked_at": output.time(one.revoked_at),
                }
                for one in found
            ]
        )
        return
    output.table(
        ("NAME", "CREATED", "REVOKED"),
        ((one.name, one.created_at, one.revoked_at) for one in found),
        empty="There is no node; `condor-cloud node add` admits one.",
    )


@node.command()
@click.argument("name")
def revoke(name: str) -> None:
    """Accept the token of the node NAME no longer.

    Its guests go on; it can neither start others nor report output.

    Example:
      condor-cloud node revoke node7.example.org
    """
    with administration() as admin, admin.writing() as db:
        known = nodes.get(db, name)
        if known is None:
            raise Failure(f"There is no node {name}.")
        if known.revoked_at is None:
            nodes.update_revoked(db, name, datetime.now(UTC))
    click.echo(f"{name} revoked")
