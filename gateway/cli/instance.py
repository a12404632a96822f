# SPDX-License-Identifier: Apache-2.0
"""``condor-cloud instance``: every account's machines, without an EC2 client."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from itertools import groupby
from typing import IO, TYPE_CHECKING, Any

import click

from gateway.cli import output
from gateway.cli.administration import account, account_names, account_option, administration
from gateway.cli.output import Failure
from gateway.cloud import attributes, flavors, instances, quotas, tags, zones
from gateway.cloud.errors import NotFound
from gateway.cloud.instances import Launch
from gateway.store import images, inspection
from gateway.store import instances as rows
from gateway.store import tags as tag_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from gateway.cli.administration import Administration
    from gateway.store.instances import Instance

LOOK_EVERY = 0.2
COLUMNS = (
    "ID", "STATE", "TYPE", "IMAGE", "NODE", "ADDRESS", "VNC", "VIRT", "LAUNCHED", "REASON"
)  # fmt: skip
EVER = datetime.min.replace(tzinfo=UTC)

wait_option = click.option("--wait", is_flag=True, help="Return when it is done, or has failed.")
timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="The longest wait.",
)


@click.group(name="instance", cls=output.Group)
def instance() -> None:
    """List, launch and terminate instances of any account."""


@instance.command(name="list")
@click.option("--all", "everything", is_flag=True, help="Terminated instances too.")
@output.json_option
def list_instances(everything: bool, as_json: bool) -> None:
    """List the instances of all accounts, oldest first.

    NODE, ADDRESS, VNC (a port on the node's loopback) and VIRT (kvm, or qemu
    where the node emulates) are known once the guest runs. A stopped instance
    has the NODE that has its disk, and none if the image store has it. REASON
    says why an instance is in its state.

    Examples:
      condor-cloud instance list --all
      condor-cloud instance list --json | jq -r '.[].private_ip'

    JSON: a list of
      {"id", "reservation_id", "account_id", "account", "image_id", "type",
       "vcpus", "memory_mib", "state", "state_changed_at", "reason_code",
       "reason", "key", "mac", "node", "private_ip", "vnc_port", "virt_type",
       "job", "launched_at", "tags"}
    """
    with administration() as admin, admin.reading() as db:
        found = [
            one
            for one in inspection.select_instances(db)
            if everything or one.state != "terminated"
        ]
        if as_json:
            output.write_json(_documents(db, found))
            return
    hint = "" if everything else "; --all shows the terminated ones"
    output.table(COLUMNS, map(_row, found), empty=f"There is no instance{hint}.")


@instance.command()
@click.argument("image")
@click.option("--type", "flavor", default="small", show_default=True, help="The instance type.")
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, help="How many.")
@click.option("--key", "key_name", metavar="NAME", help="The account's key pair to let in by SSH.")
@click.option(
    "--user-data", type=click.File("rb"), metavar="FILE", help="File for the guest; - is stdin."
)
@click.option("--zone", metavar="NAME", help="The availability zone to run in; else any.")
@click.option("--tag", "tagged", multiple=True, metavar="KEY=VALUE", help="Any number of tags.")
@account_option
@wait_option
@timeout_option
@output.json_option
def launch(  # noqa: PLR0913 - a launch is all of these
    *,
    image: str,
    flavor: str,
    count: int,
    key_name: str | None,
    user_data: IO[bytes] | None,
    zone: str | None,
    tagged: tuple[str, ...],
    account_name: str,
    wait: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Launch instances from IMAGE, an image's id or name.

    Without --wait the instances are pending when this returns. With it, the
    exit status is 1 unless all of them run.

    Example:
      condor-cloud instance launch ami-0123456789abcdef0 --key demo --wait

    JSON: a list as of `instance list`
    """
    content = None if user_data is None else user_data.read(attributes.MAX_USER_DATA + 1)
    with administration() as admin:
        with admin.writing("reconciler") as db:
            owner = account(db, account_name).id
            default = admin.settings.availability_zone
            known = zones.known(db, default, owner)
            if zone is not None:
                zones.check(known, zone)
            asked = Launch(
                image_id=_image_id(db, owner, image),
                flavor=flavor,
                minimum=count,
                maximum=count,
                zone=zone or zones.choose(known, default),
                zone_required=zone is not None,
                key_name=key_name,
                user_data=content,
                tags=tags.collect(_pair(text) for text in tagged),
            )
            launched = instances.launch(
                db,
                owner,
                asked,
                datetime.now(UTC),
                flavors=flavors.load(admin.settings.types_file),
                limits=quotas.UNLIMITED,
            )
        names = [one.id for one in launched]
        if wait:
            _wait(admin, names, {"running", "terminated"}, timeout)
        failed = _tell(admin, names, "running" if wait else None, as_json=as_json)
    if failed:
        raise Failure(f"{_count(len(failed))} did not start: {_why(failed[0])}")


@instance.command()
@click.argument("instance_ids", metavar="ID...", nargs=-1, required=True)
@wait_option
@timeout_option
@output.json_option
def terminate(instance_ids: tuple[str, ...], wait: bool, timeout: float, as_json: bool) -> None:
    """Terminate instances of any account; all of the named ones or none.

    Guests end at once and their disks are deleted. An instance that has ended
    is no error.

    Example:
      condor-cloud instance terminate i-0123456789abcdef0 --wait

    JSON: a list as of `instance list`
    """
    names = list(dict.fromkeys(instance_ids))
    with administration() as admin:
        with admin.writing("reconciler") as db:
            _terminate(db, names)
        if wait:
            _wait(admin, names, {"terminated"}, timeout)
        _tell(admin, names, None, as_json=as_json)


def _terminate(db: Connection, names: Sequence[str]) -> None:
    found = {name: rows.get(db, name) for name in names}
    if missing := [name for name, one in found.items() if one is None]:
        raise NotFound("instance", *missing)
    owned = sorted((one.account_id, one.id) for one in found.values() if one is not None)
    for owner, members in groupby(owned, key=lambda pair: pair[0]):
        ids = [instance_id for _, instance_id in members]
        instances.terminate(db, owner, ids, datetime.now(UTC), EVER)


def _wait(admin: Administration, names: Sequence[str], states: set[str], timeout: float) -> None:
    limit = time.monotonic() + timeout
    while open_ := [one for one in _current(admin, names) if one.state not in states]:
        if time.monotonic() > limit:
            raise Failure(
                f"{open_[0].id} is still {open_[0].state} after {timeout:g} s; does the gateway"
                " run? `condor-cloud doctor` looks."
            )
        time.sleep(LOOK_EVERY)


def _tell(
    admin: Administration, names: Sequence[str], wanted: str | None, *, as_json: bool
) -> list[Instance]:
    """Show the instances; return those that are not in the state that is wanted."""
    found = _current(admin, names)
    if as_json:
        with admin.reading() as db:
            output.write_json(_documents(db, found))
    elif wanted is None:
        for one in found:
            click.echo(f"{one.id} {one.state}")
    else:
        output.table(COLUMNS, map(_row, found), empty="")
    return [one for one in found if wanted is not None and one.state != wanted]


def _current(admin: Administration, names: Sequence[str]) -> list[Instance]:
    with admin.reading() as db:
        found = [rows.get(db, name) for name in names]
    return [one for one in found if one is not None]


def _image_id(db: Connection, owner: str, text: str) -> str:
    if text.startswith("ami-"):
        return text
    named = images.get_by_name(db, owner, text)
    if named is None:
        raise Failure(f"There is no image with the id or the name {text}.")
    return named.id


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--tag {text!r}: write it as KEY=VALUE.")
    return name, value


def _count(number: int) -> str:
    return "1 instance" if number == 1 else f"{number} instances"


def _why(one: Instance) -> str:
    return (one.reason_message or one.transition_reason or f"it is {one.state}").rstrip(".") + "."


def _reason(one: Instance) -> str | None:
    # A pending instance's reason is the word "pending" until there is one.
    return None if one.reason_message == one.state else one.reason_message


def _row(one: Instance) -> tuple[object, ...]:
    return (
        one.id, one.state, one.instance_type, one.image_id, _node(one), one.private_ip,
        one.vnc_port, one.virt_type, one.launched_at, _reason(one),
    )  # fmt: skip


def _node(one: Instance) -> str | None:
    """Return where an instance runs, or its disk is."""
    return None if one.parked else one.node


def _documents(db: Connection, found: Sequence[Instance]) -> list[dict[str, Any]]:
    names = account_names(db)
    tagged: dict[str, dict[str, str]] = {}
    for start in range(0, len(found), rows.BATCH):
        batch = found[start : start + rows.BATCH]
        tagged |= tag_rows.select(db, [one.id for one in batch])
    return [_document(one, names[one.account_id], tagged.get(one.id, {})) for one in found]


def _document(one: Instance, account_name: str, tagged: dict[str, str]) -> dict[str, Any]:
    return {
        "id": one.id,
        "reservation_id": one.reservation_id,
        "account_id": one.account_id,
        "account": account_name,
        "image_id": one.image_id,
        "type": one.instance_type,
        "vcpus": one.vcpus,
        "memory_mib": one.memory_mib,
        "state": one.state,
        "state_changed_at": output.time(one.state_changed_at),
        "reason_code": None if _reason(one) is None else one.reason_code,
        "reason": _reason(one),
        "key": one.key_name,
        "mac": one.mac,
        "node": _node(one),
        "private_ip": one.private_ip,
        "vnc_port": one.vnc_port,
        "virt_type": one.virt_type,
        "job": None if one.cluster is None else f"{one.cluster}.{one.proc}",
        "launched_at": output.time(one.launched_at),
        "tags": tagged,
    }
