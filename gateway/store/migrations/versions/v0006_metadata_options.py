# SPDX-License-Identifier: Apache-2.0
"""How instances may read their metadata, and whether their nodes know."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    for column in (
        sa.Column("metadata_endpoint", sa.String(8), nullable=False, server_default="enabled"),
        sa.Column("metadata_tokens", sa.String(8), nullable=False, server_default="optional"),
        sa.Column("metadata_hop_limit", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("metadata_tags", sa.String(8), nullable=False, server_default="disabled"),
        sa.Column("metadata_pending", sa.Boolean(), nullable=False, server_default=sa.false()),
    ):
        op.add_column("instances", column)
