# SPDX-License-Identifier: Apache-2.0
"""``python -m gateway.cli``: the ``condor-cloud`` command."""

from gateway.cli import main

main()
