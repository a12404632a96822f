# SPDX-License-Identifier: Apache-2.0
"""``make test``: the tests that wait for guests, and beside them those that need none.

The first are shown as they go, the others when the first are done. The exit status is the first
that is not zero.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile

PYTEST = (sys.executable, "-m", "pytest")
WAITING = ("tests/compat", "tests/pool", "tests/vm")
QUICK = ("tests/unit", "tests/wire", "tests/contract")


def main() -> int:
    """Run all tests; return the exit status."""
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            [*PYTEST, "-q", *QUICK], stdin=subprocess.DEVNULL, stdout=said, stderr=said
        ) as quick,
    ):
        try:
            waiting = subprocess.run([*PYTEST, *WAITING], check=False).returncode
            sys.stdout.write(f"\n{', '.join(QUICK)}:\n")
            sys.stdout.flush()
            status = quick.wait()
        except KeyboardInterrupt:
            return 130  # pytest has had the terminal's signal too, and says so
        said.seek(0)
        shutil.copyfileobj(said, sys.stdout)
    return waiting or status


if __name__ == "__main__":
    sys.exit(main())
