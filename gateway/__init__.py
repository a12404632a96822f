# SPDX-License-Identifier: Apache-2.0
"""An HTCondor pool as an EC2 region: the gateway."""

__version__ = "0.1.0"
