# SPDX-License-Identifier: Apache-2.0
"""What is in the endpoint's database, and whether anything was written to it."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Endpoint


def rows_of(endpoint: Endpoint, account: str) -> list[tuple[object, ...]]:
    """Return every row of every table that is an account's."""
    found: list[tuple[object, ...]] = []
    with closing(sqlite3.connect(str(endpoint.database.url.database))) as db:
        tables = [
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        for table in sorted(tables):
            columns = {column[1] for column in db.execute(f"PRAGMA table_info({table})")}
            if "account_id" in columns:
                query = f"SELECT * FROM {table} WHERE account_id = ?"  # noqa: S608 - our tables
                found += [(table, *row) for row in db.execute(query, (account,))]
    return found


@contextmanager
def unwritten(endpoint: Endpoint) -> Iterator[None]:
    """Fail if any transaction that wrote something was committed meanwhile."""
    with closing(sqlite3.connect(str(endpoint.database.url.database))) as db:
        # SQLite's own count of what others have committed since this connection began.
        [before] = db.execute("PRAGMA data_version").fetchone()
        yield
        [after] = db.execute("PRAGMA data_version").fetchone()
        assert before == after, "something was written to the database"
