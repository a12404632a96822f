# SPDX-License-Identifier: Apache-2.0
"""Images that are made of running instances."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and the column."""
    op.add_column("images", sa.Column("source_instance_id", sa.String(length=32)))
    op.create_table(
        "captures",
        sa.Column("command_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("image_id", sa.String(length=32), nullable=False),
        sa.Column("instance_id", sa.String(length=32), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("how", sa.String(length=16), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("heard_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("command_id", name=op.f("pk_captures")),
        sa.UniqueConstraint("image_id", name=op.f("uq_captures_image_id")),
    )
