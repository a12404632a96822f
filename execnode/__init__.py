# SPDX-License-Identifier: Apache-2.0
"""The node side of Condor Cloud: one supervisor for each running instance."""

__version__ = "0.1.0"
