# SPDX-License-Identifier: Apache-2.0
"""What launches call their volumes, and the zones of instances found without reading the rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision; what earlier launches called their volumes was not kept."""
    op.add_column(
        "instances",
        sa.Column("volume_type", sa.String(length=16), nullable=False, server_default="standard"),
    )
    op.create_index("ix_instances_zones", "instances", ["account_id", "availability_zone"])
