# SPDX-License-Identifier: Apache-2.0
"""The Security Token Service, as far as EC2's clients need it: ``GetCallerIdentity``.

Clients such as Terraform ask at their start whose credentials they have, at whatever endpoint they
are given. The protocol is AWS's "query": forms as in EC2, but other documents. Its requests are
known by their ``Version``, which EC2 never had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import (
    AuthFailure,
    InvalidAction,
    RequestExpired,
    RequestLimitExceeded,
    UnknownParameter,
)
from gateway.wire.xml import escape

if TYPE_CHECKING:
    from gateway.errors import EC2Error
    from gateway.wire.query import Form

VERSION = "2011-06-15"
ACTION = "GetCallerIdentity"

_NAMESPACE = f"https://sts.amazonaws.com/doc/{VERSION}/"


def answer(form: Form, account_id: str, request_id: str) -> bytes:
    """Answer a request by an access key of the account; raise InvalidAction, UnknownParameter."""
    if form.action != ACTION:
        raise InvalidAction(form.action)
    for name, _ in form.parameters:
        raise UnknownParameter(name)
    # An access key belongs to the account itself, which AWS calls its root.
    return _document(
        "GetCallerIdentityResponse",
        f"<GetCallerIdentityResult><Arn>arn:aws:iam::{account_id}:root</Arn>"
        f"<UserId>{account_id}</UserId><Account>{account_id}</Account></GetCallerIdentityResult>"
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>",
    )


def refuse(error: EC2Error, request_id: str) -> tuple[int, bytes]:
    """Return the HTTP status and the document of an error."""
    status, code, message = error.status, error.code, error.message
    # What EC2 says in one way, STS says in another.
    if isinstance(error, AuthFailure) and error.signature:
        status, code = 403, "SignatureDoesNotMatch"
        message = (
            "The request signature we calculated does not match the signature you provided. Check"
            " your AWS Secret Access Key and signing method."
        )
    elif isinstance(error, AuthFailure):
        status, code = 403, "InvalidClientTokenId"
        message = "The security token included in the request is invalid."
    if isinstance(error, RequestExpired):
        status = 400
    if isinstance(error, RequestLimitExceeded):
        status, code, message = 400, "Throttling", "Rate exceeded"
    fault = "Receiver" if status >= 500 else "Sender"
    document = _document(
        "ErrorResponse",
        f"<Error><Type>{fault}</Type><Code>{code}</Code>"
        f"<Message>{escape(message)}</Message></Error><RequestId>{request_id}</RequestId>",
    )
    return status, document


def _document(root: str, body: str) -> bytes:
    return f'<{root} xmlns="{_NAMESPACE}">{body}</{root}>'.encode()
