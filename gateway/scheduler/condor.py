# SPDX-License-Identifier: Apache-2.0
"""HTCondor as a :class:`~gateway.scheduler.protocol.Scheduler`, with a limit on every call."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from gateway.processes import DIE_WITH_PARENT
from gateway.scheduler import submit
from gateway.scheduler.protocol import (
    CacheReport,
    CallTimeoutError,
    Drain,
    Job,
    LaunchRequest,
    NodeReport,
    NodeSize,
    SchedulerError,
)

if TYPE_CHECKING:
    from gateway.config import Settings


class CondorScheduler:
    """Calls HTCondor through a broker process that is killed when a call exceeds its limit.

    Not for several threads at once; the reconciler's loop is its one caller.
    """

    def __init__(self, settings: Settings) -> None:
        """Use the settings' pool; nothing is started before the first call."""
        self._setup = {
            "collector": settings.collector,
            "token_dir": settings.tokens,
            "schedd_name": settings.schedd_name,
        }
        self._supervisor = settings.supervisor
        self._limit = settings.call_limit
        self._process: subprocess.Popen[bytes] | None = None
        self._calls = 0

    def submit(self, request: LaunchRequest) -> int:
        """See :class:`~gateway.scheduler.protocol.Scheduler`."""
        return int(
            self._call(
                "submit",
                description=submit.description(request, self._supervisor),
                items=submit.items(request),
            )
        )

    def remove(self, jobs: list[tuple[int, int]], reason: str, *, nowhere: bool = False) -> None:
        """See :class:`~gateway.scheduler.protocol.Scheduler`."""
        self._call("remove", jobs=jobs, reason=reason, nowhere=nowhere)

    def jobs(self, gateway_id: str | None = None, reservation_id: str | None = None) -> list[Job]:
        """See :class:`~gateway.scheduler.protocol.Scheduler`."""
        return [
            Job(
                cluster=ad["ClusterId"],
                proc=ad["ProcId"],
                instance_id=ad["CondorCloudInstanceId"],
                run=ad["CondorCloudRun"],
                status=ad["JobStatus"],
                hold_reason=ad.get("HoldReason"),
                slot=ad.get("RemoteHost"),
                startd_began=_claim_began(ad.get("PublicClaimId")),
            )
            for ad in self._call("jobs", gateway_id=gateway_id, reservation_id=reservation_id)
            # Whoever may submit may copy our attributes; one that lacks some is nobody's.
            if {"CondorCloudInstanceId", "CondorCloudRun"} <= ad.keys()
        ]

    def nodes(self) -> list[NodeSize]:
        """See :class:`~gateway.scheduler.protocol.Scheduler`."""
        return [
            NodeSize(
                ad["Name"],
                int(ad["TotalSlotCpus"]),
                int(ad["TotalSlotMemory"]),
                int(ad["TotalSlotDisk"]) // 1024,
                # What is left of the slot: instances have taken the rest.
                int(ad["Cpus"]),
                int(ad["Memory"]),
                int(ad["Disk"]) // 1024,
                ad.get("CondorCloudNodeName"),
                uefi=ad.get("CondorCloudUefi") is True,
                zone=ad.get("CondorCloudZone"),
                drain=_drain(ad),
                began=ad.get("DaemonStartTime"),
            )
            for ad in self._call("nodes")
        ]

    def machines(self) -> list[NodeReport]:
        """See :class:`~gateway.scheduler.protocol.Scheduler`."""
        return [_report(ad) for ad in self._call("machines")]

    def configuration(self, daemon: str, names: list[str]) -> dict[str, str]:
        """Return those of the settings that ``daemon`` ("Schedd", "Negotiator") has.

        Needs HTCondor's READ permission there, as the daemon understands it.
        """
        found: dict[str, str] = self._call("configuration", daemon=daemon, names=names)
        return found

    def hurry(self) -> None:
        """See :class:`~gateway.scheduler.protocol.Scheduler`."""
        self._call("hurry")

    def close(self) -> None:
        """End the broker."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _call(self, call: str, **given: Any) -> Any:
        process = self._process or self._start()
        self._calls += 1
        text = json.dumps({"id": self._calls, "call": call, "given": given})
        answer = self._exchange(process, text)
        if answer.get("id") != self._calls:
            self.close()
            raise CallTimeoutError("the process that calls HTCondor answered another call")
        if "error" in answer:
            raise SchedulerError(answer["error"])
        return answer["ok"]

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*DIE_WITH_PARENT, sys.executable, "-m", "gateway.scheduler.broker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # The machine's own HTCondor configuration, if any, is another pool's.
            env=os.environ | {"CONDOR_CONFIG": "/dev/null"},
        )
        self._process = process
        self._write(process, json.dumps(self._setup))
        return process

    def _exchange(self, process: subprocess.Popen[bytes], line: str) -> dict[str, Any]:
        self._write(process, line)
        limit = time.monotonic() + self._limit
        received = b""
        with selectors.DefaultSelector() as selector:
            selector.register(_stream(process.stdout), selectors.EVENT_READ)
            while not received.endswith(b"\n"):
                if not selector.select(max(0.0, limit - time.monotonic())):
                    self.close()
                    raise CallTimeoutError(f"HTCondor did not answer within {self._limit:g} s")
                part = os.read(_stream(process.stdout).fileno(), 1 << 20)
                if not part:
                    self.close()
                    raise CallTimeoutError("the process that calls HTCondor ended")
                received += part
        answer: dict[str, Any] = json.loads(received)
        return answer

    def _write(self, process: subprocess.Popen[bytes], line: str) -> None:
        stream = _stream(process.stdin)
        try:
            stream.write(line.encode() + b"\n")
            stream.flush()
        except BrokenPipeError:
            self.close()
            raise CallTimeoutError("the process that calls HTCondor ended") from None


def _claim_began(claim: object) -> int | None:
    """Return when the startd of a claim began: ``<address>#began#number#...`` (claim_id.cpp)."""
    parts = str(claim).split("#") if isinstance(claim, str) else []
    return int(parts[1]) if len(parts) > 2 and parts[1].isdecimal() else None


def _drain(ad: dict[str, Any]) -> Drain | None:
    if ad.get("Draining") is not True:
        return None
    since = float(ad.get("LastDrainStartTime", 0))
    until = float(ad.get("ExpectedMachineGracefulDrainingCompletion", 0))
    return Drain(since, until, str(ad.get("DrainReason", "")))


def _report(ad: dict[str, Any]) -> NodeReport:
    times = ad.get("MyCurrentTime"), ad.get("LastHeardFrom")
    known = all(isinstance(time, int | float) for time in times)
    accepts = ad.get("CondorCloudNode")
    return NodeReport(
        name=str(ad.get("Machine", "a machine without a name")),
        accepts=accepts if isinstance(accepts, bool) else None,
        partitionable=ad.get("PartitionableSlot") is True,
        problem=ad.get("CondorCloudNodeProblem"),
        virt_type=ad.get("CondorCloudVirtType"),
        version=ad.get("CondorCloudNodeVersion"),
        cpus=int(ad.get("TotalSlotCpus", 0)),
        memory_mib=int(ad.get("TotalSlotMemory", 0)),
        ahead=float(times[0]) - float(times[1]) if known else None,  # type: ignore[arg-type]
        cache=_cache(ad) if accepts else None,
    )


def _cache(ad: dict[str, Any]) -> CacheReport:
    numbers = [ad.get(f"CondorCloudCache{name}", 0) for name in submit.CACHE_NUMBERS]
    known = [one if isinstance(one, int | float) else 0 for one in numbers]
    size, limit, hits, misses, evictions, downloaded = map(int, known[:-1])
    images = str(ad.get("CondorCloudCachedImages", "")).split(",")
    return CacheReport(
        images=tuple(filter(None, images)),
        size=size,
        limit=limit,
        hits=hits,
        misses=misses,
        evictions=evictions,
        downloaded_bytes=downloaded,
        download_seconds=known[-1],
    )


def _stream(stream: Any) -> Any:
    if stream is None:
        raise SchedulerError("the process that calls HTCondor has no pipe")
    return stream
