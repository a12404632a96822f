# SPDX-License-Identifier: Apache-2.0
"""``make bench``: starts a private Condor Cloud, measures, writes bench/<commit>.json, prints.

usage: python -m tests.bench [--rounds N] [launches|reboots|metadata|downloads|documents ...]

Without names it is all of them. Each figure stands beside its yardstick, measured in the same run
with the two taking turns, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent))
from private_cloud import Cloud, settings_for, start  # the tests' own way to start one

from tests.bench import documents, downloads, launches, metadata_reads, reboots, report

if TYPE_CHECKING:
    from tests.bench.report import Measured

ON_A_POOL = {
    "launches": launches,
    "reboots": reboots,
    "metadata": metadata_reads,
    "downloads": downloads,
}
NAMES = (*ON_A_POOL, "documents")
# What is measured, and the yardstick that a budget sets it against.
DIFFERENCES = (
    ("launch to running, above virsh create", "launch_to_running", "virsh_create"),
    ("terminate to gone, above virsh destroy", "terminate_to_gone", "virsh_destroy"),
    ("reboot to reset, above virsh reboot", "reboot_to_reset", "virsh_reboot_to_reset"),
    ("reboot to reset, above virsh reset", "reboot_to_reset", "virsh_reset_to_reset"),
    ("metadata answer, above a plain server", "metadata_answer", "plain_answer"),
    ("20 uncached launches, above cached", "uncached_20_to_running", "cached_20_to_running"),
    ("one download for 20, above a copy beside 20", "uncached_20_download", "plain_copy_beside_20"),
    ("one download for 20, above a copy alone", "uncached_20_download", "plain_copy"),
    ("one download for one, above a copy alone", "uncached_1_download", "plain_copy"),
)


def measure(names: list[str], rounds: int | None) -> dict[str, Measured]:
    """Run the benchmarks of these names, on one cloud where they need it."""
    given = {} if rounds is None else {"rounds": rounds}
    found: dict[str, Measured] = {}
    wanted = [name for name in names if name in ON_A_POOL]
    if wanted:
        with tempfile.TemporaryDirectory() as directory:
            state_dir = Path(directory) / "state"
            state_dir.mkdir()
            number = os.getpid() % 5000
            variables = settings_for(state_dir, number)
            cloud = Cloud(start(state_dir, variables), state_dir, variables, f"cctest{number}")
            try:
                found |= {name: ON_A_POOL[name].measure(cloud, **given) for name in wanted}
            finally:
                cloud.process.send_signal(signal.SIGINT)
                cloud.process.wait(60)
    if "documents" in names:
        series = documents.measure()
        found["documents"] = report.Measured(series, {"instances": documents.INSTANCES}, {})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, metavar="N", help="instead of each one's own number")
    asked = parser.parse_args()
    if strange := set(asked.names) - set(NAMES):
        parser.error(f"there is no {' or '.join(sorted(strange))}; there are {', '.join(NAMES)}")
    names = [name for name in NAMES if name in asked.names or not asked.names]
    found = measure(names, asked.rounds)
    target = report.write(found, part=bool(asked.names))
    medians: dict[str, float] = {}
    for one in found.values():
        report.show(one)
        medians |= {step: statistics.median(values) for step, values in one.seconds.items()}
    for text, step, yardstick in DIFFERENCES:
        if step in medians:
            above = (medians[step] - medians[yardstick]) * 1000
            print(f"{text + ':':42} {above:+.1f} ms")
    print(f"raw series: {target}")


if __name__ == "__main__":
    main()
