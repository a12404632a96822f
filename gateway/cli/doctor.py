# SPDX-License-Identifier: Apache-2.0
"""``condor-cloud doctor``: shows what the checks found."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from gateway import doctor as checks
from gateway.cli import output

if TYPE_CHECKING:
    from gateway.doctor import Check

COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}
INDENT = " " * 30


@click.command(cls=output.Command)
@output.json_option
def doctor(as_json: bool) -> None:
    """Check everything that a launch depends on, and say what to do about it.

    Settings, database, clock, image store, the gateway's processes, the pool
    with its nodes, KVM, and the event log. Nothing is changed, and the gateway
    need not run. The exit status is 1 if a check failed; warnings do not count.

    Example:
      condor-cloud doctor

    JSON: {"failed": how many, "checks": a list of
      {"name", "state": "ok"|"warning"|"failed", "found", "advice"}}
    """
    found: list[Check] = []
    for check in checks.examine():
        found.append(check)
        if not as_json:
            _show(check)
    failures = sum(check.state == "failed" for check in found)
    if as_json:
        output.write_json({"failed": failures, "checks": [check._asdict() for check in found]})
    elif failures:
        click.echo(f"condor-cloud: {failures} of {len(found)} checks failed.", err=True)
    sys.exit(1 if failures else 0)


def _show(check: Check) -> None:
    state = click.style(f"{check.state:<8}", fg=COLOURS[check.state])
    click.echo(f"{state} {check.name:<20} {output.printable(check.found)}")
    if check.advice:
        click.echo(f"{INDENT}{output.printable(check.advice)}")
