# SPDX-License-Identifier: Apache-2.0
"""Disks of stopped instances that are kept in the store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision; every disk that there is lies on its node."""
    op.add_column(
        "instances", sa.Column("parked", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.create_table(
        "parkings",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("instance_id", sa.String(length=32), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("node", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("size", sa.BigInteger()),
        sa.Column("nvram_bytes", sa.BigInteger()),
        sa.Column("sha256", sa.String(length=64)),
        sa.Column("reason", sa.Text()),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_parkings")),
    )
    op.create_index(op.f("ix_parkings_instance_id"), "parkings", ["instance_id"])
