# SPDX-License-Identifier: Apache-2.0
"""Errands: what is to be done with disks of stopped instances, which no supervisor guards.

The node's listener hears of such errands and starts ``python3 -m execnode.errands`` for each, as
the disks' owner (:mod:`execnode.children`). Whoever does one holds the instance's lock as long as
the disk must not change: a supervisor that is to start the instance waits for it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from execnode import children, config, spec, stopped, workspace
from execnode.children import UNTOLD, Children
from execnode.link import LinkError, NodeLink, NoSuchError
from execnode.sending import CAPTURES, PARKINGS, CaptureError, Sender

if TYPE_CHECKING:
    from execnode.children import Task
    from execnode.config import NodeConfig

CAPTURE, PARK, REMOVE = "capture", "park", "remove"
REMOVE_AGAIN = 30.0  # seconds after which a disk that could not be removed is tried again


class Errands(Children):
    """The errands that the listener has heard of and has not seen to their end."""

    def __init__(self, file: Path) -> None:
        """Do them by the settings in ``file``, as they are then."""
        super().__init__(
            file, "execnode.errands", lambda settings: settings.instances_dir, _give_up
        )

    def prepare(self, settings: NodeConfig, task: Task) -> None:
        """See :class:`~execnode.children.Children`."""
        named = task.document.get("instance") if isinstance(task.document, dict) else None
        if os.geteuid() == 0 and isinstance(named, str) and spec.INSTANCE_ID.fullmatch(named):
            workspace.open_up(settings.instances_dir / named)


def _give_up(link: NodeLink, task: Task, reason: str) -> None:
    with contextlib.suppress(NoSuchError):
        link.report_copy(f"/v1/{_kind(task)}/{task.number}", {"error": reason})


def _kind(task: Task) -> str:
    """Return what the gateway calls what an errand is about."""
    document = task.document if isinstance(task.document, dict) else {}
    return PARKINGS if document.get("kind") in {PARK, REMOVE} else CAPTURES


def main() -> int:
    """Do what standard input names, by the configuration file that the first argument names."""
    task = children.task()
    return do(config.load(Path(sys.argv[1])), task)


def do(settings: NodeConfig, task: Task) -> int:
    """Do an errand and tell how that went; return the exit status."""
    try:
        with contextlib.closing(Sender(settings, task.number, _kind(task))) as sender:
            return _do(settings, task, sender)
    except (LinkError, OSError) as error:
        sys.stderr.write(f"condor-cloud-listen: errand {task.number}: {error}\n")
        return UNTOLD


def _do(settings: NodeConfig, task: Task, sender: Sender) -> int:
    try:
        wanted = spec.read_errand(task.document, (CAPTURE, PARK, REMOVE))
        if wanted.kind == CAPTURE:
            stopped.capture(settings, wanted, task.number, sender)
        elif wanted.kind == PARK:
            stopped.park(settings, wanted, sender)
        else:
            stopped.remove(settings, wanted, sender)
    except NoSuchError:
        pass  # nobody wants it any more
    except spec.SpecError as error:
        _fail(sender, f"The gateway's {error} is not understood.")
    except CaptureError as error:
        _fail(sender, str(error))
    except OSError as error:
        if _is_removal(task):
            # The gateway has no use for the reason, and repeats it as soon as this process ends.
            sys.stderr.write(f"condor-cloud-listen: errand {task.number}: {error}\n")
            time.sleep(REMOVE_AGAIN)
        else:
            _fail(sender, f"{error.strerror}.")
    return 0


def _is_removal(task: Task) -> bool:
    return isinstance(task.document, dict) and task.document.get("kind") == REMOVE


def _fail(sender: Sender, reason: str) -> None:
    with contextlib.suppress(NoSuchError):
        sender.fail(reason)


if __name__ == "__main__":
    sys.exit(main())
