# SPDX-License-Identifier: Apache-2.0
"""Snapshots that went with their images are remembered for a while.

What was left of images whose imports were cancelled goes.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.instant import Instant

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision; of those that are gone already nothing is known."""
    op.create_table(
        "gone_snapshots",
        sa.Column("id", sa.String(length=32), primary_key=True),
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("gone_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_gone_snapshots_account_id")
        ),
    )
    # With a permission that was given meanwhile no image that nobody needs could be removed.
    op.execute(
        "DELETE FROM launch_permissions"
        " WHERE image_id IN (SELECT id FROM images WHERE NOT registered)"
    )
    op.execute("DELETE FROM tags WHERE resource_id IN (SELECT id FROM images WHERE NOT registered)")
    op.create_index("ix_gone_snapshots_gone_at", "gone_snapshots", ["gone_at"])
