# SPDX-License-Identifier: Apache-2.0
"""How images say that they boot."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision; the images that there are say nothing."""
    op.add_column("images", sa.Column("boot_mode", sa.String(length=16)))
