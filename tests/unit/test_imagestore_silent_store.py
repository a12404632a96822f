# SPDX-License-Identifier: Apache-2.0
"""A store whose server says nothing while a file is on its way to it."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import s3_servers
from imagestore_world import MIB, Handler, served_by

from gateway.imagestore import s3
from gateway.imagestore.objects import ObjectStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UPLOAD = b"<InitiateMultipartUploadResult><UploadId>one</UploadId></InitiateMultipartUploadResult>"
LARGE = bytes(40 * MIB)


class Silent(Handler):
    """Begins uploads, and answers to their parts when it may; hears that one is given up."""

    asked: ClassVar[list[str]] = []
    ends: ClassVar[threading.Event] = threading.Event()
    parts: ClassVar[threading.Semaphore] = threading.Semaphore(0)

    def do_HEAD(self) -> None:  # noqa: N802 - its name there
        self._answer(404, b"")

    def do_POST(self) -> None:  # noqa: N802
        self._answer(200, UPLOAD)

    def do_PUT(self) -> None:  # noqa: N802
        self.parts.release()
        self.ends.wait()
        self._answer(200, b"", ETag='"part"')

    def do_DELETE(self) -> None:  # noqa: N802
        self._answer(204, b"")

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.asked.append(self.command)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    Silent.asked.clear()
    Silent.ends.clear()
    while Silent.parts.acquire(blocking=False):
        pass
    with served_by(Silent) as port:
        options = s3_servers.options(f"http://127.0.0.1:{port}", tmp_path / "store.toml")
        yield ObjectStore("s3://images", str(options), tmp_path / "staging")
        Silent.ends.set()


def test_nobody_waits_for_it_once_the_file_is_not_wanted(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_LOOK", 0.05)
    monkeypatch.setattr(s3, "_LAST_WORD", 0.2)
    told: list[int] = []

    def stored(size: int) -> None:
        told.append(size)
        # All that it takes at once is on its way, and nobody asks for more.
        if len(told) > 2 and told[-1] == told[-3]:
            raise KeyboardInterrupt

    with store.upload(len(LARGE)) as upload:
        upload.write(LARGE)
        with pytest.raises(KeyboardInterrupt):
            upload.commit(stored)
    assert Silent.parts.acquire(timeout=30)
    assert not Silent.ends.is_set()


def test_a_signal_has_the_server_forget_what_it_has(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_LOOK", 0.05)
    wait = asyncio.wait

    async def answered(sending: set[asyncio.Future[Any]], timeout: float) -> Any:  # noqa: ASYNC109 - asyncio's
        if timeout == s3._LAST_WORD:
            Silent.ends.set()  # the signal has come, and not before does the server answer
        return await wait(sending, timeout=timeout)

    monkeypatch.setattr(asyncio, "wait", answered)

    def interrupt() -> None:
        assert Silent.parts.acquire(timeout=30)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    with store.upload() as upload:
        # More than is on its way at once.
        for _ in range(4):
            upload.write(LARGE)
        sender.start()
        with pytest.raises(KeyboardInterrupt):
            upload.commit()
    sender.join()
    assert "DELETE" in Silent.asked
    assert Silent.asked.count("POST") == 1  # begun, and not completed
