# SPDX-License-Identifier: Apache-2.0
"""Client tokens in a table of their own: they outlive what was made with them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision; the tokens that are known stay known."""
    op.create_table(
        "client_tokens",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("resource_id", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_client_tokens_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("account_id", "kind", "token", name=op.f("pk_client_tokens")),
    )
    op.create_index(op.f("ix_client_tokens_created_at"), "client_tokens", ["created_at"])
    for table, kind in (
        ("reservations", "reservation"),
        ("images", "image"),
        ("import_tasks", "import image task"),
    ):
        op.execute(
            "INSERT INTO client_tokens"  # noqa: S608 - the names above
            f" SELECT account_id, '{kind}', client_token, request_hash, id, created_at FROM {table}"
            " WHERE client_token IS NOT NULL"
        )
    op.drop_column("reservations", "request_hash")
    op.drop_index("uq_images_client_token", "images")
    op.drop_column("images", "client_token")
    op.drop_column("images", "request_hash")
    with op.batch_alter_table("import_tasks") as import_tasks:
        import_tasks.drop_constraint("uq_import_tasks_account_id_client_token", type_="unique")
        import_tasks.drop_column("client_token")
        import_tasks.drop_column("request_hash")
