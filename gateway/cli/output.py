# SPDX-License-Identifier: Apache-2.0
"""How the commands speak: tables for people, JSON for programs, one sentence for what is wrong."""

from __future__ import annotations

import errno
import inspect
import json
import sys
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Self

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from gateway.cloud.errors import Refused
from gateway.cloud.flavors import FlavorsError
from gateway.config import SettingsError
from gateway.store.database import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

# A table that is piped into another program is not cut to a terminal's width.
PIPED_WIDTH = 400
PROGRESS_LINES = 10

json_option: Callable[[Any], Any] = click.option(
    "--json", "as_json", is_flag=True, help="Write JSON for programs; times are ISO 8601 in UTC."
)


class Failure(click.ClickException):
    """What could not be done: one sentence on standard error, exit status 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the sentence."""
        click.echo(f"condor-cloud: {self.format_message()}", file=file or sys.stderr)


class Command(click.Command):
    """A command whose help is shown as it is written, examples and all."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the docstring, indented, line by line."""
        formatter.write("\n")
        for line in inspect.cleandoc(self.help or "").splitlines():
            formatter.write(f"  {line}".rstrip() + "\n")


class Group(click.Group):
    """A group of commands in which nothing ends in a traceback."""

    command_class = Command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command; tell in one sentence why it could not be done."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except (Refused, SettingsError, DatabaseError, FlavorsError) as error:
            raise Failure(str(error)) from error
        except Exception as error:
            # A closed pipe is click's to end in silence; Python's -X dev shows the rest.
            if sys.flags.dev_mode or getattr(error, "errno", None) == errno.EPIPE:
                raise
            raise Failure(_unexpected(error)) from error


def _unexpected(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        about = f"{error.filename}: " if error.filename else ""
        return f"{about}{error.strerror}."
    first = str(error).partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {first}."


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str, stderr: bool = False
) -> None:
    """Write a table for people, or the sentence ``empty``. Cells are data, never markup."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        click.echo(empty, err=True)
        return
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in cells:
        made.add_row(*row)
    with console.capture() as captured:
        console.print(made)
    # Rich fills every row up to the table's width; blanks at a line's end are of no use.
    lines = [line.rstrip() for line in captured.get().splitlines()]
    click.echo("\n".join(lines))


def write_json(document: object) -> None:
    """Write a document for programs."""
    click.echo(json.dumps(document, indent=2, default=_plain))


def time(at: datetime | None) -> str | None:
    """Return a point in time as JSON has it: ISO 8601, UTC, milliseconds."""
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def size(count: int | None) -> str:
    """Return a number of bytes for people."""
    if count is None:
        return ""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def printable(text: str) -> str:
    """Return a text from elsewhere without what could command a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _cell(value: object) -> Text:
    if isinstance(value, datetime):
        return Text(value.astimezone().strftime("%Y-%m-%d %H:%M:%S"))
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    return Text("" if value is None else printable(str(value)))


def _plain(value: object) -> object:
    return time(value) if isinstance(value, datetime) else str(value)


class _Bars:
    """Bars on standard error where that is a terminal, for as long as the context is entered."""

    def __init__(self, *further: ProgressColumn) -> None:
        """Make them with these columns after the common ones; nothing is shown yet."""
        console = Console(stderr=True)
        self._progress: Progress | None = None
        if console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=30),
                DownloadColumn(binary_units=True),
                TransferSpeedColumn(),
                *further,
                console=console,
                transient=True,
            )

    def __enter__(self) -> Self:
        """Show them."""
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take them away."""
        if self._progress is not None:
            self._progress.stop()


class Transfer(_Bars):
    """A watcher of the image store's: a bar on a terminal, a line for each tenth elsewhere."""

    def __init__(self, what: str) -> None:
        """Name what is moved; nothing is shown before the context is entered."""
        super().__init__()
        self.what = what
        self._line = ("", -1)
        if self._progress is not None:
            self._task = self._progress.add_task(printable(what), total=None)

    def copied(self, done: int, total: int | None) -> None:
        """Show that ``done`` of ``total`` bytes have been copied; a total may be unknown."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done, total=total)
            return
        of = f" of {size(total)}" if total else ""
        tenth = PROGRESS_LINES * done // total if total else done // 2**28
        self._echo("copied", tenth, f"{size(done)}{of}")

    def converted(self, percent: float) -> None:
        """Show how much of the disk is converted."""
        self._step("converted", percent)

    def inspected(self) -> None:
        """Show nothing of it."""

    def stored(self, percent: float) -> None:
        """Show how much of it is in a store that is not of this machine."""
        self._step("stored", percent)

    def _step(self, step: str, percent: float) -> None:
        if self._progress is not None:
            told = f"{printable(self.what)}, {percent:.0f} % {step}"
            self._progress.update(self._task, description=told)
            return
        self._echo(step, int(PROGRESS_LINES * percent / 100), f"{percent:.0f} % {step}")

    def _echo(self, step: str, tenth: int, told: str) -> None:
        if self._line != (step, tenth):
            self._line = (step, tenth)
            click.echo(f"{printable(self.what)}: {told}", err=True)


class Transfers(_Bars):
    """The progress of several transfers: a bar for each on a terminal, else a line a change."""

    def __init__(self) -> None:
        """Nothing is shown before the first :meth:`show`."""
        super().__init__(TextColumn("{task.fields[state]}", markup=False))
        self._said: dict[str, str] = {}
        self._tasks: dict[str, TaskID] = {}

    def show(self, what: str, state: str, done: int, total: int) -> None:
        """Show in which state one of them is, and how many of its bytes have been moved."""
        if self._progress is None:
            if self._said.get(what) != state:
                self._said[what] = state
                click.echo(f"{printable(what)}: {state}", err=True)
            return
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(printable(what), state=state)
        self._progress.update(self._tasks[what], completed=done, total=total, state=state)
