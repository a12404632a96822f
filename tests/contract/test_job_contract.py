# SPDX-License-Identifier: Apache-2.0
"""The gateway and the node share no code: what both must know alike is compared here."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from execnode import advertise, counts, domain, metadata_facts, report
from execnode import commands as node_commands
from execnode import exits as node_exits
from execnode import spec as node_spec
from execnode.config import NodeConfig
from gateway.cloud import accounts, flavors, images, instances, keypairs, spot
from gateway.config import Settings
from gateway.nodelink.spec import image_document, specification
from gateway.scheduler import events, submit
from gateway.scheduler import exits as gateway_exits
from gateway.scheduler.protocol import LaunchRequest
from gateway.store import commands, database
from gateway.store import images as store_images
from gateway.store.images import Content

if TYPE_CHECKING:
    from pathlib import Path


def test_both_sides_have_the_same_exit_codes() -> None:
    node = {exit_.name: exit_.code for exit_ in node_exits.TABLE}
    gateway = {exit_.name: exit_.code for exit_ in gateway_exits.EXITS}
    assert node == gateway


def test_the_node_understands_every_claim_that_the_gateway_answers(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    database.migrate(settings.database)
    now = datetime.now(UTC)
    with database.writing(database.engine(settings.database)) as db:
        account = accounts.ensure_account(db, "test", now)
        keypairs.create(db, account.id, "key", "ed25519", tagged={}, now=now)
        new = images.NewImage("image", "http://localhost/image", root_device_name="/dev/sda1")
        image = images.register(db, account.id, new, tagged={}, now=now, sources=None)
        images.imported(db, image.id, Content("ab" * 32, 1000, 2000, "qcow2"))
        asked = instances.Launch(
            image_id=image.id,
            flavor="small",
            minimum=1,
            maximum=1,
            zone="condor-a",
            key_name=None,
            user_data=None,
            tags={},
        )
        [plain, full] = [
            instances.launch(
                db,
                account.id,
                asked._replace(key_name=key_name, user_data=user_data),
                now=now,
                flavors=flavors.load(),
                limits={},
            )[0]
            for key_name, user_data in ((None, None), ("key", bytes(range(256))))
        ]
        for instance in (plain, full):
            document = specification(db, settings, instance)
            read = node_spec.read(document)
            assert read.instance_id == instance.id
            assert read.memory_mib == 512
            assert read.image.sha256 == "ab" * 32
            assert read.image.format == "qcow2"
            assert metadata_facts.read(document["metadata"]).root_device == image.root_device_name
            assert read.metadata.interruption is None
        cached = store_images.get(db, image.id)
        assert cached is not None
        assert node_spec.read_image(image_document(cached)) == read.image
        [noticed] = spot.fulfil_at_once(
            db, account.id, [plain], asked, spot.Terms(), tagged={}, now=now
        )
        spot.mark(db, noticed, datetime(2026, 11, 22, 17, 2, tzinfo=UTC), now)
        told = node_spec.read(specification(db, settings, noticed)).metadata
        assert told.life_cycle == "spot"
        assert told.interruption == ("terminate", "2026-11-22T17:02:00Z")
    assert node_spec.read(document).user_data == bytes(range(256))
    assert len(read.ssh_keys) == 1


def test_a_guest_has_what_its_job_asks_of_the_slot_and_no_more(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    database.migrate(settings.database)
    now = datetime.now(UTC)
    with database.writing(database.engine(settings.database)) as db:
        account = accounts.ensure_account(db, "test", now)
        new = images.NewImage("image", "http://localhost/image")
        image = images.register(db, account.id, new, tagged={}, now=now, sources=None)
        images.imported(db, image.id, Content("ab" * 32, 1000, 2000, "qcow2"))
        for flavor in flavors.load():
            asked = instances.Launch(*(image.id, flavor, 1, 1, "condor-a", None, None, {}))
            [made] = instances.launch(db, account.id, asked, now, flavors=flavors.load(), limits={})
            read = node_spec.read(specification(db, settings, made))
            request = LaunchRequest(
                *("gateway", "r-1", "1", "ab" * 32, made.vcpus, made.memory_mib, 1, "x86_64"),
                (made.id,),
            )
            job = submit.description(request, "/supervisor")
            paths = domain.Paths._make(tmp_path / name for name in domain.Paths._fields)
            xml = domain.build(read, paths, "kvm", domain.Plug("network", "port"))
            machine = ET.fromstring(xml)  # noqa: S314 - our own text
            memory = machine.find("memory")
            assert memory is not None
            assert memory.get("unit") == "MiB"
            assert machine.findtext("vcpu") == job["request_cpus"]
            room = int(job["request_memory"]) - int(memory.text or 0)
            assert room == submit.MEMORY_OVERHEAD_MIB
            assert machine.find("maxMemory") is None


def test_the_gateway_understands_every_line_that_a_supervisor_tells() -> None:
    facts: dict[str, object] = {"code": "image-refused", "message": 'a "bad" one'}
    line = report.line("i-00000000000000001", 1, "ended", 1.5, facts)
    document = {
        "EventTypeNumber": events.JOB_AD_INFORMATION,
        "TriggerEventTypeNumber": 8,
        "Cluster": 1,
        "Proc": 0,
        "Info": line,
    }
    event = events.interpret(document)
    assert event is not None
    assert event.told["code"] == "image-refused"
    assert event.told["message"] == 'a "bad" one'


def test_every_verb_that_the_gateway_commands_is_understood() -> None:
    for verb in commands.VERBS:
        answer = {"commands": [{"id": 1, "verb": verb, "grace": 60.0}]}
        assert node_commands.read(answer) == [node_commands.Command(1, verb, 60.0)]


def test_the_job_ranks_and_requires_what_a_node_advertises(
    tmp_path: Path,
) -> None:
    advertised = {
        line.partition(" = ")[0] for line in advertise.advertisement(tmp_path / "none.toml")
    }
    request = LaunchRequest("gateway", "r-1", "1", "ab" * 32, 1, 512, 1, "x86_64", ("i-1",))
    description = submit.description(request, "/supervisor")
    description = submit.description(replace(request, home="node7"), "/supervisor")
    assert description["requirements"].endswith(' && TARGET.CondorCloudNodeName =?= "node7"')
    assert "CondorCloudUefi" not in description["requirements"]
    description = submit.description(replace(request, home="node7", uefi=True), "/supervisor")
    used = "CondorCloudNode", "CondorCloudNodeName", "CondorCloudCachedImages", "CondorCloudUefi"
    for name in used:
        assert name in advertised
        assert f"TARGET.{name}" in description["requirements"] + description["rank"]


def test_the_gateway_reads_each_number_that_a_node_tells_of_its_cache(tmp_path: Path) -> None:
    settings = NodeConfig("https://gateway", tmp_path, tmp_path, state_dir=tmp_path)
    settings.cache_dir.mkdir()
    (settings.cache_dir / f"{'ab' * 32}.raw").write_bytes(b"disk")
    counts.add(
        settings.cache_dir, hits=3, misses=2, evictions=1, downloaded_bytes=10, download_seconds=0.5
    )
    told = dict(line.split(" = ") for line in advertise.numbers(settings))
    assert told.keys() == {f"CondorCloudCache{name}" for name in submit.CACHE_NUMBERS}
    values = [float(told[f"CondorCloudCache{name}"]) for name in submit.CACHE_NUMBERS]
    limit = float(told["CondorCloudCacheLimit"])
    assert values == [4, limit, 3, 2, 1, 10, 0.5]
