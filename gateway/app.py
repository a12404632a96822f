# SPDX-License-Identifier: Apache-2.0
"""The EC2 endpoint: what happens to a request, from its bytes to the answer's, in one screen."""

from __future__ import annotations

import logging
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flask import Flask, Request, Response, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import RequestEntityTooLarge as BodyTooLarge

from gateway import auth, body, errors, sts, throttle
from gateway.cloud import accounts
from gateway.context import Gateway
from gateway.ec2 import actions
from gateway.metrics import requests
from gateway.store import database
from gateway.wire import query, xml

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.wire.query import Form

MAX_BODY = 1024 * 1024
"""Bytes of a request's body: user data (16 KiB) twice escaped, and a thousand ids, fit well."""

CAPABILITIES = "/capabilities"
KNOWN = {*actions.ACTIONS, sts.ACTION}

log = logging.getLogger(__name__)


def create_app(settings: Settings) -> Flask:
    """Return the WSGI application; the database must have been brought up to date.

    Raises :class:`gateway.cloud.flavors.FlavorsError` for a table of types that cannot be read.
    """
    app = Flask("gateway", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    gateway = Gateway.of(settings)
    requests.counter()

    @app.before_request
    def answer() -> Response | None:
        # Before routing, because clients send to any path and by any method.
        told = request.path == CAPABILITIES and request.method == "GET" and not request.query_string
        return None if told else respond(gateway, request)

    @app.get(CAPABILITIES)
    def capabilities() -> Response:
        return jsonify(actions.capabilities())

    return app


def respond(gateway: Gateway, received: Request) -> Response:
    """Answer one request of the EC2 protocol, or of STS, whatever it is."""
    request_id = str(uuid.uuid4())
    began = time.perf_counter()
    refuse = _refuse
    action, code = "", requests.OK
    try:
        signed = _read(received)
        form = query.read(signed.query_string, signed.body)
        action = form.action
        if form.version == sts.VERSION:
            refuse = sts.refuse
        status, document = 200, _process(gateway, signed, form, request_id)
    except Exception as exception:  # noqa: BLE001 - the client gets a document in any case
        error = _as_error(exception, request_id)
        code = error.code
        status, document = refuse(error, request_id)
    requests.count(action if action in KNOWN else requests.OTHER, code)
    response = Response(document, status, content_type=xml.CONTENT_TYPE)
    # HTCondor takes the server for one that honours client tokens by this header.
    response.headers["Server"] = "AmazonEC2"
    response.headers["x-amzn-RequestId"] = request_id
    log.info("%s %d in %.1f ms", request_id, status, (time.perf_counter() - began) * 1000)
    return response


def _process(gateway: Gateway, signed: auth.SignedRequest, form: Form, request_id: str) -> bytes:
    now = datetime.now(UTC)
    caller = auth.verify(signed, lambda key_id: _find_credential(gateway, key_id), now)
    if form.version == sts.VERSION:
        gateway.throttle.take(caller.account_id, throttle.DESCRIBE)
        return sts.answer(form, caller.account_id, request_id)
    chosen = actions.find(form.action)
    kind = throttle.CHANGE if chosen.writes else throttle.DESCRIBE
    gateway.throttle.take(caller.account_id, kind)
    given = query.parse(chosen.operation, form.parameters)
    gateway.throttle.take(caller.account_id, throttle.LAUNCH, chosen.launched(given))
    log.info("%s %s by account %s", request_id, form.action, caller.account_id)
    result = actions.execute(
        gateway,
        chosen,
        given,
        account_id=caller.account_id,
        request_id=request_id,
        now=now,
        host=signed.headers.get("host", ""),
    )
    return xml.serialize(chosen.operation, result, version=form.version, request_id=request_id)


def _read(received: Request) -> auth.SignedRequest:
    # The path as it was sent: what was signed may differ from what the server decoded.
    raw_path = received.environ.get("RAW_URI") or received.environ.get("REQUEST_URI", "/")
    path = raw_path.partition("?")[0]
    if not path.startswith("/"):
        path = "/" + path.partition("://")[2].partition("/")[2]
    return auth.SignedRequest(
        method=received.method,
        path=path,
        query_string=received.environ.get("QUERY_STRING", "").encode("latin-1"),
        headers={name.lower(): value for name, value in received.headers},
        body=body.read(received, MAX_BODY),
    )


def _find_credential(gateway: Gateway, key_id: str) -> auth.Credential | None:
    with database.reading(gateway.database) as db:
        key = accounts.find_valid_key(db, key_id)
    return None if key is None else auth.Credential(key.id, key.secret, key.account_id)


def _refuse(error: errors.EC2Error, request_id: str) -> tuple[int, bytes]:
    return error.status, xml.error_document(error.code, error.message, request_id)


def _as_error(exception: Exception, request_id: str) -> errors.EC2Error:
    match exception:
        case errors.EC2Error():
            return exception
        case BodyTooLarge():
            return errors.RequestEntityTooLarge(MAX_BODY, "bytes")
        case HTTPException():
            return errors.MalformedQueryString("The request's body could not be read.")
        case database.OutOfOrder() | database.Crowded():
            log.error("%s the database is out of order", request_id, exc_info=exception)
            return errors.ServiceUnavailable()
    log.error("%s failed", request_id, exc_info=exception)
    return errors.InternalError()
