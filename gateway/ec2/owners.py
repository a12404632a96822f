# SPDX-License-Identifier: Apache-2.0
"""Accounts as requests name them: by their ids, as ``self``, or by a word that EC2 has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cloud import image_sharing
from gateway.errors import InvalidUserIDMalformed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.ec2.context import Context


def accounts(ctx: Context, named: Sequence[str], words: set[str]) -> set[str]:
    """Return the ids that are named, and the words; raise InvalidUserIDMalformed for others."""
    for one in named:
        if one != "self" and one not in words and not image_sharing.is_account_id(one):
            raise InvalidUserIDMalformed(one)
    return {ctx.account_id if one == "self" else one for one in named}
