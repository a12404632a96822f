# SPDX-License-Identifier: Apache-2.0
"""What becomes of a disk at the end of its run: without the gateway's word it stays."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from execnode.link import LinkError, NodeLink, NoSuchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from execnode.config import NodeConfig
    from execnode.order import Order

RETRY_SECONDS = 0.5
SETTLE_SECONDS = 3.0  # what remains after that is the sweep's to ask


def may_remove(
    settings: NodeConfig, order: Order, nonce: str, code: str, log: Callable[[str], None]
) -> bool:
    """Ask whether the disk of a run that ends with this code may be removed."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            with contextlib.closing(NodeLink(settings, SETTLE_SECONDS)) as link:
                return link.settle_disk(order.instance, order.run, nonce, code)
        except NoSuchError:
            return False  # the disk is another supervisor's to keep
        except (LinkError, OSError, ValueError) as error:
            log(f"whether the disk is kept: {error}")
            if time.monotonic() + RETRY_SECONDS > deadline:
                return False
            time.sleep(RETRY_SECONDS)
