# SPDX-License-Identifier: Apache-2.0
"""The Deltacloud endpoint: what happens to a request, in one screen."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, Response, request
from werkzeug.exceptions import HTTPException

from gateway import throttle, wake
from gateway.cloud import accounts
from gateway.cloud.errors import Refused
from gateway.context import Gateway
from gateway.deltacloud import asked as asking
from gateway.deltacloud import operations, problems, render, resources
from gateway.deltacloud.operations import DRIVER, VERSION, Answer, Context
from gateway.deltacloud.problems import Problem
from gateway.errors import RequestLimitExceeded
from gateway.store import database

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.deltacloud.asked import Asked

MAX_PATH = 128 * 1024
"""Bytes of a request's first line: clients put base64 user data there."""

SERVER = f"Apache-Deltacloud/{VERSION}"
log = logging.getLogger(__name__)


def create_app(settings: Settings) -> Flask:
    """Return the WSGI application; the database must have been brought up to date."""
    app = Flask("gateway.deltacloud", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = asking.MAX_BODY
    gateway = Gateway.of(settings)

    @app.before_request
    def answer() -> Response:
        return respond(gateway, request)

    return app


def respond(gateway: Gateway, received: Request) -> Response:
    """Answer one request, whatever it is."""
    began = time.perf_counter()
    content_type = asking.XML
    try:
        content_type = asking.answer_form(received)
        answer = _process(gateway, received)
        response = _success(answer, content_type)
    except Exception as exception:  # noqa: BLE001 - the client gets a document in any case
        response = _failure(_as_problem(exception), received, content_type)
    took = time.perf_counter() - began
    response.headers["Server"] = SERVER
    response.headers["X-Deltacloud-Driver"] = DRIVER
    response.headers["X-Backend-Runtime"] = f"{took:.6f}"
    response.headers["Cache-Control"] = "max-age=0, private, must-revalidate"
    log.info("%s %d in %.1f ms", received.method, response.status_code, took * 1000)
    if response.status_code == 200:
        response.add_etag()
        if "If-None-Match" in received.headers:
            response.make_conditional(received)
    return response


def _process(gateway: Gateway, received: Request) -> Answer | Response:
    if len(received.environ.get("RAW_URI", "")) > MAX_PATH:
        raise Problem(414, f"An address has at most {MAX_PATH} bytes.")
    asked = asking.take_apart(received)
    if asked is None:
        raise Problem(404, f"Deltacloud is under /{asking.ROOT}.")
    if asked.driver is not None and asked.driver.lower() != DRIVER:
        raise Problem(400, f"There is no driver but {DRIVER} here.")
    if asked.method == "OPTIONS":
        return Response(headers={"Allow": ",".join(operations.methods(resources.at(asked)))})
    chosen = resources.find(asked)
    if not chosen.open or "force_auth" in asked.parameters:
        account_id = _authenticate(gateway, received)
    else:
        account_id = ""
    if account_id:
        kind = throttle.CHANGE if chosen.writes else throttle.DESCRIBE
        gateway.throttle.take(account_id, kind)
    chosen.check(asked)
    return _carry_out(gateway, chosen, asked, account_id, _base(received))


def _carry_out(
    gateway: Gateway, chosen: operations.Operation, asked: Asked, account_id: str, base: str
) -> Answer:
    prepared = [chosen.prepare(asked.parameters)] if chosen.prepare else []
    transaction = database.writing if chosen.writes else database.reading
    with transaction(gateway.database) as db:
        context = Context(gateway, db, account_id, datetime.now(UTC), base)
        answer = chosen.call(context, asked, *prepared)
    for process in context.wakes:
        wake.notify(gateway.settings, process)
    return answer


def _authenticate(gateway: Gateway, received: Request) -> str:
    """Return the account whose access key and secret the request has (HTTP Basic)."""
    if received.scheme != "https" and not _is_loopback(received.remote_addr):
        raise Problem(403, "Secrets are not taken over plain HTTP; use HTTPS.")
    realm = f"{DRIVER}-deltacloud"
    given = received.authorization
    if given is None or given.type != "basic":
        raise problems.unauthorized(realm, "Sign in with an access key id and its secret.")
    with database.reading(gateway.database) as db:
        key = accounts.find_valid_key(db, given.username or "")
    secret = key.secret if key is not None else ""
    same = hmac.compare_digest((given.password or "").encode(), secret.encode())
    if key is None or not same:
        raise problems.unauthorized(realm, "The access key id or its secret is not right.")
    return key.account_id


def _success(answer: Answer | Response, content_type: str) -> Response:
    if isinstance(answer, Response):
        return answer
    if answer.xml is None:
        return Response(status=answer.status)
    response = Response(
        render.body(content_type, answer.xml, answer.plain),
        answer.status,
        content_type=content_type,
    )
    if answer.location is not None:
        response.headers["Location"] = answer.location
    if answer.status == 201:
        response.add_etag()
    return response


def _failure(problem: Problem, received: Request, content_type: str) -> Response:
    # Neither parameters nor a trace, as Deltacloud's had: there may be secrets in them.
    document: dict[str, Any] = {
        "error": {
            "@status": str(problem.status),
            "@url": received.path,
            "backend": {"@driver": DRIVER},
            "code": str(problem.status),
            "message": problem.sentence,
        }
    }
    plain = {"code": problem.status, "message": problem.sentence, "error": "DeltacloudError"}
    return Response(
        render.body(content_type, document, plain),
        problem.status,
        content_type=content_type,
        headers=problem.headers,
    )


def _as_problem(exception: Exception) -> Problem:
    match exception:
        case Problem():
            return exception
        case Refused():
            return problems.translate(exception)
        case RequestLimitExceeded():
            return Problem(503, exception.message)
        case HTTPException():
            return Problem(exception.code or 400, exception.name)
        case database.OutOfOrder() | database.Crowded():
            log.error("the database is out of order", exc_info=exception)
            return Problem(503, "The service is unavailable; try again.")
    log.error("a request failed", exc_info=exception)
    return Problem(500, "An internal error has occurred.")


def _is_loopback(address: str | None) -> bool:
    try:
        return address is not None and ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _base(received: Request) -> str:
    return f"{received.host_url.rstrip('/')}/{asking.ROOT}"
