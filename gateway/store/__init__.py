# SPDX-License-Identifier: Apache-2.0
"""The database: SQLAlchemy Core, one module per table, every function takes a connection first.

This package knows SQL and nothing else: what may be stored when is decided in ``gateway.cloud``.
"""
