# SPDX-License-Identifier: Apache-2.0
"""An image that the node does not have: one download for all, whatever is killed meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from private_cloud import Cloud, all_processes, client, until, wait_until_nothing_is_left

from execnode import counts

if TYPE_CHECKING:
    from collections.abc import Iterator

# As much as takes some seconds on any machine, so that it is met in the middle.
SIZE = 2 * 2**30
SMALL = 2**28
# cli; hlt; and once more, should something wake it.
IDLE = b"\xfa\xf4\xeb\xfd".ljust(510, b"\0") + b"\x55\xaa"


@contextlib.contextmanager
def registered(cloud: Cloud, size: int) -> Iterator[str]:
    """Give an image of so many bytes that no other test has."""
    ec2 = client(cloud)
    # Readable for the importer's user.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        file = Path(name) / "large.img"
        with file.open("wb") as out:
            out.write(IDLE + os.urandom(512))
            out.truncate(size)
        made = ec2.register_image(Name=str(uuid4()), ImageLocation=str(file))["ImageId"]
        ec2.get_waiter("image_available").wait(
            ImageIds=[made], WaiterConfig={"Delay": 1, "MaxAttempts": 120}
        )
    yield str(made)
    ec2.deregister_image(ImageId=made)


@pytest.fixture(scope="module")
def image(cloud: Cloud) -> Iterator[str]:
    with registered(cloud, SIZE) as made:
        yield made


@pytest.fixture
def small_cache(cloud: Cloud, cache: Path) -> Iterator[None]:
    """Let the node's cache hold the image, and not much more."""
    file = "/etc/condor-cloud/node.toml"
    script = f"cp -a {file} {file}.before; echo cache_bytes = {SIZE + SMALL // 2} >> {file}"
    assert cloud.inside("sh", "-c", script).returncode == 0
    yield
    assert cloud.inside("mv", f"{file}.before", file).returncode == 0


@pytest.fixture
def cache(cloud: Cloud, image: str) -> Iterator[Path]:
    """The node's cache, which does not have the image."""
    place = cloud.state / "pool" / "node" / "cache"
    yield place
    wait_until_nothing_is_left(cloud)
    assert not list(place.glob("*.part"))
    for path in place.glob("*.raw"):
        path.unlink()


def launch(ec2: Any, image: str, count: int) -> list[str]:
    launched = ec2.run_instances(
        ImageId=image, InstanceType="small", MinCount=count, MaxCount=count
    )
    return [one["InstanceId"] for one in launched["Instances"]]


def states(ec2: Any, ids: list[str]) -> list[str]:
    found = ec2.describe_instances(InstanceIds=ids)["Reservations"]
    return sorted(one["State"]["Name"] for launched in found for one in launched["Instances"])


def become(ec2: Any, ids: list[str], *wanted: str) -> None:
    until(f"{ids} {wanted}", lambda: states(ec2, ids) == sorted(wanted))


def downloads(cache: Path) -> float:
    return counts.read(cache)[counts.MISSES]


def downloading(cache: Path) -> int:
    """Wait for the middle of a download; return the pid, here, of who writes it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for pid in all_processes():
            with contextlib.suppress(OSError):
                for handle in (Path("/proc") / str(pid) / "fd").iterdir():
                    name = handle.readlink().name
                    if name.endswith(".raw.part") and (cache / name).exists():
                        return pid
        time.sleep(0.01)
    raise AssertionError("nobody downloads")


def test_many_launches_wait_for_one_download(ec2: Any, image: str, cache: Path) -> None:
    before = downloads(cache)
    ids = launch(ec2, image, 10)
    become(ec2, ids, *["running"] * 10)
    assert downloads(cache) == before + 1
    ec2.terminate_instances(InstanceIds=ids)


def test_who_downloads_may_be_killed_and_another_one_that_waits_does_it(
    ec2: Any, image: str, cache: Path
) -> None:
    before = downloads(cache)
    ids = launch(ec2, image, 3)
    os.kill(downloading(cache), signal.SIGKILL)
    become(ec2, ids, "running", "running", "terminated")
    assert downloads(cache) == before + 2, "the one that was cut, and the one that was not"
    found = ec2.describe_instances(InstanceIds=ids)["Reservations"]
    every = [one for launched in found for one in launched["Instances"]]
    [ended] = [one for one in every if one["State"]["Name"] == "terminated"]
    assert ended["StateReason"]["Message"].strip()
    ec2.terminate_instances(InstanceIds=ids)


def test_an_instance_that_is_terminated_in_its_download_leaves_nothing_of_it(
    ec2: Any, image: str, cache: Path
) -> None:
    before = downloads(cache)
    ids = launch(ec2, image, 1)
    supervisor = downloading(cache)
    ec2.terminate_instances(InstanceIds=ids)
    until("its supervisor's end", lambda: not (Path("/proc") / str(supervisor)).exists())
    assert not list(cache.glob("*.part"))
    become(ec2, ids, "terminated")
    assert not list(cache.glob("*.raw"))
    assert downloads(cache) == before + 1
    again = launch(ec2, image, 1)
    become(ec2, again, "running")
    ec2.terminate_instances(InstanceIds=again)


def test_a_node_link_that_is_killed_is_asked_for_the_rest(
    cloud: Cloud, ec2: Any, image: str, cache: Path
) -> None:
    before = downloads(cache)
    ids = launch(ec2, image, 2)
    downloading(cache)
    os.kill(cloud.service("gateway.serve", "nodelink"), signal.SIGKILL)
    become(ec2, ids, "running", "running")
    assert downloads(cache) == before + 1
    ec2.terminate_instances(InstanceIds=ids)


def test_a_full_cache_gives_up_what_nobody_uses_and_nothing_else(
    cloud: Cloud, ec2: Any, image: str, cache: Path, small_cache: None
) -> None:
    using = launch(ec2, image, 1)
    become(ec2, using, "running")
    [used] = cache.glob("*.raw")
    with registered(cloud, SMALL) as second:
        [refused] = launch(ec2, second, 1)
        become(ec2, [refused], "terminated")
        found = ec2.describe_instances(InstanceIds=[refused])["Reservations"][0]["Instances"][0]
        assert found["StateReason"]["Code"] == "Server.InsufficientInstanceCapacity"
        assert "without the images in use" in found["StateReason"]["Message"]
        assert states(ec2, using) == ["running"]
        assert list(cache.glob("*.raw")) == [used]
        ec2.terminate_instances(InstanceIds=using)
        wait_until_nothing_is_left(cloud)
        before = counts.read(cache)[counts.EVICTIONS]
        taking = launch(ec2, second, 1)
        become(ec2, taking, "running")
        assert not used.exists()
        assert counts.read(cache)[counts.EVICTIONS] > before
        ec2.terminate_instances(InstanceIds=taking)
