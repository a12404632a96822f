# SPDX-License-Identifier: Apache-2.0
"""Opens http and https addresses: only where a tenant may be fetched for, and not for ever."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from gateway import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.imagestore.networks import Networks

SILENCE = 30.0  # seconds without a byte
ANSWER = 60.0  # seconds until an answer's headers are there, redirects and all
NOTHING: Mapping[str, str] = {}


@contextlib.contextmanager
def answer(
    address: str, networks: Networks | None, asked: Mapping[str, str] = NOTHING
) -> Iterator[http.client.HTTPResponse]:
    """Ask for an address, with redirects followed; `networks` says from where (None: anywhere).

    `asked` are further headers.

    Raises :class:`~gateway.imagestore.networks.ForbiddenError`, OSError (TimeoutError for
    silence), http.client.HTTPException, and ValueError for what is not an address.
    """
    request = urllib.request.Request(  # noqa: S310 - the opener below knows http and https only
        address,
        headers={
            "User-Agent": f"condor-cloud/{__version__}",
            "Accept-Encoding": "identity",
            **asked,
        },
    )
    opened: list[socket.socket] = []
    with contextlib.ExitStack() as held:
        with _limited(opened):
            opener = _opener(_Handler(networks, opened))
            held.enter_context(response := opener.open(request, timeout=SILENCE))
        yield response


def _opener(handler: urllib.request.AbstractHTTPHandler) -> urllib.request.OpenerDirector:
    """Return an opener for http and https: a redirect leads neither to files nor to ftp."""
    opener = urllib.request.OpenerDirector()
    for each in (
        urllib.request.ProxyHandler(),
        handler,
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(each)
    return opener


@contextlib.contextmanager
def _limited(opened: list[socket.socket]) -> Iterator[None]:
    """Cut the connections when the limit comes: a server that drips headers is never silent."""
    began = time.monotonic()
    timer = threading.Timer(ANSWER, _cut, [opened])
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError):
        _check_time(began)
        raise
    finally:
        timer.cancel()
        timer.join()
        for connection in opened:
            connection.close()
    # Headers that were cut look as if they were complete.
    _check_time(began)


def _check_time(began: float) -> None:
    if time.monotonic() - began >= ANSWER:
        raise TimeoutError from None


def _cut(opened: list[socket.socket]) -> None:
    for connection in list(opened):
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


class _Handler(urllib.request.AbstractHTTPHandler):
    """Opens what a request, or a redirect, names; asked again for each redirect."""

    def __init__(self, networks: Networks | None, opened: list[socket.socket]) -> None:
        super().__init__()
        self._networks = networks
        self._opened = opened

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(_Connection, request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(_TLSConnection, request)

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def _open(
        self, kind: type[_Connection], request: urllib.request.Request
    ) -> http.client.HTTPResponse:
        networks = self._networks
        proxied = request.has_proxy() or getattr(request, "_tunnel_host", None)
        if networks is not None and proxied:
            # The administrator's proxy may be anywhere.
            networks.check(unquote(urlsplit(request.full_url).hostname or ""))
            networks = None

        def connection(host: str, /, **options: Any) -> http.client.HTTPConnection:
            made = kind(host, **options)
            made.networks = networks
            made.opened = self._opened
            return made

        return self.do_open(connection, request)


class _Connection(http.client.HTTPConnection):
    """A connection to where the rule allows; `networks` None: to anywhere."""

    networks: Networks | None
    opened: list[socket.socket]

    def connect(self) -> None:
        if self.networks is None:
            super().connect()
        else:
            self.sock = self.networks.connect(self.host, self.port, SILENCE)
        # Another descriptor of the same connection, which TLS will not take over.
        self.opened.append(self.sock.dup())


class _TLSConnection(http.client.HTTPSConnection, _Connection):
    """The same with TLS for the name in the address, whatever it was looked up as."""
