# SPDX-License-Identifier: Apache-2.0
"""Rows of ``instances``, each with what its launch and its image add when it is described."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import literal, or_, tuple_
from sqlalchemy import select as sql_select

from gateway.store.schema import images, instances, reservations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, Select

BATCH = 500
"""Rows, or ids in one query, that are handled at a time."""


class Position(NamedTuple):
    """Where an instance stands in the order in which instances are described."""

    launched_at: datetime
    reservation_id: str
    launch_index: int

    @classmethod
    def parse(cls, launched_at: str, reservation_id: str, launch_index: str) -> Position:
        """Return the position from texts; raise ValueError for what is not one."""
        return cls(datetime.fromisoformat(launched_at), reservation_id, int(launch_index))


class Whereabouts(NamedTuple):
    """Where and how an instance runs, as its node tells it."""

    node: str | None
    private_ip: str | None
    vnc_port: int | None
    virt_type: str | None


class Instance(NamedTuple):
    """An instance; user data is left out because it is rarely wanted (:func:`get_user_data`)."""

    id: str
    reservation_id: str
    account_id: str
    launch_index: int
    image_id: str
    instance_type: str
    vcpus: int
    memory_mib: int
    disk_bytes: int | None
    volume_type: str
    key_name: str | None
    public_key: str | None
    mac: str
    launched_at: datetime
    wanted: str
    state: str
    state_changed_at: datetime
    reason_code: str | None
    reason_message: str | None
    transition_reason: str | None
    run: int
    lost_runs: int
    submit_state: str
    cluster: int | None
    proc: int | None
    node: str | None
    private_ip: str | None
    vnc_port: int | None
    virt_type: str | None
    heard_run: int | None
    claim_nonce: str | None
    claimed_at: datetime | None
    claimed_by: str | None
    started_at: datetime | None
    home: str | None
    parked: bool
    shutdown_behavior: str
    disable_api_termination: bool
    disable_api_stop: bool
    monitoring: bool
    source_dest_check: bool
    availability_zone: str
    zone_required: bool
    spot_request_id: str | None
    metadata_endpoint: str
    metadata_tokens: str
    metadata_hop_limit: int
    metadata_tags: str
    metadata_pending: bool
    client_token: str | None
    architecture: str
    root_device_name: str
    boot_mode: str | None

    @property
    def has_kept_disk(self) -> bool:
        """Whether there is a disk that an earlier run has left, on a node or in the store."""
        return self.home is not None or self.parked

    @property
    def begun_at(self) -> datetime:
        """When it was started last."""
        return self.started_at or self.launched_at

    @property
    def is_spot(self) -> bool:
        """Whether it makes room for others when they need it."""
        return self.spot_request_id is not None

    @property
    def position(self) -> Position:
        """Its place in the order of description."""
        return Position(self.launched_at, self.reservation_id, self.launch_index)


_OWN = [instances.c[name] for name in Instance._fields if name in instances.c]
# Of its launch and of its image, which stays for as long as an instance has it.
_IMAGE = (images.c.architecture, images.c.root_device_name, images.c.boot_mode)
_OTHERS = (reservations.c.client_token, *_IMAGE)
_SELECT = sql_select(*_OWN, *_OTHERS).select_from(instances.join(reservations).join(images))
_ORDER = (instances.c.launched_at, instances.c.reservation_id, instances.c.launch_index)


def insert(db: Connection, rows: Sequence[Mapping[str, object]]) -> None:
    """Add the instances of a launch; each row names every column."""
    db.execute(instances.insert(), rows)


def get(db: Connection, instance_id: str) -> Instance | None:
    """Return the instance with that id, whoever owns it."""
    row = db.execute(_SELECT.where(instances.c.id == instance_id)).first()
    return None if row is None else Instance._make(row)


def get_user_data(db: Connection, instance_id: str) -> bytes | None:
    """Return an instance's user data, decoded."""
    query = sql_select(instances.c.user_data).where(instances.c.id == instance_id)
    return db.execute(query).scalar()


def select_reservation(db: Connection, reservation_id: str) -> list[Instance]:
    """Return the instances of one launch in their order."""
    query = _SELECT.where(instances.c.reservation_id == reservation_id)
    return _all(db, query.order_by(instances.c.launch_index))


def select_ids(db: Connection, account_id: str, ids: Iterable[str]) -> list[Instance]:
    """Return those of the instances that the account has, in the order of description."""
    own = _SELECT.where(instances.c.account_id == account_id)
    remaining = iter(ids)
    found: list[Instance] = []
    while batch := list(islice(remaining, BATCH)):
        found += _all(db, own.where(instances.c.id.in_(batch)))
    return sorted(found, key=lambda instance: instance.position)


def select_any(db: Connection, ids: Iterable[str]) -> dict[str, Instance]:
    """Return by id those of the instances that there are, whoever owns them."""
    remaining = iter(ids)
    found: dict[str, Instance] = {}
    while batch := list(islice(remaining, BATCH)):
        found |= {one.id: one for one in _all(db, _SELECT.where(instances.c.id.in_(batch)))}
    return found


def select_described(
    db: Connection,
    account_id: str,
    *,
    terminated_after: datetime,
    after: Position | None = None,
    among: Sequence[str] | None = None,
) -> Iterator[list[Instance]]:
    """Yield an account's instances in batches, in the order of description.

    Those that were terminated before ``terminated_after`` are left out, and with ``after`` all
    up to that position; with ``among`` all that have none of these ids.
    """
    query = _SELECT.where(
        instances.c.account_id == account_id,
        or_(
            instances.c.state != "terminated",
            instances.c.state_changed_at > terminated_after,
        ),
    )
    if among is not None:
        query = query.where(instances.c.id.in_(among))
    if after is not None:
        query = query.where(tuple_(*_ORDER) > _literal(after))
    result = db.execution_options(yield_per=BATCH).execute(query.order_by(*_ORDER))
    for batch in result.partitions():
        yield [Instance._make(row) for row in batch]


def select_macs(db: Connection, macs: Iterable[str]) -> set[str]:
    """Return those of the MAC addresses that are taken."""
    query = sql_select(instances.c.mac).where(instances.c.mac.in_(list(macs)))
    return set(db.execute(query).scalars())


def select_submit_state(db: Connection, *submit_states: str) -> list[Instance]:
    """Return the instances whose submission stands so, launch by launch, oldest first."""
    query = _SELECT.where(instances.c.submit_state.in_(submit_states))
    return _all(db, query.order_by(*_ORDER))


def select_to_terminate(db: Connection) -> list[Instance]:
    """Return the instances whose jobs shall be removed: they shall end, or their run has failed."""
    query = _SELECT.where(
        or_(
            instances.c.wanted == "terminated",
            instances.c.submit_state.in_(["unwanted", "lost"]),
        ),
        instances.c.state.not_in(["stopped", "terminated"]),
    )
    return _all(db, query.order_by(*_ORDER))


def select_alive(db: Connection) -> list[Instance]:
    """Return every account's instances that are not terminated."""
    return _all(db, _SELECT.where(instances.c.state != "terminated").order_by(*_ORDER))


def select_unclaimed(db: Connection) -> list[Instance]:
    """Return the instances in the queue that no node has claimed yet."""
    query = _SELECT.where(
        instances.c.state == "pending",
        instances.c.submit_state == "submitted",
        instances.c.claimed_at.is_(None),
    )
    return _all(db, query.order_by(*_ORDER))


def select_on_nodes(db: Connection, ended_after: datetime) -> list[Instance]:
    """Return the instances that take a node's room, or did until less time ago than that."""
    query = _SELECT.where(
        instances.c.node.is_not(None),
        or_(
            instances.c.state.in_(("pending", "running", "stopping", "shutting-down")),
            instances.c.state_changed_at > ended_after,
        ),
    )
    return _all(db, query.order_by(*_ORDER))


def select_terminated_before(db: Connection, before: datetime) -> list[str]:
    """Return the ids of the instances that ended before then."""
    query = sql_select(instances.c.id).where(
        instances.c.state == "terminated", instances.c.state_changed_at < before
    )
    return list(db.execute(query).scalars())


def update_state(
    db: Connection, instance_id: str, expected: str, values: Mapping[str, object]
) -> bool:
    """Change an instance's state and what belongs to it; False where it is not as expected.

    Only ``gateway.cloud.states`` calls this: it knows which changes are allowed.
    """
    statement = instances.update().where(
        instances.c.id == instance_id, instances.c.state == expected
    )
    return db.execute(statement.values(dict(values))).rowcount == 1


def update_wanted(db: Connection, instance_id: str, wanted: str) -> None:
    """Record what the instance's owner wants it to be."""
    db.execute(instances.update().where(instances.c.id == instance_id).values(wanted=wanted))


def update_submission(
    db: Connection,
    instance_ids: Sequence[str],
    submit_state: str,
) -> None:
    """Record how far the submission of these instances is."""
    db.execute(
        instances.update().where(instances.c.id.in_(instance_ids)).values(submit_state=submit_state)
    )


def update_job(db: Connection, instance_id: str, cluster: int, proc: int) -> None:
    """Record the job that an instance became."""
    values = {"submit_state": "submitted", "cluster": cluster, "proc": proc}
    db.execute(instances.update().where(instances.c.id == instance_id).values(values))


def update_whereabouts(db: Connection, instance_id: str, found: Whereabouts) -> None:
    """Record where and how an instance runs."""
    db.execute(instances.update().where(instances.c.id == instance_id).values(found._asdict()))


def update_claim(  # noqa: PLR0913 - a claim is all of these
    db: Connection, instance_id: str, run: int, *, nonce: str, host: str, node: str, at: datetime
) -> bool:
    """Record who starts this run; False where somebody has claimed it or it is not this run.

    ``host`` is what the machine calls itself, ``node`` the name that its token was given to.
    """
    statement = instances.update().where(
        instances.c.id == instance_id, instances.c.run == run, instances.c.claim_nonce.is_(None)
    )
    values = {"claim_nonce": nonce, "claimed_at": at, "claimed_by": node, "node": host}
    return db.execute(statement.values(values)).rowcount == 1


def update_heard(db: Connection, instance_id: str, run: int) -> None:
    """Record that the guest of a run was heard on the network."""
    db.execute(instances.update().where(instances.c.id == instance_id).values(heard_run=run))


def update_zone(db: Connection, instance_id: str, zone: str) -> None:
    """Record the zone of the node that runs an instance."""
    values = {"availability_zone": zone}
    db.execute(instances.update().where(instances.c.id == instance_id).values(values))


def update_metadata(db: Connection, instance_id: str, values: Mapping[str, object]) -> None:
    """Change columns of the metadata's."""
    db.execute(instances.update().where(instances.c.id == instance_id).values(dict(values)))


def update_over(db: Connection, instance_id: str, home: str | None) -> None:
    """Record that no run is under way any more, and on which host the disk is kept."""
    values = {"submit_state": "none", "vnc_port": None, "home": home}
    db.execute(instances.update().where(instances.c.id == instance_id).values(values))


def update_start(
    db: Connection, instance_id: str, run: int, at: datetime, *, lost_runs: int = 0
) -> None:
    """Record that another run of an instance is wanted, which nobody has submitted or claimed.

    ``at`` is since when it is wanted, ``lost_runs`` how many runs since then were lost.
    """
    values = {
        "run": run,
        "lost_runs": lost_runs,
        "started_at": at,
        "wanted": "running",
        "submit_state": "wanted",
        "cluster": None,
        "proc": None,
        "claim_nonce": None,
        "claimed_at": None,
    }
    db.execute(instances.update().where(instances.c.id == instance_id).values(values))


def update_attributes(db: Connection, instance_id: str, values: Mapping[str, object]) -> None:
    """Record what an instance's owner has set, by column."""
    db.execute(instances.update().where(instances.c.id == instance_id).values(dict(values)))


def delete(db: Connection, instance_ids: Sequence[str]) -> None:
    """Remove instances; their tags and console must be gone."""
    db.execute(instances.delete().where(instances.c.id.in_(instance_ids)))


def _literal(place: Position) -> ColumnElement[Any]:
    # A bound value takes its type from what it is compared with, but not inside a tuple.
    return tuple_(
        *(literal(value, column.type) for value, column in zip(place, _ORDER, strict=True))
    )


def _all(db: Connection, query: Select[tuple[object, ...]]) -> list[Instance]:
    return [Instance._make(row) for row in db.execute(query)]
