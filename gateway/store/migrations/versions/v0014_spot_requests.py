# SPDX-License-Identifier: Apache-2.0
"""Spot instances and the requests that they are of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_table(
        "spot_requests",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("made_with", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("interruption_behavior", sa.String(length=16), nullable=False),
        sa.Column("max_price", sa.String(length=32)),
        sa.Column("valid_from", sa.BigInteger()),
        sa.Column("valid_until", sa.BigInteger()),
        sa.Column("waits", sa.Boolean(), nullable=False),
        sa.Column("launch", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("status_code", sa.String(length=64), nullable=False),
        sa.Column("status_at", sa.BigInteger(), nullable=False),
        sa.Column("instance_id", sa.String(length=32)),
        sa.Column("interrupt_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_spot_requests_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_spot_requests")),
    )
    op.create_index("ix_spot_requests_made_with", "spot_requests", ["made_with"])
    op.create_index("ix_spot_requests_state", "spot_requests", ["state"])
    op.create_index("ix_spot_requests_instance_id", "spot_requests", ["instance_id"])
    op.create_index(
        "ix_spot_requests_described", "spot_requests", ["account_id", "created_at", "id"]
    )
    op.add_column("instances", sa.Column("spot_request_id", sa.String(length=32)))
