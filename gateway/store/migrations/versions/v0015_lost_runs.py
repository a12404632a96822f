# SPDX-License-Identifier: Apache-2.0
"""Runs that were lost before a node claimed them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.add_column(
        "instances", sa.Column("lost_runs", sa.Integer(), nullable=False, server_default="0")
    )
