# SPDX-License-Identifier: Apache-2.0
"""What is not the client's fault, and what there is no more room for."""

from __future__ import annotations

from gateway.errors import base


class ResourceLimitExceeded(base.EC2Error):
    """Raised when the account's limit of images or of their bytes is reached."""

    def __init__(self, resource: str, limit: int) -> None:
        super().__init__(
            f"You have reached your quota of {limit} for the number of {resource} allowed in this"
            " Region."
        )


class RequestLimitExceeded(base.Fixed):
    """Raised when an account's requests come faster than its token bucket is filled.

    HTCondor's client and botocore try again for this code with this status.
    """

    status = 503
    sentence = "Request limit exceeded."


class InternalError(base.Fixed):
    """Raised for whatever is our fault; the log has the cause under the request id."""

    status = 500
    sentence = "An internal error has occurred"


class ServiceUnavailable(base.Fixed):
    """Raised when the database or the pool cannot be reached."""

    status = 503
    sentence = "The request has failed due to a temporary failure of the server."
