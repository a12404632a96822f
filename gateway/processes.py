# SPDX-License-Identifier: Apache-2.0
"""What processes of the gateway get from the one that starts them."""

from __future__ import annotations

DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
"""Put before a command: the kernel kills it when the thread that started it ends.

prctl(2), PR_SET_PDEATHSIG. Such a command is started from a thread that lives as long as its
process.
"""

LISTENER = "CONDOR_CLOUD_LISTENER_FD"
"""Variable that names the descriptor of a listening socket which a server inherits."""
