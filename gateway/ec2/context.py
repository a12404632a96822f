# SPDX-License-Identifier: Apache-2.0
"""What an action's function knows beside its parameters."""

from __future__ import annotations

from dataclasses import dataclass

from gateway import context
from gateway.cloud.tokens import ClientToken


@dataclass(frozen=True)
class Context(context.Context):
    """One request of the EC2 protocol.

    ``request_hash`` is of all its parameters but ``DryRun`` and the client token: a token that
    comes again has to come with the same. The action need not know which there are. ``host`` is the
    address by which the client has reached the endpoint, as its ``Host`` header says.
    """

    request_id: str
    request_hash: str
    host: str

    def token(self, text: str | None) -> ClientToken | None:
        """Return the request's client token; an empty one is none."""
        return ClientToken(text, self.request_hash) if text else None
