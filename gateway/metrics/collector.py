# SPDX-License-Identifier: Apache-2.0
"""The metrics that are read from the database at each scrape."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.cloud import pool_report
from gateway.store import database, inspection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import Metric
    from sqlalchemy import Engine

    from gateway.cloud.pool_report import PoolReport
    from gateway.store.inspection import Numbers

_GAUGES = {
    "bytes": ("condor_cloud_node_cache_bytes", "Bytes in a node's image cache."),
    "limit": ("condor_cloud_node_cache_limit_bytes", "Bytes that a node's image cache may hold."),
    "images": ("condor_cloud_node_cache_images", "Images in a node's image cache."),
}
_COUNTERS = {
    "hits": (
        "condor_cloud_node_cache_hits",
        "Launches that found their image on the node, or waited for another's download.",
    ),
    "misses": ("condor_cloud_node_cache_misses", "Downloads of images by a node."),
    "evictions": (
        "condor_cloud_node_cache_evictions",
        "Images that a node removed from its cache to make room.",
    ),
    "downloaded_bytes": (
        "condor_cloud_node_cache_downloaded_bytes",
        "Bytes of images that a node downloaded.",
    ),
    "download_seconds": (
        "condor_cloud_node_cache_download_seconds",
        "How long a node's downloads took together.",
    ),
}


class DatabaseCollector(Collector):
    """Reads everything in one transaction, so that the numbers of a scrape agree."""

    def __init__(self, engine: Engine) -> None:
        """Read from ``engine``'s database."""
        self._engine = engine

    def describe(self) -> Iterable[Metric]:
        """Describe nothing: a registry need not read the database to know the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Return the metrics as they are now."""
        with database.reading(self._engine) as db:
            numbers = inspection.numbers(db)
            report = pool_report.read(db)
        yield from _stored(numbers)
        yield from _pool(report)


def _stored(numbers: Numbers) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "condor_cloud_store_bytes",
        "Bytes of images in the store; the same bytes count once.",
        numbers.stored_bytes,
    )
    yield GaugeMetricFamily(
        "condor_cloud_store_files", "Files of images in the store.", numbers.stored_files
    )
    yield GaugeMetricFamily(
        "condor_cloud_stopped_disk_bytes",
        "Bytes of stopped instances' disks in the store.",
        numbers.stopped_disk_bytes,
    )
    for name, told, counted in (
        ("images", "Registered images by state.", numbers.images),
        ("instances", "Instances by state.", numbers.instances),
        ("import_tasks", "Image import tasks by state.", numbers.import_tasks),
        ("stopped_disks", "Disks on their way into the store, or in it.", numbers.stopped_disks),
    ):
        family = GaugeMetricFamily(f"condor_cloud_{name}", told, labels=["state"])
        for state, number in counted.items():
            family.add_metric([state], number)
        yield family


def _pool(report: PoolReport) -> Iterator[Metric]:
    if report.looked_at is not None:
        yield GaugeMetricFamily(
            "condor_cloud_reconciler_look_age_seconds",
            "How long ago the reconciler compared the whole queue with the database.",
            max(0.0, time.time() - report.looked_at),
        )
    if report.nodes_at is not None:
        yield GaugeMetricFamily(
            "condor_cloud_nodes_age_seconds",
            "How long ago the reconciler asked the pool for what its nodes tell.",
            max(0.0, time.time() - report.nodes_at),
        )
    accepting = sum(1 for node in report.nodes if node["accepts"])
    nodes = GaugeMetricFamily("condor_cloud_nodes", "Nodes of the pool.", labels=["accepts"])
    nodes.add_metric(["true"], accepting)
    nodes.add_metric(["false"], len(report.nodes) - accepting)
    yield nodes
    caching = [(node["name"], node["cache"]) for node in report.nodes if node["cache"]]
    for member, (name, told) in _GAUGES.items():
        gauge = GaugeMetricFamily(name, told, labels=["node"])
        for node, cache in caching:
            gauge.add_metric([node], cache[member])
        yield gauge
    for member, (name, told) in _COUNTERS.items():
        counter = CounterMetricFamily(name, told, labels=["node"])
        for node, cache in caching:
            counter.add_metric([node], cache[member])
        yield counter
