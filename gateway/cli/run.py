# SPDX-License-Identifier: Apache-2.0
"""``condor-cloud run`` and ``condor-cloud env``."""

from __future__ import annotations

import os
import shlex
import sys
import time
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gateway import config
from gateway.runner import RunError, Runner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from gateway.config import Settings
    from gateway.welcome import Welcome

PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
SESSION = """\
Condor Cloud is ready.

  endpoint    {endpoint}
  access key  {key_id}
  secret      {secret}
  demo image  {image}

In another terminal:

  eval "$({env_command})"

  ID=$(aws ec2 run-instances --image-id $DEMO_AMI --instance-type small --key-name demo \\
    --query 'Instances[0].InstanceId' --output text) && \\
    aws ec2 wait instance-running --instance-ids $ID

  aws ec2 get-console-output --instance-id $ID --latest --output text

  ssh -i {ssh_key} -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no \\
    root@$(aws ec2 describe-instances --instance-ids $ID --output text \\
    --query 'Reservations[0].Instances[0].PrivateIpAddress')

Ctrl-C stops it; images, keys and the database stay in {state}.
"""


@click.command()
@click.option(
    "--die-with-parent", is_flag=True, help="Stop when the process that started this one ends."
)
@click.option(
    "--env-command",
    default="condor-cloud env",
    hidden=True,
    help="The command that the printed session uses to set a client's environment.",
)
def run(die_with_parent: bool, env_command: str) -> None:
    """Start the embedded pool and the gateway, and stay in the foreground.

    With an existing pool (setting `pool`) only the gateway is started. Ctrl-C stops everything;
    instances that ran are terminated, images, keys and the database stay.
    """
    settings = _settings()
    steps = Steps()
    runner = Runner(settings, steps.show)
    runner.catch_signals(die_with_parent=die_with_parent)
    status = 0
    try:
        with steps:
            started = runner.start()
        _tell(settings, started, env_command)
        runner.wait(lambda sentence: click.echo(sentence, err=True))
    except RunError as error:
        click.echo(f"condor-cloud: {error}", err=True)
        status = 1
    except KeyboardInterrupt:
        click.echo("\nStopping; instances that run are terminated.", err=True)
    finally:
        runner.stopping = True
        runner.stop()
    sys.exit(status)


@click.command(name="env")
def environment() -> None:
    """Print the shell lines that make EC2 clients use this endpoint.

    Use it as: eval "$(condor-cloud env)"
    """
    settings = _settings()
    path = settings.state_dir / "env"
    if not path.exists():
        click.echo("condor-cloud: start `condor-cloud run` first; it makes the key.", err=True)
        sys.exit(1)
    click.echo(path.read_text() + past_proxies(settings, os.environ), nl=False)


def past_proxies(settings: Settings, environment: Mapping[str, str]) -> str:
    """Return shell lines that lead clients past the caller's proxies, if there are any.

    A proxy reaches neither this machine's loopback nor the guests. Both spellings are in use,
    and a client that reads both may prefer either.
    """
    if not any(environment.get(name) for name in PROXIES):
        return ""
    given = [environment.get(name, "") for name in ("no_proxy", "NO_PROXY")]
    known = [one.strip() for one in ",".join(given).split(",") if one.strip()]
    if "*" in known:
        return ""
    ours = (settings.host, "127.0.0.1", "localhost", settings.pool_network)
    value = shlex.quote(",".join(dict.fromkeys([*known, *ours])))
    return f"export NO_PROXY={value}\nexport no_proxy={value}\n"


def _settings() -> Settings:
    try:
        return config.load()
    except config.SettingsError as error:
        click.echo(f"condor-cloud: {error}", err=True)
        sys.exit(1)


def _tell(settings: Settings, started: Welcome, env_command: str) -> None:
    click.echo(
        SESSION.format(
            endpoint=settings.endpoint,
            key_id=started.access_key.id,
            secret=started.access_key.secret,
            image=started.image.id,
            ssh_key=shlex.quote(str(started.ssh_key)),
            env_command=env_command,
            state=settings.state_dir,
        )
    )


# Without a terminal a line is printed this many seconds, or this share, after the one before.
QUIET = 1.0
QUIET_SHARE = 0.03


class Steps:
    """The start's steps: a bar on a terminal, a line for each step elsewhere."""

    def __init__(self) -> None:
        """Decide by standard error."""
        self.console = Console(stderr=True)
        self.began = time.monotonic()
        self.last = ""
        self.told = self.shown = -QUIET
        self.bar: Progress | None = None
        self.update: Callable[[float, str], None] = self._line
        if self.console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description:<48.48}"),
                BarColumn(bar_width=30),
                TimeElapsedColumn(),
                console=self.console,
                transient=True,
            )

    def __enter__(self) -> None:
        """Show the bar."""
        if self.bar is not None:
            self.bar.start()
            task = self.bar.add_task("starting", total=1.0)
            bar = self.bar
            self.update = lambda done, what: bar.update(task, completed=done, description=what)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()

    def show(self, done: float, what: str) -> None:
        """Show that ``what`` is being done."""
        self.update(done, what)

    def _line(self, done: float, what: str) -> None:
        # Without a terminal: each step once, and not every package of a download.
        elapsed = time.monotonic() - self.began
        if what != self.last and (elapsed - self.told > QUIET or done - self.shown > QUIET_SHARE):
            self.last, self.told, self.shown = what, elapsed, done
            click.echo(f"[{elapsed:6.1f} s] {done:4.0%} {what}", err=True)
