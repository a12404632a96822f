# SPDX-License-Identifier: Apache-2.0
"""``python -m tools.reference [--check]``: fills the generated parts of ``docs/reference``.

A page is written by hand. Between a line ``<!-- generated: NAME -->`` and the next
``<!-- end -->`` stands what the function of that name below makes from the code, so that it can
never say anything else than the code does. ``--check`` writes nothing and fails when a page is
stale, as ``make lint`` does. ``actions.json`` is made as a whole.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway import errors
from gateway.cli import main as command_line
from gateway.cloud import flavors, states
from gateway.config import ENVIRONMENT_PREFIX, Settings
from gateway.ec2 import actions, contract
from gateway.scheduler import exits, submit
from gateway.scheduler.protocol import LaunchRequest, Zoning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

TOP = Path(__file__).parent.parent
PAGES = TOP / "docs" / "reference"
_BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_.]* *=")
HELP_WIDTH = 80


class UnknownBlockError(Exception):
    """A page asks for a block that there is not."""


def settings() -> str:
    """Every setting of the gateway."""
    return table(
        ("setting", "variable", "default", "meaning"),
        (
            (
                code(field.name),
                code(ENVIRONMENT_PREFIX + field.name.upper()),
                code(str(field.default)) if str(field.default) else "(empty)",
                str(field.metadata["help"]),
            )
            for field in dataclasses.fields(Settings)
        ),
    )


def instance_types() -> str:
    """Every packaged instance type."""
    rows = (
        (code(one.name), str(one.vcpus), str(one.memory_mib)) for one in flavors.load().values()
    )
    return table(("type", "vCPUs", "memory (MiB)"), rows)


def action_list() -> str:
    """Every action, and what becomes of each parameter of EC2's model."""
    parts = []
    for name, covered in actions.capabilities().items():
        lines = [f"### {name}\n"]
        lines.append(f"Honoured: {codes(covered['honoured'])}.\n")
        for path, value in covered["only"].items():
            lines.append(
                f"- {code(path)} is accepted only with the value {code(contract.spelled(value))}."
            )
        for path, why in covered["harmless"].items():
            lines.append(f"- {code(path)} makes no difference: {why}.")
        for path, note in covered["notes"].items():
            lines.append(f"- Of {code(path)}: {note}.")
        if covered["only"] or covered["harmless"] or covered["notes"]:
            lines.append("")
        known = (*covered["honoured"], *covered["only"], *covered["harmless"])
        if refused := contract.shortened(covered["refused"], known):
            lines.append(f"Refused by name: {codes(refused)}.\n")
        parts.append("\n".join(lines))
    return "\n".join(parts)


def exit_codes() -> str:
    """Every way for a supervisor to end."""
    return table(
        ("exit code", "name", "StateReason code", "meaning"),
        (
            (str(one.code), code(one.name), code(one.reason_code), one.sentence)
            for one in exits.EXITS
        ),
    )


def error_codes() -> str:
    """Every error that the EC2 endpoint answers with."""
    rows = (
        (code(one.code), str(one.status), paragraph(one.__doc__))
        for one in sorted(_error_classes(), key=lambda one: one.code)
    )
    return table(("code", "HTTP status", "when"), rows)


def submit_description() -> str:
    """Make the submit description of an example."""
    request = LaunchRequest(
        gateway_id="5f0c2c1d7a9be340",
        reservation_id="r-0123456789abcdef0",
        account_id="123456789012",
        image_sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        vcpus=1,
        memory_mib=512,
        run=1,
        architecture="x86_64",
        disk_bytes=8 * 2**30,
        instance_ids=("i-0123456789abcdef0", "i-0fedcba9876543210"),
        zone=Zoning("condor-a", required=False, default=True),
    )
    described = submit.description(request, str(Settings().supervisor))
    lines = [f"{name} = {value}" for name, value in described.items()]
    for item in submit.items(request):
        lines += [f"{name} = {value}" for name, value in item.items()] + ["queue"]
    return "```\n" + "\n".join(lines) + "\n```\n"


def condor_config() -> str:
    """Every packaged HTCondor setting with the reason that stands above it."""
    parts = []
    for file in sorted((TOP / "condor-config").glob("*.conf")):
        banner, groups = _read_config(file.read_text(encoding="utf-8"))
        parts.append(f"### {file.name}\n\n{banner}\n")
        for reason, lines in groups:
            parts.append(f"{reason}\n" if reason else "")
            parts.append("```\n" + "\n".join(lines) + "\n```\n")
    return "\n".join(part for part in parts if part)


def command_help() -> str:
    """Ask every command for its help."""
    return "\n".join(_help(command_line, click.Context(command_line, info_name="condor-cloud")))


BLOCKS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "instance-types": instance_types,
    "actions": action_list,
    "states": states.markdown,
    "exit-codes": exit_codes,
    "errors": error_codes,
    "submit-description": submit_description,
    "condor-config": condor_config,
    "commands": command_help,
}

DOCUMENTS: dict[str, Callable[[], object]] = {"actions.json": actions.capabilities}


def stale(pages: Path, *, write: bool) -> list[Path]:
    """Return the pages whose generated parts are not as the code has them; write them if asked."""
    found = []
    for page in sorted(pages.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        filled = _BLOCK.sub(_fill, text)
        if filled != text:
            found.append(page)
            if write:
                page.write_text(filled, encoding="utf-8")
    return found


def stale_documents(pages: Path, *, write: bool) -> list[Path]:
    """Return the documents for programs that are not as the code has them; write them if asked."""
    found = []
    for name, make in DOCUMENTS.items():
        page = pages / name
        text = json.dumps(make(), indent=1) + "\n"
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            found.append(page)
            if write:
                page.write_text(text, encoding="utf-8")
    return found


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped) + "\n"


def code(text: str) -> str:
    """Return the text as code."""
    return f"`{text}`"


def codes(texts: Iterable[str]) -> str:
    """Return the texts as code, with commas."""
    return ", ".join(code(text) for text in texts)


def paragraph(docstring: str | None) -> str:
    """Return a docstring's first paragraph on one line."""
    return " ".join((docstring or "").strip().partition("\n\n")[0].split())


def _fill(block: re.Match[str]) -> str:
    make = BLOCKS.get(block[2])
    if make is None:
        raise UnknownBlockError(f"There is no generated part named {block[2]}.")
    return f"{block[1]}\n{make()}\n{block[3]}"


def _error_classes() -> Iterator[type[errors.EC2Error]]:
    for one in vars(errors).values():
        if isinstance(one, type) and issubclass(one, errors.EC2Error) and one != errors.EC2Error:
            yield one


def _read_config(text: str) -> tuple[str, list[tuple[str, list[str]]]]:
    """Return a file's first sentence, and its settings in groups below what is said of them."""
    banner, _, rest = text.partition("\n\n")
    words = [line.removeprefix("#").strip() for line in banner.splitlines()]
    groups: list[tuple[str, list[str]]] = []
    for part in rest.split("\n\n"):
        comment: list[str] = []
        lines: list[str] = []
        for line in part.splitlines():
            said = line.removeprefix("#").strip()
            if line.startswith("#") and not _SETTING.match(said):
                if lines:
                    groups.append((" ".join(comment), lines))
                    comment, lines = [], []
                comment.append(said)
            else:
                lines.append(line)
        groups.append((" ".join(comment), lines))
    return " ".join(words).partition("  ")[0], [group for group in groups if group[1]]


def _help(command: click.Command, context: click.Context) -> Iterator[str]:
    context.terminal_width = context.max_content_width = HELP_WIDTH
    yield f"## {context.command_path}\n\n```\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _help(inner, click.Context(inner, parent=context, info_name=name))


def main(arguments: Sequence[str]) -> int:
    """Fill the pages, or with ``--check`` name the stale ones; return the exit status."""
    check = list(arguments) == ["--check"]
    if arguments and not check:
        click.echo("usage: python -m tools.reference [--check]", err=True)
        return 2
    found = stale(PAGES, write=not check) + stale_documents(PAGES, write=not check)
    for page in found:
        told = "is stale: run `make docs`" if check else "written"
        click.echo(f"{page.relative_to(TOP)} {told}", err=check)
    return 1 if check and found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
