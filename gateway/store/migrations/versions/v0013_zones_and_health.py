# SPDX-License-Identifier: Apache-2.0
"""Whether a zone was asked for, whether a guest was heard, and which machines the pool has."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision; what was launched before may run in any zone, and was not heard."""
    op.add_column(
        "instances",
        sa.Column("zone_required", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column("instances", sa.Column("heard_run", sa.Integer()))
    op.create_table(
        "machines",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("host", sa.String(length=255)),
        sa.Column("zone", sa.String(length=64)),
        sa.Column("up", sa.Boolean(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("drained_since", sa.BigInteger()),
        sa.Column("drained_by", sa.BigInteger()),
        sa.Column("drain_reason", sa.String(length=255)),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_machines")),
    )
