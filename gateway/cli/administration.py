# SPDX-License-Identifier: Apache-2.0
"""What the administrator's commands work on: the settings, and the database of this machine."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway import config, wake
from gateway.cli.output import Failure
from gateway.cloud.accounts import DEFAULT_ACCOUNT
from gateway.store import accounts, database, inspection
from gateway.store.inspection import UnusableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

    from gateway.config import Settings
    from gateway.store.accounts import Account

account_option: Callable[[Any], Any] = click.option(
    "--account",
    "account_name",
    default=DEFAULT_ACCOUNT,
    show_default=True,
    metavar="NAME",
    help="The account's name.",
)


class Administration:
    """The gateway as its administrator sees it: everything of every account."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        """Work on the database behind ``engine``, which exists and is up to date."""
        self.settings = settings
        self.engine = engine

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view of the database."""
        with database.reading(self.engine) as db:
            yield db

    @contextmanager
    def writing(self, *wakes: str) -> Iterator[Connection]:
        """One transaction; after it the processes in ``wakes`` are told to look."""
        with database.writing(self.engine) as db:
            yield db
        for process in wakes:
            wake.notify(self.settings, process)


@contextmanager
def administration() -> Iterator[Administration]:
    """Open the database of the settings; refuse where there is none yet."""
    settings = config.load()
    engine = database.engine(settings.database)
    try:
        inspection.check_usable(engine)
        yield Administration(settings, engine)
    except UnusableError as error:
        told = f"{error.sentence.rstrip('.')}: {error.advice[0].lower()}{error.advice[1:]}"
        raise Failure(told) from error
    finally:
        engine.dispose()


def account(db: Connection, name: str) -> Account:
    """Return the account of that name (or with that number)."""
    found = accounts.get_by_name(db, name) or accounts.get(db, name)
    if found is None:
        raise Failure(f"There is no account {name}; `condor-cloud account create` makes one.")
    return found


def account_names(db: Connection) -> dict[str, str]:
    """Return the accounts' names by their numbers."""
    return {found.id: found.name for found in accounts.select(db)}


def absolute(location: str) -> str:
    """Return an image's location with a relative file name made absolute; addresses stay."""
    if location.startswith(("http://", "https://", "s3://", "file:")):
        return location
    return str(Path(location).expanduser().absolute())
