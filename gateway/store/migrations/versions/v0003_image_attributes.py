# SPDX-License-Identifier: Apache-2.0
"""What an image's owner may change, who may launch it, how large its disk shall be."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    # Columns are added and no table is made anew: instances refer to the rows that are there.
    root = sa.Column(
        "root_device_name", sa.String(length=32), nullable=False, server_default="/dev/vda"
    )
    op.add_column("images", root)
    op.add_column("images", sa.Column("disk_bytes", sa.BigInteger()))
    op.add_column("images", sa.Column("deprecated_at", sa.BigInteger()))
    op.add_column("images", sa.Column("source_image_id", sa.String(length=32)))
    op.add_column("images", sa.Column("client_token", sa.String(length=64)))
    op.add_column("images", sa.Column("request_hash", sa.String(length=64)))
    op.create_index("uq_images_client_token", "images", ["account_id", "client_token"], unique=True)
    op.create_table(
        "launch_permissions",
        sa.Column("image_id", sa.String(length=32), nullable=False),
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=op.f("fk_launch_permissions_image_id")
        ),
        sa.PrimaryKeyConstraint("image_id", "account_id", name=op.f("pk_launch_permissions")),
    )
    op.create_index(op.f("ix_launch_permissions_account_id"), "launch_permissions", ["account_id"])
