# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.scheduler import submit
from gateway.scheduler.protocol import LaunchRequest, Zoning

classad2 = pytest.importorskip("classad2")
pytest.importorskip("htcondor2")  # brings HTCondor's own functions, stringListMember among them


def request(**changed: object) -> LaunchRequest:
    given = {
        "gateway_id": "0123456789abcdef",
        "reservation_id": "r-0123456789abcdef0",
        "account_id": "123456789012",
        "image_sha256": "ab" * 32,
        "vcpus": 2,
        "memory_mib": 1024,
        "run": 1,
        "architecture": "x86_64",
        "instance_ids": ("i-00000000000000001", "i-00000000000000002"),
    }
    return LaunchRequest(**(given | changed))  # type: ignore[arg-type]


def test_each_instance_is_one_proc_in_its_order() -> None:
    assert submit.items(request()) == [
        {submit.INSTANCE_VARIABLE: "i-00000000000000001"},
        {submit.INSTANCE_VARIABLE: "i-00000000000000002"},
    ]


def test_the_guests_memory_and_qemus_own_are_asked_for() -> None:
    description = submit.description(request(memory_mib=1024), "/supervisor")
    assert description["request_cpus"] == "2"
    assert int(description["request_memory"]) == 1024 + submit.MEMORY_OVERHEAD_MIB


def test_the_whole_disk_is_asked_for_that_a_guest_may_fill() -> None:
    kib = int(submit.description(request(disk_bytes=8 * 2**30), "/supervisor")["request_disk"])
    tables = 8 * 2**30 // 2**20
    assert kib == 8 * 2**20 + tables + submit.DISK_OVERHEAD_KIB
    assert int(submit.description(request(), "/supervisor")["request_disk"]) > 0


def test_a_job_that_started_once_is_never_started_again() -> None:
    expression = classad2.ExprTree(submit.description(request(), "/s")["periodic_remove"])
    requeued = classad2.ClassAd({"JobStatus": 1, "NumJobStarts": 1})
    waiting = classad2.ClassAd({"JobStatus": 1, "NumJobStarts": 0})
    assert expression.eval(requeued) is True
    assert expression.eval(waiting) is False


def test_a_node_that_has_the_image_ranks_above_one_that_has_not() -> None:
    rank = submit.description(request(), "/s")["rank"]
    job = classad2.ClassAd({"CondorCloudImageSha256": "ab" * 32, "Rank": classad2.ExprTree(rank)})

    def ranked(machine: dict[str, object]) -> object:
        return job["Rank"].eval(job, classad2.ClassAd(machine))

    assert ranked({"CondorCloudCachedImages": f"00,{'ab' * 32}"}) == 2
    assert ranked({"CondorCloudCachedImages": "00,11"}) == 0
    assert ranked({}) == 0


@pytest.mark.parametrize(("uefi", "matches"), [(True, [True]), (False, [True, False, None])])
def test_a_job_that_boots_by_uefi_needs_a_node_that_can(
    uefi: bool, matches: list[bool | None]
) -> None:
    requirements = submit.description(request(uefi=uefi), "/s")["requirements"]
    job = classad2.ClassAd({"Requirements": classad2.ExprTree(requirements)})
    node = {
        "CondorCloudNode": True,
        "FileSystemDomain": "here",
        "Arch": "X86_64",
        "OpSys": "LINUX",
    }

    def matched(has_uefi: bool | None) -> object:
        told = {} if has_uefi is None else {"CondorCloudUefi": has_uefi}
        return job["Requirements"].eval(job, classad2.ClassAd(node | told))

    assert [one for one in (True, False, None) if matched(one) is True] == matches


def evaluated(expression: str, machine: dict[str, object]) -> object:
    job = classad2.ClassAd({"CondorCloudImageSha256": "ab" * 32})
    job["Expression"] = classad2.ExprTree(expression)
    return job["Expression"].eval(job, classad2.ClassAd(machine))


@pytest.mark.parametrize(
    ("zoning", "fitting"),
    [
        (Zoning("condor-b", required=True, default=False), {"b"}),
        (Zoning("condor-b", required=False, default=False), {"a", "b", "empty", "none"}),
        (Zoning("condor-a", required=True, default=True), {"a", "empty", "none"}),
        (Zoning('x" || true || "', required=True, default=False), set()),
        (None, {"a", "b", "empty", "none"}),
    ],
)
def test_a_zone_that_was_asked_for_is_required(zoning: Zoning | None, fitting: set[str]) -> None:
    expression = submit.description(request(zone=zoning), "/s")["requirements"]
    node = {"CondorCloudNode": True, "FileSystemDomain": "d", "Arch": "X86_64", "OpSys": "LINUX"}
    told: dict[str, dict[str, object]] = {
        "a": {"CondorCloudZone": "condor-a"},
        "b": {"CondorCloudZone": "condor-b"},
        "empty": {"CondorCloudZone": ""},
        "none": {},
    }
    assert {name for name, ad in told.items() if evaluated(expression, node | ad)} == fitting


def test_an_expected_zone_comes_first_among_nodes_that_have_the_image_or_have_not() -> None:
    zoning = Zoning("condor-b", required=False, default=False)
    expression = submit.description(request(zone=zoning), "/s")["rank"]
    b, cached = {"CondorCloudZone": "condor-b"}, {"CondorCloudCachedImages": "ab" * 32}
    assert [evaluated(expression, ad) for ad in ({}, b, cached, b | cached)] == [0, 1, 2, 3]


@given(st.text(st.characters(min_codepoint=0x20, codec="utf-8")))
def test_any_text_stays_one_string_in_a_classad(text: str) -> None:
    read = classad2.ExprTree(submit.quoted(text)).eval()
    assert read == text


def test_a_control_character_is_refused_in_a_classad_string() -> None:
    with pytest.raises(ValueError, match="control"):
        submit.quoted("one\nqueue 50")
