# SPDX-License-Identifier: Apache-2.0
"""Images that are made of disks in the store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision; what is on its way comes from nodes."""
    # There were gateways whose revision 0019 had made this column, and not the other one.
    columns = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("captures")}
    if "disk_bytes" not in columns:
        op.add_column("captures", sa.Column("disk_bytes", sa.BigInteger()))
    if "parked" in columns:
        op.drop_column("captures", "parked")
