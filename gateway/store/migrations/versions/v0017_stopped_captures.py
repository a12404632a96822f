# SPDX-License-Identifier: Apache-2.0
"""Images that are made of stopped instances."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision; what is on its way is of running instances."""
    op.add_column(
        "captures", sa.Column("stopped", sa.Boolean(), nullable=False, server_default=sa.false())
    )
