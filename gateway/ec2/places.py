# SPDX-License-Identifier: Apache-2.0
"""An instance's place in the order of description, as a page's token has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import InvalidNextToken
from gateway.store.instances import Position

if TYPE_CHECKING:
    from gateway.store.instances import Instance


def write(instance: Instance) -> list[str]:
    """Return the instance's place as texts."""
    position = instance.position
    return [
        position.launched_at.isoformat(),
        position.reservation_id,
        str(position.launch_index),
    ]


def read(place: list[str] | None) -> Position | None:
    """Return the place, None for the beginning; refuse texts that are none."""
    if place is None:
        return None
    try:
        return Position.parse(*place)
    except (ValueError, TypeError, OverflowError):
        raise InvalidNextToken from None
