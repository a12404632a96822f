# SPDX-License-Identifier: Apache-2.0
"""The process that calls HTCondor, and the one place that imports htcondor2.

The bindings hold Python's global lock through every network call and know no time limit: a
schedd that hangs stops every thread of its caller for minutes. So they are called here, one call
at a time, and :mod:`gateway.scheduler.condor` ends this process when a call takes too long.

One JSON object a line on standard input, one on standard output for each.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import htcondor2
from classad2 import ExprTree

from gateway.scheduler import submit

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "CondorCloudNodeName"
UEFI = "CondorCloudUefi"
ZONE = "CondorCloudZone"
DRAIN = (
    "Draining",
    "DrainReason",
    "LastDrainStartTime",
    "ExpectedMachineGracefulDrainingCompletion",
)
MACHINE = (
    "Machine",
    "PartitionableSlot",
    "TotalSlotCpus",
    "TotalSlotDisk",
    "TotalSlotMemory",
    "CondorCloudNode",
    "CondorCloudNodeProblem",
    "CondorCloudNodeVersion",
    "CondorCloudVirtType",
    "CondorCloudCachedImages",
    *(f"CondorCloudCache{name}" for name in submit.CACHE_NUMBERS),
    "LastHeardFrom",
    "MyCurrentTime",
)


class Broker:
    """Holds the connection's settings; a method for each call."""

    def __init__(self, collector: str, token_dir: str, schedd_name: str) -> None:
        """Talk to the pool of ``collector`` with the tokens in ``token_dir``."""
        parameters = {
            "COLLECTOR_HOST": collector,
            "SEC_CLIENT_AUTHENTICATION": "REQUIRED",
            "SEC_CLIENT_AUTHENTICATION_METHODS": "IDTOKENS",
            "SEC_DEFAULT_AUTHENTICATION_METHODS": "IDTOKENS",
        }
        if token_dir:
            parameters["SEC_TOKEN_DIRECTORY"] = token_dir
        for name, value in parameters.items():
            htcondor2.param[name] = value
        self.collector = htcondor2.Collector(collector)
        self.schedd_name = schedd_name
        self._schedd: Any = None

    def submit(self, description: dict[str, str], items: list[dict[str, str]]) -> int:
        """Submit one cluster."""
        result = self.schedd.submit(htcondor2.Submit(description), itemdata=iter(items))
        return int(result.cluster())

    def remove(self, jobs: list[list[int]], reason: str, *, nowhere: bool) -> None:
        """Remove jobs by their ids; ``nowhere``: whatever their shadows still wait for."""
        ids = [f"{cluster}.{proc}" for cluster, proc in jobs]
        self.schedd.act(htcondor2.JobAction.Remove, ids, reason=reason)
        if nowhere:
            # Only what has been removed may be removed so (condor_rm -forcex).
            self.schedd.act(htcondor2.JobAction.RemoveX, ids, reason=reason)

    def jobs(self, gateway_id: str | None, reservation_id: str | None) -> list[dict[str, Any]]:
        """Return the projected ads of instances' jobs."""
        ads = self.schedd.query(
            constraint=submit.constraint(gateway_id, reservation_id),
            projection=list(submit.PROJECTION),
        )
        return [{name: _plain(ad[name]) for name in submit.PROJECTION if name in ad} for ad in ads]

    def hurry(self) -> None:
        """Ask the negotiator, through the schedd, for a cycle now."""
        self.schedd.reschedule()

    def nodes(self) -> list[dict[str, Any]]:
        """Return name and whole size of each node that takes instances."""
        names = ["Name", "TotalSlotCpus", "TotalSlotMemory", "TotalSlotDisk"]
        names += ["Cpus", "Memory", "Disk", HOST, UEFI, ZONE, "DaemonStartTime", *DRAIN]
        ads = self.collector.query(
            htcondor2.AdTypes.Startd,
            constraint="CondorCloudNode =?= true && PartitionableSlot =?= true",
            projection=names,
        )
        return [{name: _plain(ad[name]) for name in names if name in ad} for ad in ads]

    def machines(self) -> list[dict[str, Any]]:
        """Return what each machine of the pool tells of itself, node of ours or not."""
        ads = self.collector.query(
            htcondor2.AdTypes.Startd,
            constraint="DynamicSlot =!= true",
            projection=list(MACHINE),
        )
        return [{name: _plain(ad[name]) for name in MACHINE if name in ad} for ad in ads]

    def configuration(self, daemon: str, names: list[str]) -> dict[str, str]:
        """Return those of the settings that a daemon ("Schedd", "Negotiator") has."""
        kind = getattr(htcondor2.DaemonType, daemon)
        name = self.schedd_name if daemon == "Schedd" else ""
        settings = htcondor2.RemoteParam(self.collector.locate(kind, name or None))
        return {name: str(settings[name]) for name in names if name in settings}

    @property
    def schedd(self) -> Any:
        """The schedd, looked up once; looked up again after an error."""
        if self._schedd is None:
            kind = htcondor2.DaemonType.Schedd
            if self.schedd_name:
                found = [self.collector.locate(kind, self.schedd_name)]
            else:
                found = self.collector.locateAll(kind)
            if len(found) != 1:
                # Guessing would be worse: another one's queue says that our jobs are gone.
                raise LookupError(
                    f"the pool has {len(found)} schedds; the setting schedd_name names one"
                )
            self._schedd = htcondor2.Schedd(found[0])
        return self._schedd

    def forget_schedd(self) -> None:
        """Look the schedd up anew: a restarted one has another address."""
        self._schedd = None


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, ExprTree) else value


def main() -> None:
    """Answer calls until standard input ends."""
    setup = json.loads(sys.stdin.readline())
    broker = Broker(**setup)
    calls: dict[str, Callable[..., Any]] = {
        "submit": broker.submit,
        "remove": broker.remove,
        "jobs": broker.jobs,
        "nodes": broker.nodes,
        "hurry": broker.hurry,
        "machines": broker.machines,
        "configuration": broker.configuration,
    }
    for line in sys.stdin:
        call = json.loads(line)
        try:
            answer = {"id": call["id"], "ok": calls[call["call"]](**call["given"])}
        except Exception as error:  # noqa: BLE001 - the bindings raise many kinds; all are told
            broker.forget_schedd()
            answer = {"id": call["id"], "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
