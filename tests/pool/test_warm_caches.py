# SPDX-License-Identifier: Apache-2.0
"""A node's cache that was warmed: the launch after it downloads nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

from private_cloud import Cloud, until, wait_until_nothing_is_left
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from pathlib import Path


def command(cloud: Cloud, *words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "image", *words, "--json"],
        env=os.environ | cloud.variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_launch_of_a_prefetched_image_is_a_hit(
    cloud: Cloud, ec2: Any, cloud_readable: Path
) -> None:
    file = cloud_readable / "fresh.img"
    file.write_bytes(bytes(510) + b"\x55\xaa" + os.urandom(1 << 20))
    image = command(cloud, "add", str(file), "--name", "fresh", "--public")
    [done] = command(cloud, "prefetch", image["id"], "--all")
    assert (done["state"], done["bytes"]) == ("cached", image["size"]), done

    def node() -> Any:
        [told] = command(cloud, "cache")["nodes"]
        return told

    until("the node to tell", lambda: image["sha256"] in node()["images"])
    cache = "/var/lib/condor-cloud-node/cache"
    shown = cloud.inside("stat", "-c", "%U:%G %a", f"{cache}/{image['sha256']}.raw").stdout
    assert shown == "condor-cloud:libvirt-qemu 440\n"
    before = node()
    launched = ec2.run_instances(ImageId=image["id"], InstanceType="small", MinCount=1, MaxCount=1)[
        "Instances"
    ][0]["InstanceId"]

    def state() -> str:
        found = ec2.describe_instances(InstanceIds=[launched])["Reservations"][0]["Instances"][0]
        assert found["State"]["Name"] in {"pending", "running"}, found["StateReason"]
        return str(found["State"]["Name"])

    until("it to run", lambda: state() == "running")
    until("the hit to be told", lambda: node()["hits"] > before["hits"])
    assert node()["misses"] == before["misses"]
    ec2.terminate_instances(InstanceIds=[launched])
    wait_until_nothing_is_left(cloud)
    ec2.deregister_image(ImageId=image["id"])


def test_the_metrics_tell_of_the_node_and_of_requests(cloud: Cloud, ec2: Any) -> None:
    address = f"http://127.0.0.1:{cloud.variables['CONDOR_CLOUD_METRICS_PORT']}/metrics"
    ec2.describe_regions()

    def samples() -> dict[str, float]:
        with urllib.request.urlopen(address, timeout=30) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            found = [sample for family in families for sample in family.samples]
        return {" ".join([one.name, *sorted(one.labels.values())]): one.value for one in found}

    # The pool is asked every half minute.
    told = until("the node", lambda: samples().get("condor_cloud_nodes true") and samples(), 120)
    assert told["condor_cloud_ec2_requests_total DescribeRegions OK"] >= 1
    assert told["condor_cloud_images available"] >= 1
    assert any(name.startswith("condor_cloud_node_cache_hits_total ") for name in told)
    until("a look", lambda: "condor_cloud_reconciler_look_age_seconds" in samples())
