# SPDX-License-Identifier: Apache-2.0
"""What HTCondor's JSON EVENT_LOG tells of instances: pure, from bytes to facts.

The log is a sequence of JSON objects. With EVENT_LOG_JOB_AD_INFORMATION_ATTRS each event is
followed by a JobAdInformationEvent (28) that repeats its attributes and adds the job's: that one
alone is read here. A supervisor's own line (condor_chirp ulog) is a GenericEvent whose text
begins with ``condor-cloud``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

# https://htcondor.readthedocs.io/en/latest/codes-other-values/job-event-log-codes.html
JOB_AD_INFORMATION = 28
"""The type of the event that repeats another one with the job's attributes."""

_GENERIC = 8
_KINDS = {
    1: "started",
    4: "evicted",
    5: "ended",
    9: "removed",
    12: "held",
    22: "disconnected",
    23: "reconnected",
    24: "reconnect-failed",
}
_PREFIX = "condor-cloud "


@dataclass(frozen=True)
class Event:
    """One fact about one run of one instance.

    ``kind`` is ``told`` for a supervisor's own line, whose document is ``told``; otherwise one of
    the names in this module's table, and ``attributes`` are HTCondor's.
    """

    kind: str
    instance_id: str
    run: int
    cluster: int
    proc: int
    attributes: dict[str, Any] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)


def split(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """Return the whole JSON objects at the start of ``data`` and the bytes that they take.

    An object that is not complete yet is left; bytes that cannot begin an object, as after a
    write that was cut off, are passed over up to the next line that begins one.
    """
    decoder = json.JSONDecoder()
    text = data.decode("utf-8", "surrogateescape")
    found: list[dict[str, Any]] = []
    position = 0
    while True:
        start = text.find("{", position)
        if start < 0:
            break
        try:
            value, position = decoder.raw_decode(text, start)
        except json.JSONDecodeError:
            restart = text.find("\n{", start + 1)
            if restart < 0:
                break
            position = restart
            continue
        found.append(value)
    return found, len(text[:position].encode("utf-8", "surrogateescape"))


def interpret(document: dict[str, Any]) -> Event | None:
    """Return what one object of the log tells of an instance, or None."""
    if document.get("EventTypeNumber") != JOB_AD_INFORMATION:
        return None
    trigger = document.get("TriggerEventTypeNumber")
    place = (document.get("Cluster"), document.get("Proc"))
    if not all(isinstance(number, int) for number in place):
        return None
    if trigger == _GENERIC:
        return _told(document)
    instance_id = document.get("CondorCloudInstanceId")
    run = document.get("CondorCloudRun")
    if trigger not in _KINDS or not isinstance(instance_id, str) or not isinstance(run, int):
        return None
    return Event(_KINDS[trigger], instance_id, run, document["Cluster"], document["Proc"], document)


def _told(document: dict[str, Any]) -> Event | None:
    info = document.get("Info")
    if not isinstance(info, str) or not info.startswith(_PREFIX):
        return None
    try:
        told = json.loads(info[len(_PREFIX) :])
    except json.JSONDecodeError:
        return None
    if not isinstance(told, dict):
        return None
    instance_id, run = told.get("instance"), told.get("run")
    if not isinstance(instance_id, str) or not isinstance(run, int):
        return None
    return Event("told", instance_id, run, document["Cluster"], document["Proc"], told=told)
