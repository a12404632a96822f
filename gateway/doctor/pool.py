# SPDX-License-Identifier: Apache-2.0
"""The HTCondor pool: daemons, nodes, configuration, and the event log that tells of jobs."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gateway.doctor.verdict import Check, failed, ok, some, warning
from gateway.scheduler import events
from gateway.scheduler.protocol import SchedulerError
from gateway.store import cursors, database, inspection
from gateway.store.inspection import UnusableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Engine

    from gateway.config import Settings
    from gateway.scheduler.protocol import Job, NodeReport

SKEW_LIMIT = 10.0
"""Seconds between two clocks; a machine's ad is some seconds old already."""

NOTICED = timedelta(seconds=60)
TAIL = 1 << 18
SCHEDD_SETTINGS = {"SCHEDD_MIN_INTERVAL": "0"}
NEGOTIATOR_SETTINGS = {"NEGOTIATOR_CYCLE_DELAY": "0", "NEGOTIATOR_MIN_INTERVAL": "0"}
LOG_SETTINGS = {
    "EVENT_LOG_FORMAT_OPTIONS": ("JSON",),
    "EVENT_LOG_JOB_AD_INFORMATION_ATTRS": ("CondorCloudInstanceId", "CondorCloudRun"),
}
LIBVIRT_SOCKETS = (Path("/run/libvirt/virtqemud-sock"), Path("/run/libvirt/libvirt-sock"))
KVM = Path("/dev/kvm")
NAME_THE_LOG = (
    "Name the schedd's EVENT_LOG (`condor_config_val EVENT_LOG` on the access point) in the"
    " setting event_log, and let the gateway's user read it."
)


class Observer(Protocol):
    """What a diagnosis asks of HTCondor; every method may raise SchedulerError."""

    def machines(self) -> list[NodeReport]:
        """Return every machine of the pool."""

    def jobs(self) -> list[Job]:
        """Return the instances' jobs."""

    def configuration(self, daemon: str, names: list[str]) -> dict[str, str]:
        """Return those of the settings that a daemon has."""


def check(settings: Settings, observer: Observer) -> Iterator[Check]:
    """Ask the pool's daemons; without a collector nothing else is asked."""
    try:
        machines = observer.machines()
    except SchedulerError as error:
        where = settings.tokens or "HTCondor's usual token directories"
        yield failed(
            "collector",
            f"{settings.collector}: {error}",
            f"See that the collector runs and that {where} holds a token which it accepts for"
            " READ (condor_token_create, ALLOW_READ).",
        )
        return
    yield ok("collector", f"{settings.collector} answers; machines: {len(machines)}")
    yield _schedd(settings, observer)
    yield _nodes(machines)
    nodes = [machine for machine in machines if machine.accepts is not None]
    if nodes:
        yield _clocks(nodes)
        yield _acceleration(settings, nodes)
    yield from _libvirt()
    yield _throttles(observer)
    yield from _log_settings(observer)


def _schedd(settings: Settings, observer: Observer) -> Check:
    try:
        jobs = observer.jobs()
    except SchedulerError as error:
        named = f"named {settings.schedd_name} " if settings.schedd_name else ""
        return failed(
            "schedd",
            f"no schedd {named}answers: {error}",
            "See that it runs, that the setting schedd_name is its Name in `condor_status"
            " -schedd`, and that it accepts the token for WRITE (ALLOW_WRITE).",
        )
    return ok("schedd", f"answers; instances in the queue: {len(jobs)}")


def _nodes(machines: Sequence[NodeReport]) -> Check:
    ready = [one for one in machines if one.accepts and one.partitionable]
    broken = [
        f"{one.name} ({one.problem or 'it gives no reason'})"
        for one in machines
        if one.accepts is False
    ]
    fixed = sorted({one.name for one in machines if one.accepts and not one.partitionable})
    if broken:
        tell = warning if ready else failed
        return tell(
            "nodes",
            f"{len(ready)} ready; without service: {some(broken)}",
            "Correct on these nodes what is said; `condor-cloud-advertise` there shows it anew.",
        )
    if ready:
        largest = max(ready, key=lambda one: (one.memory_mib, one.cpus))
        return ok(
            "nodes",
            f"{len(ready)} ready; the largest offers {largest.cpus} CPUs and"
            f" {largest.memory_mib} MiB",
        )
    if fixed:
        return failed(
            "nodes",
            f"{some(fixed)} has no partitionable slot",
            "Install condor-config/53-condor-cloud-node-defaults.conf there and restart HTCondor.",
        )
    return failed(
        "nodes",
        f"none of {len(machines)} machines can run instances (CondorCloudNode is not advertised)",
        "Install condor-cloud-node and condor-config/53-condor-cloud-node-defaults.conf on them.",
    )


def _clocks(nodes: Sequence[NodeReport]) -> Check:
    skewed = [
        f"{one.name} ({one.ahead:+.0f} s)"
        for one in nodes
        if one.ahead is not None and abs(one.ahead) > SKEW_LIMIT
    ]
    if skewed:
        return warning(
            "node clocks",
            f"not the collector's: {some(skewed)}",
            "Set these machines' clocks (chrony, systemd-timesyncd).",
        )
    known = sum(one.ahead is not None for one in nodes)
    return ok("node clocks", f"{known} of {len(nodes)} known, all the collector's")


def _acceleration(settings: Settings, nodes: Sequence[NodeReport]) -> Check:
    by_type: dict[str, list[str]] = {}
    for one in nodes:
        by_type.setdefault(one.virt_type or "unknown", []).append(one.name)
    told = "; ".join(f"{kind}: {some(names)}" for kind, names in sorted(by_type.items()))
    if set(by_type) == {"kvm"}:
        return ok("KVM", told)
    reason = ""
    if not settings.pool:
        reason = (
            f" ({KVM} does not start a guest here)" if KVM.exists() else f" (there is no {KVM})"
        )
    return warning(
        "KVM",
        f"{told}{reason}",
        "Guests on nodes without kvm are emulated: they work, many times slower. Switch"
        " virtualization on in the firmware, or nested virtualization in the host's hypervisor.",
    )


def _libvirt() -> Iterator[Check]:
    """Knock where this machine has a libvirt of its own; other nodes tell through their ads."""
    there = [path for path in LIBVIRT_SOCKETS if path.exists()]
    for path in there[:1]:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.connect(str(path))
        except OSError as error:
            yield warning(
                "libvirt",
                f"{path}: {error.strerror}",
                "If this machine is a node: start libvirt (systemctl start libvirtd).",
            )
        else:
            yield ok("libvirt", f"{path} answers")


def _throttles(observer: Observer) -> Check:
    wrong: list[str] = []
    for daemon, wanted in (("Schedd", SCHEDD_SETTINGS), ("Negotiator", NEGOTIATOR_SETTINGS)):
        try:
            found = observer.configuration(daemon, list(wanted))
        except SchedulerError as error:
            return warning(
                "throttles",
                f"the {daemon.lower()}'s settings cannot be read ({error})",
                "Look yourself: `condor_config_val " + " ".join(wanted) + "` should say 0.",
            )
        wrong += [
            f"{name} = {found[name]}" for name in wanted if found.get(name) not in {None, "0"}
        ]
    if wrong:
        return warning(
            "throttles",
            f"launches wait because of {', '.join(wrong)}",
            "Install condor-config/51-condor-cloud-scheduling-defaults.conf and reconfigure.",
        )
    return ok("throttles", "none between a launch and its node")


def _log_settings(observer: Observer) -> Iterator[Check]:
    try:
        found = observer.configuration("Schedd", list(LOG_SETTINGS))
    except SchedulerError:
        return  # told by the throttles, which are read in the same way
    for name, words in LOG_SETTINGS.items():
        missing = [word for word in words if word not in found.get(name, "")]
        if missing:
            yield failed(
                "event log settings",
                f"the schedd's {name} lacks {', '.join(missing)}",
                "Install condor-config/52-condor-cloud-events-defaults.conf and restart it.",
            )
            return
    yield ok("event log settings", "JSON, with the instance beside every event")


def event_log(settings: Settings, engine: Engine, *, running: bool) -> Iterator[Check]:
    """Look into the log: whether it is there, tells of our jobs and has been read."""
    name = "event log"
    path = settings.event_log_file
    try:
        inspection.check_usable(engine)
    except UnusableError:
        return  # told of the database itself
    with database.reading(engine) as db:
        position = json.loads(cursors.get(db, "event-log") or "{}")
        last = inspection.latest_submission(db)
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            file.seek(max(0, status.st_size - TAIL))
            documents, _ = events.split(file.read())
    except FileNotFoundError:
        if last is None and path.parent.is_dir():
            yield ok(name, f"{path} comes with the first job")
        else:
            yield failed(name, f"{path} does not exist", NAME_THE_LOG)
        return
    except OSError as error:
        yield failed(name, f"{path}: {error.strerror}", NAME_THE_LOG)
        return
    written = datetime.fromtimestamp(status.st_mtime, UTC)
    if status.st_size and not _names_instances(documents):
        yield failed(
            name,
            f"{path} does not name the instances",
            "Install condor-config/52-condor-cloud-events-defaults.conf and restart the schedd.",
        )
    elif last is not None and last.launched_at > written + NOTICED:
        yield failed(
            name,
            f"{path} was last written at {written:%Y-%m-%d %H:%M:%S} UTC, before job"
            f" {last.cluster}.{last.proc} of {last.instance_id} was submitted",
            NAME_THE_LOG,
        )
    elif running and _unread(status, position) > TAIL:
        yield warning(
            name,
            f"{_unread(status, position)} bytes of {path} have not been read yet",
            f"See {settings.state_dir / 'log' / 'reconciler.log'}.",
        )
    else:
        yield ok(name, f"{path}, last written at {written:%Y-%m-%d %H:%M:%S} UTC")


def _names_instances(documents: Sequence[dict[str, Any]]) -> bool:
    return any(one.get("EventTypeNumber") == events.JOB_AD_INFORMATION for one in documents)


def _unread(status: os.stat_result, position: dict[str, int]) -> int:
    # A log that was rotated since is unread from its beginning.
    read = position.get("offset", 0) if position.get("inode") == status.st_ino else 0
    return status.st_size - read
