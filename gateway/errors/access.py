# SPDX-License-Identifier: Apache-2.0
"""Who asks: keys, signatures and their dates."""

from __future__ import annotations

from gateway.errors import base


class AuthFailure(base.EC2Error):
    """Raised for an unknown or revoked key, a wrong signature, and any session token.

    EC2 does not tell these apart. HTCondor takes the 401 for "service up, credentials bad".
    STS does: ``signature`` is true where the key is known and the signature is not its own.
    """

    status = 401

    def __init__(self, reason: str = "", *, signature: bool = False) -> None:
        super().__init__(reason or "AWS was not able to validate the provided access credentials")
        self.signature = signature


class RequestExpired(base.Fixed):
    """Raised when the date is too far from our clock, or the expiry has passed.

    EC2 answers this or AuthFailure; with the latter's status both are a matter of credentials.
    """

    status = 401
    sentence = "Request has expired."


class MissingAuthenticationToken(base.Fixed):
    """Raised for a request without any signature."""

    status = 403
    sentence = "Request is missing Authentication Token"


class IncompleteSignature(base.About):
    """Raised when the parts of a signature are missing or cannot be read."""

    sentence = "The request signature does not conform to AWS standards. {}"
