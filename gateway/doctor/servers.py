# SPDX-License-Identifier: Apache-2.0
"""The gateway's own processes: whether they run, and whether they answer."""

from __future__ import annotations

import fcntl
import http.client
import os
import socket
import ssl
import time
from typing import TYPE_CHECKING

from gateway.config import ANYWHERE
from gateway.doctor.verdict import Check, failed, ok, warning
from gateway.nodelink import credentials

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.config import Settings

ANSWER_LIMIT = 5.0
MONTH = 30 * 86400.0


def running(settings: Settings) -> bool:
    """Tell whether ``condor-cloud run`` runs with this state."""
    return _locked(settings.run_dir / "run.lock")


def check(settings: Settings, *, running: bool) -> Iterator[Check]:
    """Ask each process. Where none runs at all, that is one warning and not four failures."""
    reconciler = _locked(settings.run_dir / "reconciler.lock")
    if not (running or reconciler or _answers(settings.host, settings.port)):
        yield warning(
            "gateway",
            f"it does not run with the state in {settings.state_dir}",
            "Start it: `condor-cloud run`.",
        )
        return
    yield _endpoint(settings)
    yield _node_link(settings)
    yield _process(settings, "reconciler", alive=reconciler)
    yield _process(settings, "importer", alive=_listens(settings, "importer"))


def _endpoint(settings: Settings) -> Check:
    name = "EC2 endpoint"
    connection = http.client.HTTPConnection(
        _reachable(settings.host), settings.port, timeout=ANSWER_LIMIT
    )
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        return failed(
            name,
            f"{settings.endpoint} does not answer ({_why(error)})",
            f"See {settings.state_dir / 'log' / 'ec2.log'}.",
        )
    finally:
        connection.close()
    if answer.getheader("Server") != "AmazonEC2":
        return failed(
            name,
            f"something else answers on {settings.endpoint}",
            "Stop the other program, or give the gateway another port (setting port).",
        )
    return ok(name, f"{settings.endpoint} answers")


def _node_link(settings: Settings) -> Check:
    name = "node link"
    log = settings.state_dir / "log" / "nodelink.log"
    where = f"https://{settings.nodelink_host}:{settings.nodelink_port}"
    try:
        status, days = _ask_node_link(settings)
    except ssl.SSLCertVerificationError as error:
        return failed(
            name,
            f"{where} shows a certificate that nodes refuse ({error.verify_message})",
            f"Remove {credentials.private_key(settings).parent} to have it made anew, restart the"
            " gateway, and copy the new certificate to the nodes.",
        )
    except (OSError, http.client.HTTPException) as error:
        return failed(name, f"{where} does not answer ({_why(error)})", f"See {log}.")
    if status != 401:
        return failed(name, f"{where} answers a stranger with status {status}", f"See {log}.")
    if days < MONTH / 86400:
        return warning(
            name,
            f"its certificate expires in {days:.0f} days",
            f"Remove {credentials.private_key(settings).parent} and restart the gateway; then copy"
            " the new certificate to the nodes.",
        )
    return ok(name, f"{where} answers; its certificate is valid for {days:.0f} days")


def _ask_node_link(settings: Settings) -> tuple[int, float]:
    # The file's name is not asked of credentials.certificate, which would make the file.
    certificate = credentials.private_key(settings).with_name("certificate.pem")
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = settings.nodelink_host not in ANYWHERE
    host = _reachable(settings.nodelink_host)
    connection = http.client.HTTPSConnection(
        host, settings.nodelink_port, timeout=ANSWER_LIMIT, context=context
    )
    try:
        connection.connect()
        peer = connection.sock.getpeercert() or {}
        ends = ssl.cert_time_to_seconds(str(peer["notAfter"]))
        connection.request("GET", "/v1/images/none")
        return connection.getresponse().status, (ends - time.time()) / 86400
    finally:
        connection.close()


def _process(settings: Settings, name: str, *, alive: bool) -> Check:
    if alive:
        return ok(name, "runs")
    return failed(name, "does not run", f"See {settings.state_dir / 'log' / f'{name}.log'}.")


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((_reachable(host), port), ANSWER_LIMIT):
            return True
    except OSError:
        return False


def _listens(settings: Settings, listener: str) -> bool:
    try:
        directory = os.open(settings.run_dir, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            # As in gateway.wake: a long path does not fit into a socket's address.
            probe.connect(f"/proc/self/fd/{directory}/{listener}.sock")
            return True
    except OSError:
        return False
    finally:
        os.close(directory)


def _locked(path: Path) -> bool:
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _reachable(host: str) -> str:
    return ANYWHERE.get(host, host)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
