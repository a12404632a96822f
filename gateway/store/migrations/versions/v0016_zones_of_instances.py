# SPDX-License-Identifier: Apache-2.0
"""The zones that an account's instances are described in, found without reading the instances."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_index("ix_instances_zones", "instances", ["account_id", "availability_zone"])
