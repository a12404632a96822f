# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.reconcile.follower import exit_reason
from gateway.scheduler import events


def information(**attributes: object) -> dict[str, object]:
    return {
        "EventTypeNumber": 28,
        "Cluster": 7,
        "Proc": 1,
        "CondorCloudInstanceId": "i-00000000000000001",
        "CondorCloudRun": 1,
    } | attributes


def lines(*documents: dict[str, object]) -> bytes:
    return "".join(json.dumps(document, indent=2) + "\n" for document in documents).encode()


def test_an_object_that_is_not_complete_yet_is_left_for_later() -> None:
    whole, cut = lines(information()), lines(information())[:-5]
    found, used = events.split(whole + cut)
    assert len(found) == 1
    assert (whole + cut)[used:].lstrip() == cut


def test_a_write_that_was_cut_off_costs_only_its_own_event() -> None:
    cut = lines(information())[:40]
    found, _ = events.split(cut + b"\n" + lines(information(Proc=2)))
    assert [document["Proc"] for document in found] == [2]


@given(st.lists(st.integers(0, 400)), st.text())
def test_reading_in_pieces_finds_what_reading_at_once_finds(cuts: list[int], text: str) -> None:
    data = lines(information(Info=text), information(Proc=2, Info="{}"), information(Proc=3))
    found: list[object] = []
    kept = b""
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
        kept += data[start:end]
        some, used = events.split(kept)
        kept = kept[used:]
        found += some
    assert found == events.split(data)[0]


def test_the_event_of_another_job_is_nobody_elses() -> None:
    assert events.interpret({"EventTypeNumber": 28, "Cluster": 1, "Proc": 0}) is None
    assert events.interpret(information(EventTypeNumber=1)) is None


def test_the_start_of_a_job_names_instance_and_job() -> None:
    event = events.interpret(information(TriggerEventTypeNumber=1))
    assert event is not None
    assert (event.kind, event.instance_id, event.cluster, event.proc) == (
        "started",
        "i-00000000000000001",
        7,
        1,
    )


def test_a_supervisors_line_is_its_document() -> None:
    told = {"v": 1, "instance": "i-00000000000000002", "run": 3, "event": "running"}
    line = information(TriggerEventTypeNumber=8, Info="condor-cloud " + json.dumps(told))
    event = events.interpret(line)
    assert event is not None
    assert (event.kind, event.instance_id, event.run, event.told) == (
        "told",
        "i-00000000000000002",
        3,
        told,
    )


def test_a_line_that_is_no_supervisors_is_passed_over() -> None:
    for info in ("hello", "condor-cloud not json", "condor-cloud [1]", 'condor-cloud {"run": 1}'):
        assert events.interpret(information(TriggerEventTypeNumber=8, Info=info)) is None


def test_an_exit_code_becomes_ec2s_reason() -> None:
    reason = exit_reason({"TerminatedNormally": True, "ReturnValue": 0})
    assert reason.code == "Client.InstanceInitiatedShutdown"


def test_a_supervisor_killed_by_a_signal_says_so() -> None:
    reason = exit_reason({"TerminatedNormally": False, "TerminatedBySignal": 9})
    assert reason.code == "Server.InternalError"
    assert "signal 9" in reason.message
