# SPDX-License-Identifier: Apache-2.0
"""``condor-cloud settings``: what is set, to what, and what it is for."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import click

from gateway import config
from gateway.cli import output
from gateway.config import Settings

_PASSWORD = re.compile(r"(?<=:)[^:/@]+(?=@)")


@click.command(cls=output.Command)
@output.json_option
def settings(as_json: bool) -> None:
    """List every setting with its value, its default and what it is for.

    A setting is given in /etc/condor-cloud/gateway.toml (or in the file that
    $CONDOR_CLOUD_CONFIG names) as `name = value`, or in the environment as
    CONDOR_CLOUD_NAME, which is stronger.

    Example:
      CONDOR_CLOUD_PORT=8080 condor-cloud settings

    JSON: a list of {"name", "value", "default", "help"}
    """
    current = config.load()
    found = [
        (field.name, getattr(current, field.name), field.default, str(field.metadata["help"]))
        for field in dataclasses.fields(Settings)
    ]
    if as_json:
        names = ("name", "value", "default", "help")
        output.write_json(
            [
                dict(zip(names, (name, _json(value), _json(default), text), strict=True))
                for name, value, default, text in found
            ]
        )
        return
    output.table(
        ("NAME", "VALUE", "DEFAULT", "MEANING"),
        (
            (name, _shown(value), "" if value == default else _shown(default), text)
            for name, value, default, text in found
        ),
        empty="",
    )


def _json(value: object) -> object:
    return value if isinstance(value, int | float) else _shown(value)


def _shown(value: object) -> str:
    # A database's URL may hold a password.
    text = str(value) if isinstance(value, Path) else f"{value}"
    return _PASSWORD.sub("***", text) if "://" in text else text
