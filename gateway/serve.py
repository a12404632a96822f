# SPDX-License-Identifier: Apache-2.0
"""``python -m gateway.serve ec2|deltacloud|nodelink|metrics``: an HTTP server, under gunicorn."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from gunicorn import util
from gunicorn.app.base import BaseApplication
from gunicorn.http import wsgi

from gateway import app, config
from gateway.context import WRITERS
from gateway.deltacloud import app as deltacloud
from gateway.metrics import requests
from gateway.nodelink import app as nodelink
from gateway.nodelink import credentials
from gateway.processes import LISTENER
from gateway.wire import model

if TYPE_CHECKING:
    from types import FrameType

    from flask import Flask

    from gateway.config import Settings

_PR_SET_PDEATHSIG = 1
# Claims and console reports are short. A download holds a thread for its length, and each node has
# one request that waits for commands; threads are made when they are needed.
_NODELINK_THREADS = 512
_EC2_THREADS = WRITERS + 2


class InOnePiece(wsgi.Response):
    """Sends an answer's head and body together.

    Between the two a worker may be killed. botocore takes a head without its body for an empty
    answer, which it cannot read and does not ask for again.
    """

    def write(self, arg: bytes) -> None:
        """Send the head, if it has not been sent, and ``arg``."""
        if self.headers_sent or self.chunked or len(arg) != self.response_length:
            super().write(arg)
            return
        lines = [*self.default_headers(), *(f"{name}: {value}\r\n" for name, value in self.headers)]
        util.write(self.sock, f"{''.join(lines)}\r\n".encode("latin-1") + arg)
        self.headers_sent = True
        self.sent += len(arg)


class Server(BaseApplication):
    """gunicorn with settings from code instead of its own command line."""

    def __init__(self, application: Flask, options: dict[str, Any]) -> None:
        """Serve ``application``; ``options`` are gunicorn's settings."""
        self._application = application
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        """Apply the options."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Return the application."""
        return self._application


def _options(name: str, host: str, port: int) -> dict[str, Any]:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    inherited = os.environ.get(LISTENER)
    return {
        "bind": address if inherited is None else f"fd://{inherited}",
        "worker_class": "gthread",
        "proc_name": f"condor-cloud-{name}",
        "preload_app": True,
        "keepalive": 65,
        "graceful_timeout": 3,
        "control_socket_disable": True,
        "post_fork": _die_with_arbiter,
        "loglevel": "warning",
        # A worker touches its heartbeat file several times a second: not on a disk.
        "worker_tmp_dir": "/dev/shm",  # noqa: S108 - gunicorn makes an unlinked file there
    }


def _die_with_arbiter(_server: object, _worker: object) -> None:
    # gunicorn's workers look for their parent now and then; the kernel does not need to look.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def serve_ec2(settings: Settings) -> None:
    """Serve the EC2 endpoint until SIGTERM."""
    model.load()  # before the fork, so that the workers share it
    requests.begin(settings)
    # gunicorn drops an application's Server header for its own, and EC2's clients look at it.
    wsgi.Response = InOnePiece  # type: ignore[misc]  # a class for a class
    wsgi.SERVER = "AmazonEC2"  # type: ignore[attr-defined]  # missing in types-gunicorn
    options = _options("ec2", settings.host, settings.port)
    # User data in a GET is longer than gunicorn's default. 0 is 1 MiB to it, as for a body.
    options |= {"workers": settings.workers, "threads": _EC2_THREADS, "limit_request_line": 0}
    Server(app.create_app(settings), options).run()


def serve_deltacloud(settings: Settings) -> None:
    """Serve the Deltacloud API until SIGTERM."""
    wsgi.SERVER = deltacloud.SERVER  # type: ignore[attr-defined]  # missing in types-gunicorn
    options = _options("deltacloud", settings.host, settings.deltacloud_port)
    # Clients put user data into the address. 0 is 1 MiB to gunicorn; the application allows less.
    options |= {"workers": 1, "threads": _EC2_THREADS, "limit_request_line": 0}
    Server(deltacloud.create_app(settings), options).run()


def serve_metrics(settings: Settings) -> None:
    """Serve the metrics until SIGTERM."""
    # Imported here: in the EC2 endpoint's process it would be too early (requests.begin).
    from gateway.metrics import app as metrics  # noqa: PLC0415

    options = _options("metrics", settings.metrics_host, settings.metrics_port)
    options |= {"workers": 1, "threads": 2}
    Server(metrics.create_app(settings), options).run()


def serve_nodelink(settings: Settings) -> None:
    """Serve the node link until SIGTERM."""
    options = _options("nodelink", settings.nodelink_host, settings.nodelink_port)
    options |= {
        "workers": 1,
        "threads": _NODELINK_THREADS,
        "certfile": str(credentials.certificate(settings)),
        "keyfile": str(credentials.private_key(settings)),
    }
    application = nodelink.create_app(settings)

    def let_waiting_go(_worker: object) -> None:
        # What waits for commands would hold up the worker's end for graceful_timeout.
        ended = signal.getsignal(signal.SIGTERM)

        def end(number: int, frame: FrameType | None) -> None:
            application.extensions["doorbell"].close()
            if callable(ended):
                ended(number, frame)

        signal.signal(signal.SIGTERM, end)

    options["post_worker_init"] = let_waiting_go
    Server(application, options).run()


def main() -> None:
    """Serve what the first argument names."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    served = {
        "ec2": serve_ec2,
        "deltacloud": serve_deltacloud,
        "nodelink": serve_nodelink,
        "metrics": serve_metrics,
    }
    served[sys.argv[1]](config.load())


if __name__ == "__main__":
    main()
