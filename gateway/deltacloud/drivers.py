# SPDX-License-Identifier: Apache-2.0
"""``/api/drivers``: there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cloud.errors import NotFound
from gateway.deltacloud.operations import DRIVER, Answer, operation

if TYPE_CHECKING:
    from gateway.deltacloud.operations import Context

NAME = "Condor"


@operation("drivers", open=True)
def index(ctx: Context) -> Answer:
    """Return the one driver."""
    return Answer({"drivers": {"driver": _xml(ctx)}}, {DRIVER: {"name": NAME}})


@operation("drivers", open=True)
def show(ctx: Context, name: str) -> Answer:
    """Return the driver."""
    if name != DRIVER:
        raise NotFound("driver", name)
    return Answer({"driver": _xml(ctx)}, {"driver": {"id": DRIVER, "name": NAME}})


def _xml(ctx: Context) -> dict[str, Any]:
    return {**ctx.reference("drivers", DRIVER), "name": NAME}
