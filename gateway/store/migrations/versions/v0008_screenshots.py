# SPDX-License-Identifier: Apache-2.0
"""Pictures of guests' displays, between the node that takes them and whoever asked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "screenshots",
        sa.Column("command_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("instance_id", sa.String(length=32), nullable=False),
        sa.Column("jpeg", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name=op.f("fk_screenshots_instance_id")
        ),
        sa.PrimaryKeyConstraint("command_id", name=op.f("pk_screenshots")),
    )
    op.create_index(op.f("ix_screenshots_instance_id"), "screenshots", ["instance_id"])
