# SPDX-License-Identifier: Apache-2.0
"""The ``condor-cloud`` command: one module for each noun."""

from __future__ import annotations

import click

from gateway import __version__
from gateway.cli import output
from gateway.cli.account import account
from gateway.cli.doctor import doctor
from gateway.cli.image import image
from gateway.cli.instance import instance
from gateway.cli.key import key
from gateway.cli.node import node
from gateway.cli.run import environment, run
from gateway.cli.settings import settings


@click.group(cls=output.Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="condor-cloud")
def main() -> None:
    """Run and administer Condor Cloud: an HTCondor pool as an EC2 region.

    Settings come from CONDOR_CLOUD_* variables and /etc/condor-cloud/gateway.toml.
    """


for command in (run, environment, image, account, key, instance, node, doctor, settings):
    main.add_command(command)
