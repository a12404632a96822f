# SPDX-License-Identifier: Apache-2.0
"""Which of these tests run here: those of the node side run on a node (see test_on_a_node)."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("CONDOR_CLOUD_TEST_NETWORK") else ["test_domain_*.py"]
