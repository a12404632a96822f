# SPDX-License-Identifier: Apache-2.0
"""Spot instances on nodes, for the tests of what the reconciler does with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from test_reconciler import engine, reconciler, state

from gateway.cloud import accounts, flavors, images, instances, spot, states
from gateway.cloud.spot import Terms
from gateway.config import Settings
from gateway.scheduler.fake import FakeScheduler
from gateway.scheduler.protocol import NodeSize
from gateway.store import database, spot_requests
from gateway.store import instances as rows
from gateway.store.images import Content

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from gateway.store.spot_requests import SpotRequest

__all__ = ["engine", "scheduler", "settings"]

ONE_TIME, STOP = Terms(), Terms("persistent", "stop")
# What a small instance takes: 1 CPU, 512 MiB and the machine's own 64, a disk of 8 GiB at most.
FULL = NodeSize("m1", 4, 4096, 65536, 0, 0, 65536, "one")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(
        state_dir=tmp_path,
        event_log=str(tmp_path / "EventLog"),
        reconcile_interval=1e9,
        spot_notice=120.0,
    )
    database.migrate(made.database)
    return made


@pytest.fixture
def scheduler() -> FakeScheduler:
    return FakeScheduler([FULL])


def launch_spot(
    engine: Engine, terms: Terms = ONE_TIME, *, flavor: str = "small", age: int = 300
) -> str:
    at = datetime.now(UTC) - timedelta(seconds=age)
    with database.writing(engine) as db:
        account = accounts.ensure_account(db, "test", at)
        new = images.NewImage(f"spot {len(list(images.find(db, account.id)))}", "http://h/image")
        image = images.register(db, account.id, new, tagged={}, now=at, sources=None)
        images.imported(db, image.id, Content("ab" * 32, 1000, 2000, "qcow2"))
        asked = instances.Launch(
            image_id=image.id,
            flavor=flavor,
            minimum=1,
            maximum=1,
            zone="condor-a",
            key_name=None,
            user_data=b"\xff",
            tags={},
        )
        made = instances.launch(db, account.id, asked, now=at, flavors=flavors.load(), limits={})
        [made] = spot.fulfil_at_once(db, account.id, made, asked, terms, tagged={}, now=at)
    return made.id


def run(engine: Engine, instance_id: str, host: str = "one") -> None:
    """Bring an instance onto a node, as its claim and its report would."""
    with database.writing(engine) as db:
        rows.update_claim(
            db, instance_id, 1, nonce="n", host=host, node="token", at=datetime.now(UTC)
        )
        found = rows.get(db, instance_id)
        assert found is not None
        states.change(db, found, "running", datetime.now(UTC))


def running_spot(
    settings: Settings,
    engine: Engine,
    scheduler: FakeScheduler,
    terms: Terms = ONE_TIME,
    *,
    host: str = "one",
    flavor: str = "small",
    age: int = 300,
) -> str:
    instance_id = launch_spot(engine, terms, flavor=flavor, age=age)
    reconciler(settings, engine, scheduler).submit_wanted()
    run(engine, instance_id, host)
    return instance_id


def request_of(engine: Engine, instance_id: str) -> SpotRequest:
    with database.reading(engine) as db:
        found = spot_requests.get(db, state(engine, instance_id).spot_request_id or "")
    assert found is not None
    return found


def noticed(engine: Engine, *ids: str) -> list[str]:
    return [name for name in ids if request_of(engine, name).interrupt_at is not None]


def let_the_notice_pass(engine: Engine, instance_id: str) -> None:
    with database.writing(engine) as db:
        request_id = request_of(engine, instance_id).id
        spot_requests.update(db, request_id, interrupt_at=datetime.now(UTC))
