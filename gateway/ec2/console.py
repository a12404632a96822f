# SPDX-License-Identifier: Apache-2.0
"""GetConsoleOutput, GetConsoleScreenshot, GetPasswordData: a guest seen from outside."""

from __future__ import annotations

import base64
import threading
import time
from typing import TYPE_CHECKING

from gateway.cloud import instances
from gateway.cloud import screenshots as pictures
from gateway.ec2.dispatch import Result, action
from gateway.errors import InternalError, RequestLimitExceeded
from gateway.store import console, database, screenshots

if TYPE_CHECKING:
    from gateway.context import Gateway
    from gateway.ec2.context import Context

LOOK_AGAIN = 0.05
# Who waits holds a thread of this process: some are left for everybody else.
_WAITING = threading.BoundedSemaphore(4)


@action(harmless={"Latest": "the answer always has the latest output"})
def get_console_output(ctx: Context, *, InstanceId: str) -> Result:
    """Return the end of what the instance wrote on its serial console, in base64.

    It is there for as long as the instance is described, also after its termination.
    """
    instance = instances.find(ctx.db, ctx.account_id, [InstanceId], ctx.terminated_after)[0]
    kept = console.get(ctx.db, instance.id)
    return {
        "InstanceId": instance.id,
        "Timestamp": instance.launched_at if kept is None else kept.updated_at,
        "Output": "" if kept is None else base64.b64encode(kept.data).decode(),
    }


def _fetch_screenshot(gateway: Gateway, asked: Result) -> Result:
    """Wait until the node has sent the picture; no transaction is open meanwhile."""
    if not _WAITING.acquire(blocking=False):
        raise RequestLimitExceeded
    try:
        deadline = time.monotonic() + gateway.settings.screenshot_wait
        while True:
            with database.reading(gateway.database) as db:
                jpeg = screenshots.get(db, asked["Command"])
            if jpeg is not None:
                data = base64.b64encode(jpeg).decode("ascii")
                return {"InstanceId": asked["InstanceId"], "ImageData": data}
            if time.monotonic() >= deadline:
                raise InternalError
            time.sleep(LOOK_AGAIN)
    finally:
        _WAITING.release()


@action(writes=True, finish=_fetch_screenshot)
def get_console_screenshot(ctx: Context, *, InstanceId: str, WakeUp: bool = False) -> Result:
    """Return the guest's display as a JPEG in base64; the guest's node is asked for it.

    A node that does not answer within the setting ``screenshot_wait`` is EC2's InternalError.
    """
    number = pictures.ask(
        ctx.db, ctx.account_id, InstanceId, ctx.now, ctx.terminated_after, wake_up=WakeUp
    )
    ctx.wakes.add("nodelink")
    return {"InstanceId": InstanceId, "Command": number}


@action()
def get_password_data(ctx: Context, *, InstanceId: str) -> Result:
    """Return no password, as EC2 does for instances whose image is not known for Windows.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetPasswordData.html
    """
    instance = instances.find(ctx.db, ctx.account_id, [InstanceId], ctx.terminated_after)[0]
    return {
        "InstanceId": instance.id,
        "PasswordData": "",
        "Timestamp": instance.launched_at,
    }
