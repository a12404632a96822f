# SPDX-License-Identifier: Apache-2.0
"""What an account may have where that differs from the settings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_table(
        "quotas",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_quotas_account_id")),
        sa.PrimaryKeyConstraint("account_id", "kind", name=op.f("pk_quotas")),
    )
    op.create_index("ix_instances_counted", "instances", ["account_id", "state", "vcpus"])
