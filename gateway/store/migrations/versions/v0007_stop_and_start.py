# SPDX-License-Identifier: Apache-2.0
"""Instances that are stopped and started, and their attributes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision; what was launched before ends when it powers off, as it did then."""
    op.add_column("instances", sa.Column("started_at", sa.BigInteger()))
    op.add_column("instances", sa.Column("home", sa.String(length=255)))
    op.add_column(
        "instances",
        sa.Column(
            "shutdown_behavior", sa.String(length=16), nullable=False, server_default="terminate"
        ),
    )
    for name, default in (
        ("disable_api_termination", sa.false()),
        ("disable_api_stop", sa.false()),
        ("monitoring", sa.false()),
        ("source_dest_check", sa.true()),
    ):
        op.add_column(
            "instances", sa.Column(name, sa.Boolean(), nullable=False, server_default=default)
        )
    op.execute("UPDATE instances SET started_at = launched_at")
