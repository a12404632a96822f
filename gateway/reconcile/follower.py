# SPDX-License-Identifier: Apache-2.0
"""Follows HTCondor's event log: one thread, from the log's bytes to the instances' states."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import os
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import inotify_simple

from gateway.cloud import observed
from gateway.cloud.states import Reason
from gateway.scheduler import events, exits
from gateway.store import cursors, database
from gateway.store.instances import Whereabouts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from gateway.scheduler.events import Event

CURSOR = "event-log"
CHUNK = 1 << 20
# The log's directory may be on a file system that tells nothing of changes by others (NFS).
LOOK_ANYWAY = 1.0
LONGEST_NAME = 255
LONGEST_MESSAGE = 1000
_log = logging.getLogger(__name__)


class Follower(threading.Thread):
    """Applies each event of the log once, in one transaction with the new position."""

    def __init__(
        self, engine: Engine, log: Path, wake: Callable[[], None], stopping: threading.Event
    ) -> None:
        """Follow ``log``; ``wake`` is called when an event asks for a removal."""
        super().__init__(name="follower", daemon=True)
        self.engine = engine
        self.log = log
        self.wake = wake
        self.stopping = stopping
        self._one_reader = threading.Lock()

    def run(self) -> None:
        """Read what is new whenever the log's directory changes, and every second anyway."""
        with contextlib.ExitStack() as held:
            try:
                inotify = held.enter_context(inotify_simple.INotify())
            except OSError as error:
                _log.warning("No inotify (%s): the event log is looked at every second", error)
                inotify = None
            watched = False
            while not self.stopping.is_set():
                if inotify is not None and not watched:
                    watched = self._watch(inotify)
                try:
                    self.catch_up()
                except Exception:  # noqa: BLE001 - the log is followed whatever one event brings
                    _log.exception("Reading the event log failed; trying again")
                    self.stopping.wait(LOOK_ANYWAY)
                if inotify is None:
                    self.stopping.wait(LOOK_ANYWAY)
                else:
                    inotify.read(timeout=int(LOOK_ANYWAY * 1000))

    def _watch(self, inotify: inotify_simple.INotify) -> bool:
        flags = inotify_simple.flags
        try:
            inotify.add_watch(str(self.log.parent), flags.MODIFY | flags.CREATE | flags.MOVED_TO)
        except OSError:
            return False
        return True

    def catch_up(self) -> None:
        """Apply everything that the log holds now."""
        with self._one_reader:
            while self._read_some():
                pass

    def _read_some(self) -> bool:
        with database.reading(self.engine) as db:
            position = json.loads(cursors.get(db, CURSOR) or "{}")
        read = next(self._unread(position), None)
        if read is None:
            return False
        data, inode, offset = read
        documents, used = events.split(data)
        if used == 0:
            return False
        found = [event for event in map(events.interpret, documents) if event is not None]
        removals = False
        with database.writing(self.engine) as db:
            for event in found:
                removals |= self._apply_alone(db, event)
            cursors.put(db, CURSOR, json.dumps({"inode": inode, "offset": offset + used}))
        if removals:
            self.wake()
        return True

    def _apply_alone(self, db: Connection, event: Event) -> bool:
        # What one event brings must not keep the others from being heard.
        try:
            with database.part(db):
                return apply(db, event, datetime.now(UTC))
        except database.OutOfOrder:
            raise
        except Exception:  # noqa: BLE001 - whatever is wrong with it, it is one event
            _log.exception("An event of %s cannot be applied: passed over", event.instance_id)
            return False

    def _unread(self, position: dict[str, int]) -> Iterator[tuple[bytes, int, int]]:
        # A rotated log is read to its end first; then the current one from its beginning.
        files = self._files()
        inodes = [inode for _, inode in files]
        known = position.get("inode")
        start = inodes.index(known) if known in inodes else 0
        for path, inode in files[start:]:
            offset = position["offset"] if inode == known else 0
            try:
                with path.open("rb") as file:
                    if offset > os.fstat(file.fileno()).st_size:
                        offset = 0  # another file under a number that was free again
                    file.seek(offset)
                    data = file.read(CHUNK)
            except FileNotFoundError:
                return
            if data.strip() and events.split(data)[1]:
                yield data, inode, offset

    def _files(self) -> list[tuple[Path, int]]:
        """Return the rotated logs, oldest first, and the current one."""
        found: list[tuple[float, Path, int]] = []
        for path in self.log.parent.glob(self.log.name + "*"):
            suffix = path.name.removeprefix(self.log.name)
            if suffix in {"", ".old"} or suffix.removeprefix(".").isdigit():
                status = path.stat()
                found.append((status.st_mtime, path, status.st_ino))
        current = [(path, inode) for _, path, inode in found if path == self.log]
        rotated = [(path, inode) for _, path, inode in sorted(found) if path != self.log]
        return rotated + current


def apply(db: Connection, event: Event, now: datetime) -> bool:
    """Write one event into the database; return whether a job shall be removed because of it."""
    if event.kind == "started":
        if not observed.job_seen(db, event.instance_id, event.run, event.cluster, event.proc):
            _log.warning("Job %d.%d is not the one of its instance", event.cluster, event.proc)
        return False
    if not observed.is_its_job(db, event.instance_id, event.run, event.cluster, event.proc):
        # A second job of the same launch, which the node link refused, or somebody else's job
        # that names our instance: what becomes of it is not the instance's.
        return False
    if event.kind == "told":
        _told(db, event, now)
    elif event.kind == "ended":
        exit_ = _exit(event.attributes)
        reason = exit_reason(event.attributes)
        observed.run_ended(
            db, event.instance_id, event.run, reason, now, how=None if exit_ is None else exit_.name
        )
    elif event.kind == "removed":
        observed.run_ended(db, event.instance_id, event.run, observed.REMOVED, now)
    elif event.kind == "held":
        text = str(event.attributes.get("HoldReason", "no reason given"))
        reason = Reason("Server.InternalError", f"Server.InternalError: HTCondor: {text}")
        return observed.job_lost(db, event.instance_id, event.run, reason, now)
    elif event.kind == "reconnect-failed":
        return observed.node_denies(db, event.instance_id, event.run, now)
    elif event.kind == "evicted":
        return observed.node_lost(db, event.instance_id, event.run, now)
    return False


def _told(db: Connection, event: Event, now: datetime) -> None:
    told = event.told
    if told.get("event") == "running":
        found = Whereabouts(
            node=_text(told.get("node")),
            private_ip=_address(told.get("ip")),
            vnc_port=_port(told.get("vnc")),
            virt_type=_text(told.get("virt")),
        )
        observed.guest_runs(db, event.instance_id, event.run, found, now)
    elif told.get("event") == "heard":
        observed.guest_heard(db, event.instance_id, event.run)
    elif told.get("event") == "ended":
        exit_ = exits.BY_NAME.get(str(told.get("code")), exits.BY_NAME["node-error"])
        reason = _reason(exit_, _text(told.get("message"), LONGEST_MESSAGE))
        observed.run_ended(
            db,
            event.instance_id,
            event.run,
            reason,
            now,
            how=exit_.name,
            disk_removed=told.get("disk") == "removed",
        )


def exit_reason(attributes: dict[str, object]) -> Reason:
    """Return the reason that a JobTerminatedEvent gives."""
    exit_ = _exit(attributes)
    if exit_ is not None:
        return _reason(exit_, None)
    signal = attributes.get("TerminatedBySignal")
    return _reason(exits.BY_NAME["node-error"], f"The supervisor was killed by signal {signal}")


def _exit(attributes: dict[str, object]) -> exits.Exit | None:
    """Return how a supervisor that came to its own end ended."""
    code = attributes.get("ReturnValue")
    if attributes.get("TerminatedNormally") is True and isinstance(code, int):
        return exits.BY_CODE.get(code, exits.BY_NAME["node-error"])
    return None


def _reason(exit_: exits.Exit, message: str | None) -> Reason:
    if exit_.name == "terminated":
        # The supervisor was told to end though no user asked for it.
        return observed.REMOVED
    return Reason(exit_.reason_code, f"{exit_.reason_code}: {message or exit_.sentence}")


def _text(value: object, limit: int = LONGEST_NAME) -> str | None:
    """Return a text that any database takes: without surrogates, no longer than its column."""
    if not isinstance(value, str):
        return None
    return value.encode("utf-8", "replace").decode("utf-8")[:limit]


def _address(value: object) -> str | None:
    try:
        return str(ipaddress.ip_address(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _port(value: object) -> int | None:
    return value if isinstance(value, int) and 0 < value < 1 << 16 else None
