# SPDX-License-Identifier: Apache-2.0
"""Run the migrations on the connection, and in the transaction, that the caller made."""

from __future__ import annotations

from alembic import context

from gateway.store import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
