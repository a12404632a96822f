# SPDX-License-Identifier: Apache-2.0
"""Many launches at once of one image that the node does not have, beside a plain copy of its file.

The image is of random bytes, so that nothing shortens them, behind a boot sector that does nothing.
The same launch is measured again when the image is there: what the download adds is the difference.
A third time the copy is made beside it, with as little of the processors as the download has. One
launch alone, and the checksum that a copy does not make, say where the time goes. At last one is
terminated in the middle of its download, until neither that nor its directory is there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from private_cloud import client

from execnode import counts
from tests.bench.report import Measured
from tests.bench.watching import POLL, launch, until

if TYPE_CHECKING:
    from private_cloud import Cloud

ROUNDS = 3
INSTANCES = 20
IMAGE_MIB = 1024
# Twenty machines start meanwhile; a client that asked more often would take their processor.
LOOK = 0.25
# cli; hlt; and once more, should something wake it.
IDLE = b"\xfa\xf4\xeb\xfd".ljust(510, b"\0") + b"\x55\xaa"
STEPS = (
    *("uncached_20_to_running", "cached_20_to_running"),
    *("uncached_20_download", "plain_copy_beside_20"),
    *("uncached_1_download", "plain_copy", "sha256sum"),
    "terminate_in_download",
)


def make(file: Path) -> None:
    with file.open("wb") as out:
        out.write(IDLE.ljust(2**20, b"\0"))
        for _ in range(IMAGE_MIB - 1):
            out.write(os.urandom(2**20))
        out.flush()
        os.fsync(out.fileno())


def register(ec2: Any, file: Path) -> str:
    image: str = ec2.register_image(Name=file.stem, ImageLocation=str(file))["ImageId"]
    ec2.get_waiter("image_available").wait(
        ImageIds=[image], WaiterConfig={"Delay": 1, "MaxAttempts": 300}
    )
    return image


def states(ec2: Any, ids: list[str]) -> set[str]:
    found = ec2.describe_instances(InstanceIds=ids)["Reservations"]
    return {one["State"]["Name"] for launched in found for one in launched["Instances"]}


def end(cloud: Cloud, ec2: Any, ids: list[str]) -> None:
    ec2.terminate_instances(InstanceIds=ids)
    instances = cloud.state / "pool" / "node" / "instances"
    until(lambda: states(ec2, ids) == {"terminated"} and not any(instances.iterdir()), LOOK)


def plain_copy(file: Path, directory: Path) -> float:
    """Copy the file as `cp` does, and have the disk take it, as the node does."""
    target = directory / "plain-copy"
    began = time.monotonic()
    subprocess.run(["cp", "--reflink=never", str(file), str(target)], check=True)
    subprocess.run(["sync", str(target)], check=True)
    took = time.monotonic() - began
    target.unlink()
    return took


def download(cache: Path) -> float:
    """Return the seconds from a download's first byte to the image that can be used."""
    until(lambda: any(cache.glob("*.part")))
    began = time.monotonic()
    until(lambda: any(cache.glob("*.raw")))
    return time.monotonic() - began


def one_round(cloud: Cloud, ec2: Any, series: dict[str, list[float]]) -> int:
    """Measure one image; return how many downloads twenty launches took, as the node counts."""
    # Readable for the importer's user, unlike the state.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        file = Path(name) / f"uncached-{time.monotonic_ns()}.img"
        file.parent.chmod(0o755)
        make(file)
        return measure_image(cloud, ec2, series, file)


def measure_image(cloud: Cloud, ec2: Any, series: dict[str, list[float]], file: Path) -> int:
    node = cloud.state / "pool" / "node"
    cache = node / "cache"
    image = register(ec2, file)
    series["plain_copy"].append(plain_copy(file, node))
    began = time.monotonic()
    subprocess.run(["sha256sum", str(file)], check=True, stdout=subprocess.DEVNULL)
    series["sha256sum"].append(time.monotonic() - began)

    before = counts.read(cache)[counts.MISSES]
    began = time.monotonic()
    ids = launch(ec2, image, INSTANCES)
    series["uncached_20_download"].append(download(cache))
    until(lambda: states(ec2, ids) == {"running"}, LOOK)
    series["uncached_20_to_running"].append(time.monotonic() - began)
    downloads = counts.read(cache)[counts.MISSES] - before
    end(cloud, ec2, ids)

    began = time.monotonic()
    ids = launch(ec2, image, INSTANCES)
    until(lambda: states(ec2, ids) == {"running"}, LOOK)
    series["cached_20_to_running"].append(time.monotonic() - began)
    end(cloud, ec2, ids)

    # The copy has what the download has beside it: nineteen other machines that start.
    ids = launch(ec2, image, INSTANCES)
    until(lambda: any((node / "instances").iterdir()))
    series["plain_copy_beside_20"].append(plain_copy(file, node))
    until(lambda: states(ec2, ids) == {"running"}, LOOK)
    end(cloud, ec2, ids)

    forget(cache)
    ids = launch(ec2, image)
    series["uncached_1_download"].append(download(cache))
    end(cloud, ec2, ids)

    forget(cache)
    ids = launch(ec2, image)
    until(lambda: any(cache.glob("*.part")))
    began = time.monotonic()
    ec2.terminate_instances(InstanceIds=ids)
    until(lambda: not any(cache.glob("*.part")) and not any((node / "instances").iterdir()))
    series["terminate_in_download"].append(time.monotonic() - began)
    end(cloud, ec2, ids)
    ec2.deregister_image(ImageId=image)
    forget(cache)
    return int(downloads)


def forget(cache: Path) -> None:
    """Have the node without this benchmark's images; no instance uses them."""
    for one in cache.glob("*.raw"):
        one.unlink()


def measure(cloud: Cloud, rounds: int = ROUNDS) -> Measured:
    ec2 = client(cloud)
    series: dict[str, list[float]] = {name: [] for name in STEPS}
    downloads: list[int] = []
    for number in range(rounds):
        print(f"downloads: round {number + 1} of {rounds}", file=sys.stderr)
        downloads.append(one_round(cloud, ec2, series))
    parameters = {
        "rounds": rounds,
        "warm_up": 0,
        "poll_seconds": LOOK,
        "poll_seconds_of_files": POLL,
        "type": "small",
        "instances": INSTANCES,
        "image_mib": IMAGE_MIB,
        "image_format": "raw",
    }
    return Measured(series, parameters, {"downloads_of_20_launches": downloads})
