# SPDX-License-Identifier: Apache-2.0
"""The node link: what a supervisor asks of the gateway, over one TLS connection kept open."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from execnode.exits import CLAIM_REFUSED, GATEWAY_UNREACHABLE, NODE_ERROR, EndedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from execnode.config import NodeConfig

CLAIM_SECONDS = 60.0
ANSWER_SECONDS = 20.0
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
_TROUBLE = (OSError, http.client.HTTPException, ValueError)


class LinkError(Exception):
    """The gateway did not answer, or answered nonsense."""


class NoSuchError(LinkError):
    """The gateway knows no such thing (404)."""


class NodeLink:
    """A client of the node link; used by one thread at a time."""

    def __init__(self, config: NodeConfig, seconds: float = ANSWER_SECONDS) -> None:
        address = urlsplit(config.gateway)
        # Only the gateway's own certificate is trusted: no store of authorities is read.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=str(config.ca_file))
        self._connection = http.client.HTTPSConnection(
            address.hostname or "",
            address.port or 443,
            timeout=seconds,
            context=context,
        )
        self._headers = {
            "Authorization": f"Bearer {config.token_file.read_text().strip()}",
            "Content-Type": "application/json",
        }

    def claim(self, instance: str, body: Mapping[str, object]) -> Any:
        """Claim a run for this process and return the answer's JSON; tries for CLAIM_SECONDS."""
        deadline = time.monotonic() + CLAIM_SECONDS
        pause = FIRST_PAUSE
        while True:
            try:
                status, answer = self._exchange("POST", f"/v1/instances/{instance}/claim", body)
                trouble = f"It answered {status}."
                _settle_claim(status, answer)
                if status == 200:
                    return answer
            except ssl.SSLCertVerificationError as error:
                raise EndedError(GATEWAY_UNREACHABLE, f"{error.verify_message}.") from error
            except _TROUBLE as error:
                trouble = f"{type(error).__name__}: {error}"
            if time.monotonic() + pause > deadline:
                raise EndedError(GATEWAY_UNREACHABLE, trouble)
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def image(self, path: str, chunk: int, start: int) -> Iterator[bytes]:
        """Yield an image's bytes from byte start on, at most chunk at a time."""
        wanted = {"Range": f"bytes={start}-"} if start else {}
        try:
            response = self._open("GET", path, None, wanted)
            if response.status == 404:
                raise NoSuchError(_message(json.loads(response.read())))
            left_out = _skipped(response, start)
            while data := response.read(chunk):
                if left_out < start:  # a proxy may ignore the range and begin at the beginning
                    data, left_out = data[start - left_out :], left_out + len(data)
                if data:
                    yield data
        except _TROUBLE as error:
            raise LinkError(f"{type(error).__name__}: {error}") from error
        finally:
            self._connection.close()

    def push_console(self, instance: str, run: int, nonce: str, offset: int, data: bytes) -> None:
        """Send console output that begins at byte offset of all that the guest wrote."""
        text = base64.b64encode(data).decode()
        body = {"run": run, "nonce": nonce, "offset": offset, "data": text}
        try:
            status, _ = self._exchange("POST", f"/v1/instances/{instance}/console", body)
        except _TROUBLE as error:
            raise LinkError(f"{type(error).__name__}: {error}") from error
        if status in {404, 409}:
            raise NoSuchError(f"The gateway wants no more of this console ({status}).")
        if status not in {200, 204}:
            raise LinkError(f"The gateway answered {status} for the console.")

    def commands(self, instance: str, run: int, nonce: str, taken: list[int]) -> Any:
        """Say which commands were taken; return the answer's JSON, which has the others."""
        body = {"run": run, "nonce": nonce, "taken": taken}
        return self._asked(f"/v1/instances/{instance}/commands", body)

    def settle_disk(self, instance: str, run: int, nonce: str, code: str) -> bool:
        """Ask whether the disk of a run that ended with this code may be removed."""
        body = {"run": run, "nonce": nonce, "code": code}
        answer = self._asked(f"/v1/instances/{instance}/disk", body)
        return isinstance(answer, dict) and answer.get("disk") == "remove"

    def take_disk(self, instance: str, run: int, nonce: str) -> None:
        """Say that the node has the whole disk, which the store need not keep."""
        self._asked(f"/v1/instances/{instance}/disk-taken", {"run": run, "nonce": nonce})

    def useless_disks(self, instances: list[str]) -> set[str]:
        """Return those of the instances whose disks will never be needed again."""
        answer = self._asked("/v1/disks", {"instances": instances})
        named = answer.get("useless") if isinstance(answer, dict) else None
        return set(named if isinstance(named, list) else []) & set(instances)

    def push_screenshot(
        self, instance: str, run: int, nonce: str, command: int, picture: bytes
    ) -> None:
        """Send the picture that a command asked for, a PNG or PPM."""
        data = base64.b64encode(picture).decode()
        body = {"run": run, "nonce": nonce, "command": command, "data": data}
        self._asked(f"/v1/instances/{instance}/screenshot", body)

    def report_copy(self, path: str, body: dict[str, object]) -> int:
        """Tell how a copy of a disk is; return how many of its bytes are there."""
        return _bytes_there(self._asked(path, body))

    def send_copy(self, path: str, piece: bytes, begin: int, size: int) -> int:
        """Send a part of a copy of so many bytes; return how many of them are there now."""
        span = {"Content-Range": f"bytes {begin}-{begin + len(piece) - 1}/{size}"}
        span |= {"Content-Type": "application/octet-stream"}
        try:
            response = self._open("PUT", path, piece, span)
            content = response.read()
            answer = json.loads(content) if content else None
        except _TROUBLE as error:
            self._connection.close()
            raise LinkError(f"{type(error).__name__}: {error}") from error
        return _bytes_there(_settled(response.status, answer))

    def await_commands(
        self, after: int, seconds: int, prefetching: list[int], errands: list[int]
    ) -> Any:
        """Return what is wanted of this node; may wait so many seconds for something new.

        New are commands above the number ``after``, images to be cached and errands, but for those
        whose numbers are in ``prefetching`` and ``errands``.
        """
        body: dict[str, object] = {"after": after, "wait": seconds}
        body |= {"prefetching": prefetching, "errands": errands}
        return self._asked("/v1/commands", body)

    def prefetched(self, number: int, state: str, done: int, message: str) -> None:
        """Say how far the caching of an image is: ``fetching``, ``cached``, ``failed``; bytes."""
        body = {"state": state, "bytes": done, "message": message}
        self._asked(f"/v1/prefetches/{number}", body)

    def _asked(self, path: str, body: object) -> Any:
        try:
            status, answer = self._exchange("POST", path, body)
        except _TROUBLE as error:
            raise LinkError(f"{type(error).__name__}: {error}") from error
        return _settled(status, answer)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _exchange(self, method: str, path: str, body: object) -> tuple[int, Any]:
        try:
            response = self._open(method, path, json.dumps(body).encode())
            content = response.read()
        except _TROUBLE:
            self._connection.close()
            raise
        return response.status, json.loads(content) if content else None

    def _open(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        self._connection.request(method, path, body, self._headers | (headers or {}))
        return self._connection.getresponse()


def _settle_claim(status: int, answer: object) -> None:
    if status in {404, 409}:
        raise EndedError(CLAIM_REFUSED, _message(answer))
    if status == 401:
        raise EndedError(NODE_ERROR, "The gateway does not accept this node's token.")
    if 400 <= status < 500:
        raise EndedError(NODE_ERROR, f"The gateway answered {status}: {_message(answer)}")


def _settled(status: int, answer: object) -> Any:
    if status in {404, 409}:
        raise NoSuchError(_message(answer))
    if status not in {200, 204}:
        raise LinkError(f"The gateway answered {status}: {_message(answer)}")
    return answer


def _bytes_there(answer: object) -> int:
    found = answer.get("bytes") if isinstance(answer, dict) else None
    if type(found) is not int or found < 0:
        raise LinkError("The gateway's answer is not understood.")
    return found


def _skipped(response: http.client.HTTPResponse, start: int) -> int:
    """Return how many of the first bytes an answer leaves out: start or 0; RFC 9110, 14.2."""
    if response.status == 200:
        return 0
    told = response.getheader("Content-Range", "")
    if response.status != 206 or not told.startswith(f"bytes {start}-"):
        raise LinkError(
            f"The gateway answered {response.status} {told}".rstrip() + " for the image."
        )
    return start


def _message(answer: object) -> str:
    return str(answer.get("message", "")) if isinstance(answer, dict) else ""
