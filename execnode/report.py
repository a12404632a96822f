# SPDX-License-Identifier: Apache-2.0
"""Reports to the gateway: one line of JSON each into the job's event log.

HTCondor's starter takes them on a loopback port with a cookie that it left in a file (the Chirp
protocol, one word-escaped command a line, answered by a number). They are sent from a thread, in
order, and tried again while the submit machine is away: a supervisor never waits for one, except
for the last.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path
from queue import SimpleQueue

PREFIX = "condor-cloud "
LINE_LIMIT = 900  # characters
WORD_LIMIT = 1000  # characters as they travel: a Chirp line holds 1024 bytes
ANSWER_SECONDS = 10.0
LONGEST_PAUSE = 2.0


class ReportError(Exception):
    """The starter did not take the line."""


def line(instance: str, run: int, event: str, when: float, facts: dict[str, object]) -> str:
    """Return a report's text; a message that makes it too long is cut."""
    document = {"v": 1, "instance": instance, "run": run, "event": event, "t": round(when, 3)}
    text = PREFIX + json.dumps(document | facts, separators=(",", ":"))
    message = facts.get("message")
    too_long = len(text) > LINE_LIMIT or len(_word(text)) > WORD_LIMIT
    if too_long and isinstance(message, str) and message:
        shorter = message[: len(message) * 3 // 4]
        return line(instance, run, event, when, facts | {"message": shorter})
    return text


def chirp_file() -> Path:
    """Return where the starter left host, port and cookie."""
    named = os.environ.get("_CONDOR_CHIRP_CONFIG")
    return Path(named or Path(os.environ.get("_CONDOR_SCRATCH_DIR", "."), ".chirp.config"))


def send(text: str, config: Path) -> None:
    """Write one line to the job's event log."""
    try:
        host, port, cookie = config.read_text().split()
        with socket.create_connection((host, int(port)), ANSWER_SECONDS) as starter:
            answers = starter.makefile("r")
            for command in (f"cookie {cookie}", f"ulog {_word(text)}"):
                starter.sendall(command.encode() + b"\n")
                answer = answers.readline()
                if not answer or int(answer) < 0:
                    raise ReportError(f"the starter answered {answer.strip() or 'nothing'}")
    except (OSError, ValueError) as error:
        raise ReportError(str(error)) from error


def _word(text: str) -> str:
    return "".join("\\" + c if c in " \t\r\n\\" else c for c in text)


class Reporter:
    """Sends the reports of one run from a thread of its own."""

    def __init__(self, instance: str, run: int, config: Path | None = None) -> None:
        self._instance = instance
        self._run = run
        self._config = config or chirp_file()
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="reports", daemon=True)
        self._thread.start()

    def send(self, event: str, **facts: object) -> None:
        """Queue a report."""
        self._lines.put(line(self._instance, self._run, event, time.time(), facts))

    def close(self, seconds: float) -> bool:
        """Wait until everything was sent, at most so long; False when it was not."""
        self._lines.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (text := self._lines.get()) is not None:
            pause = 0.1
            while True:
                try:
                    send(text, self._config)
                    break
                except ReportError:
                    time.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)
