# SPDX-License-Identifier: Apache-2.0
"""The operators' metrics, read with Prometheus's own parser."""

from __future__ import annotations

import re
import threading
import urllib.error
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from prometheus_client.parser import text_string_to_metric_families
from served import serve

from gateway import config
from gateway.app import KNOWN
from gateway.cloud import accounts, images, pool_report
from gateway.config import Settings, SettingsError
from gateway.metrics import requests
from gateway.metrics.app import create_app
from gateway.reconcile.nodes import NodeWatcher
from gateway.scheduler.fake import FakeScheduler
from gateway.scheduler.protocol import CacheReport, NodeReport, SchedulerError
from gateway.store import captures, database, parkings
from gateway.store.captures import Capture
from gateway.store.images import Content
from gateway.store.parkings import Parking

if TYPE_CHECKING:
    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
CACHE = CacheReport(("ab" * 32,), 100, 200, 3, 2, 1, 4000, 0.5)
NODE = NodeReport("node7", True, True, None, "kvm", "1", 8, 1024, 0.0, CACHE)  # noqa: FBT003

Sample = tuple[str, tuple[tuple[str, str], ...]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(state_dir=tmp_path)
    database.migrate(made.database)
    return made


def scrape(settings: Settings) -> dict[Sample, float]:
    """Return the value of each sample by its name and labels."""
    answer = create_app(settings).test_client().get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.get_data(as_text=True))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def of(name: str, **labels: str) -> Sample:
    return (f"condor_cloud_{name}", tuple(sorted(labels.items())))


def test_the_store_and_what_is_in_each_state_are_counted(settings: Settings) -> None:
    now = datetime.now(UTC)
    with database.writing(database.engine(settings.database)) as db:
        owner = accounts.ensure_account(db, "test", now).id
        made = []
        for name in ("one", "same bytes", "other", "waits", "fails"):
            new = images.NewImage(name, "http://localhost/image")
            made.append(images.register(db, owner, new, tagged={}, now=now, sources=None).id)
        for image_id, number in zip(made, (1, 1, 2), strict=False):
            images.imported(db, image_id, Content(f"{number:064x}", 1000 * number, 4096, "raw"))
        images.import_failed(db, made[4], "It is no image.")
    found = scrape(settings)
    assert found[of("store_bytes")] == 3000, "the same bytes count once"
    assert found[of("store_files")] == 2
    told = {state: found[of("images", state=state)] for state in ("available", "pending", "failed")}
    assert told == {"available": 3, "pending": 1, "failed": 1}
    assert found[of("instances", state="shutting-down")] == 0
    assert found[of("import_tasks", state="active")] == 0
    assert of("reconciler_look_age_seconds") not in found


def test_disks_in_the_store_are_counted_apart_from_images(settings: Settings) -> None:
    with database.writing(database.engine(settings.database)) as db:
        for number, state in enumerate([parkings.PARKED, parkings.PARKED, parkings.FAILED]):
            digest = None if state == parkings.FAILED else "a" * 64
            parkings.insert(db, Parking(number, f"i-{number}", 1, "node7", state, 700, 100, digest))
        sent, now = "b" * 64, datetime.now(UTC)
        imaged = Capture(9, "ami-1", "i-9", 1, "stopped", 70, sent, now, disk_bytes=99)
        captures.insert(db, imaged)
    found = scrape(settings)
    assert found[of("stopped_disk_bytes")] == 770
    states = ("wanted", "here", "parked", "failed", "left")
    told = [found[of("stopped_disks", state=state)] for state in states]
    assert told == [0, 0, 2, 1, 0]
    assert found[of("store_bytes")] == 0


def test_what_the_reconciler_saw_is_told_with_its_age(settings: Settings) -> None:
    engine = database.engine(settings.database)
    broken = replace(NODE, name="node8", accepts=False, problem="No libvirtd.", cache=None)
    other = replace(NODE, name="other", accepts=None, cache=None)
    watcher = NodeWatcher(engine, FakeScheduler(reports=[NODE, broken, other]), threading.Event())
    watcher.see()
    with database.writing(engine) as db:
        pool_report.looked(db, datetime.now(UTC) - timedelta(minutes=5))
    found = scrape(settings)
    assert 299 < found[of("reconciler_look_age_seconds")] < 600
    assert 0 <= found[of("nodes_age_seconds")] < 200
    assert [found[of("nodes", accepts=one)] for one in ("true", "false")] == [1, 1]
    told = {
        name: found[of(f"node_cache_{name}", node="node7")]
        for name in ("bytes", "limit_bytes", "images", "hits_total", "misses_total")
    }
    assert told == {
        "bytes": 100,
        "limit_bytes": 200,
        "images": 1,
        "hits_total": 3,
        "misses_total": 2,
    }
    assert found[of("node_cache_evictions_total", node="node7")] == 1
    assert found[of("node_cache_downloaded_bytes_total", node="node7")] == 4000
    assert found[of("node_cache_download_seconds_total", node="node7")] == 0.5
    assert of("node_cache_bytes", node="node8") not in found


def test_nodes_that_cannot_be_seen_keep_their_last_numbers(settings: Settings) -> None:
    engine = database.engine(settings.database)
    NodeWatcher(engine, FakeScheduler(reports=[NODE]), threading.Event()).see()

    class Away(FakeScheduler):
        def machines(self) -> list[NodeReport]:
            stopping.set()
            raise SchedulerError("the collector is away")

    stopping = threading.Event()
    watcher = NodeWatcher(engine, Away(), stopping)
    watcher.start()
    watcher.join(60)
    assert not watcher.is_alive()
    assert scrape(settings)[of("node_cache_hits_total", node="node7")] == 3


def client_of(url: str, key_id: str, secret: str) -> Any:
    """Return a stock client that asks once."""
    return boto3.client(
        "ec2",
        endpoint_url=url,
        region_name="condor",
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}),
    )


def test_requests_are_counted_over_all_workers_and_their_deaths(
    endpoint: Endpoint, key: AccessKey
) -> None:
    running = serve(endpoint.settings, workers=2, describe_rate=0.001, describe_burst=40)
    try:
        ec2 = client_of(running.url, key.id, key.secret)
        for _ in range(20):
            ec2.describe_regions()
        running.kill_workers()
        ec2 = client_of(running.url, key.id, key.secret)
        for _ in range(20):
            ec2.describe_regions()
        for _ in range(10):
            with pytest.raises(ClientError, match="RequestLimitExceeded"):
                ec2.describe_regions()
        found = scrape(endpoint.settings)
        told = {
            code: found[of("ec2_requests_total", action="DescribeRegions", code=code)]
            for code in ("OK", "RequestLimitExceeded")
        }
        assert told == {"OK": 40, "RequestLimitExceeded": 10}
        with pytest.raises(ClientError):
            client_of(running.url, "AKIANOBODY0000000000", "none").describe_images()
        names = scrape(endpoint.settings)
        assert names[of("ec2_requests_total", action="DescribeImages", code="AuthFailure")] == 1
    finally:
        running.stop()


def test_names_that_clients_invent_are_counted_as_one(endpoint: Endpoint) -> None:
    before = sum(counted().get(requests.OTHER, {}).values())
    for name in ("MakeCoffee", "MakeTea"):
        asked = f"{endpoint.url}/?Action={name}&Version=2016-11-15"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(asked)  # noqa: S310 - the test's own
        caught.value.close()
    found = counted()
    assert sum(found[requests.OTHER].values()) == before + 2
    assert found.keys() <= KNOWN | {requests.OTHER}


def counted() -> dict[str, dict[str, float]]:
    """Return what this process has counted, by action and code."""
    found: dict[str, dict[str, float]] = {}
    for family in requests.counter().collect():
        for sample in family.samples:
            if sample.name.endswith("_total"):
                by_code = found.setdefault(sample.labels["action"], {})
                by_code[sample.labels["code"]] = sample.value
    return found


def test_with_a_token_nobody_else_reads(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("sesame\n")
    app = create_app(Settings(state_dir=settings.state_dir, metrics_token_file=str(file)))
    http = app.test_client()

    def status(authorization: str | None) -> int:
        headers = {} if authorization is None else {"Authorization": authorization}
        return http.get("/metrics", headers=headers).status_code

    assert status("Bearer sesame") == 200
    for wrong in (None, "", "Bearer", "Bearer ", "Bearer other", "Basic sesame", "sesame"):
        assert status(wrong) == 401
    assert "Bearer" in http.get("/metrics").headers["WWW-Authenticate"]
    file.write_text("")
    assert status("Bearer ") == 401, "an empty file opens nothing"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gateway.example.org"])  # noqa: S104
def test_beyond_loopback_a_token_is_needed(host: str) -> None:
    given = {"CONDOR_CLOUD_METRICS_HOST": host, "CONDOR_CLOUD_CONFIG": "/dev/null"}
    with pytest.raises(SettingsError, match="metrics_token_file"):
        config.load(environment=given)
    config.load(environment=given | {"CONDOR_CLOUD_METRICS_TOKEN_FILE": "/token"})
    config.load(environment=given | {"CONDOR_CLOUD_METRICS_PORT": "0"})


def test_the_page_names_every_metric_and_no_other(settings: Settings) -> None:
    engine = database.engine(settings.database)
    NodeWatcher(engine, FakeScheduler(reports=[NODE]), threading.Event()).see()
    with database.writing(engine) as db:
        pool_report.looked(db, datetime.now(UTC))
    described = set(re.findall(r"^\| `(condor_cloud_\w+)` \|", PAGE.read_text(), re.MULTILINE))
    told = {name for name, _ in scrape(settings)}
    assert described == told | {"condor_cloud_ec2_requests_total"}
