# SPDX-License-Identifier: Apache-2.0
"""The node link's requests: claim a run, fetch an image, report output, take commands."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from gateway.cloud import console, ends, errands, metadata, parking, prefetches, zones
from gateway.imagestore import stores
from gateway.imagestore.store import MissingError, StoreError
from gateway.nodelink import bodies, credentials, delivery, pictures
from gateway.nodelink.bodies import Refused
from gateway.nodelink.captures import FRESH, CaptureRequests
from gateway.nodelink.doorbell import Doorbell
from gateway.nodelink.parkings import ParkingRequests, settle
from gateway.nodelink.spec import errand_document, image_document, specification
from gateway.store import commands, database, images, instances, nodes, screenshots

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.imagestore.store import ImageStore

# The largest is a picture of a display, which a node bounds to 8 MiB before base64.
LARGEST_REQUEST = 12 << 20
LONGEST_WAIT = 60.0
LONGEST_NAME = 255
LONGEST_MESSAGE = 500
_SHA256 = re.compile(r"[0-9a-f]{64}")
_JOB = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})")


class _News(NamedTuple):
    """What a node's listener is told of."""

    commands: list[tuple[int, str]]
    images: list[prefetches.Wanted]
    errands: list[errands.Errand]


class NodeLink:
    """The requests; one object for each process that serves them."""

    def __init__(self, settings: Settings) -> None:
        """Serve from the settings' database and image store."""
        self.settings = settings
        self.engine = database.engine(settings.database)
        self.doorbell = Doorbell(settings, self.engine)
        self.captures = CaptureRequests(settings, self.engine)
        self.parkings = ParkingRequests(settings, self.engine)

    def authenticate(self) -> None:
        """Refuse a request without a node's token."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        with database.reading(self.engine) as db:
            node = nodes.get_by_token(db, credentials.token_hash(token)) if token else None
        if scheme != "Bearer" or node is None or node.revoked_at is not None:
            raise Refused(401, "unknown-node", "The node's token is not accepted.")
        g.node = node

    def claim(self, instance_id: str) -> Response:
        """Give a run to the supervisor that asks first; the same one may ask again."""
        body = bodies.read()
        run, nonce = bodies.typed(body, "run", int), bodies.typed(body, "nonce", str)
        host, now = bodies.typed(body, "node", str)[:LONGEST_NAME], datetime.now(UTC)
        with database.writing(self.engine) as db:
            instance = bodies.instance(db, instance_id)
            mine = instance.run == run and instance.claim_nonce == nonce
            given_up = instance.submit_state in {"unwanted", "lost"}
            if instance.wanted != "running" or instance.state == "terminated" or given_up:
                raise Refused(409, "claim-refused", f"{instance_id} shall not run.")
            if not mine and not instances.update_claim(
                db, instance_id, run, nonce=nonce, host=host, node=g.node.name, at=now
            ):
                raise Refused(
                    409, "claim-refused", f"Run {run} of {instance_id} was claimed before."
                )
            if job := _JOB.fullmatch(bodies.typed(body, "job", str)):
                # Should a launch have become two jobs, the one that claims is the instance's.
                instances.update_job(db, instance_id, int(job[1]), int(job[2]))
            zone = zones.of_node(body.get("zone"), self.settings.availability_zone)
            if zone not in {None, instance.availability_zone}:
                instances.update_zone(db, instance_id, str(zone))
                instance = bodies.instance(db, instance_id)
            parking.claimed(db, instance, g.node.name)
            return jsonify(specification(db, self.settings, instance))

    def report_console(self, instance_id: str) -> Response:
        """Take console output from the supervisor that has the run."""
        body = bodies.read()
        run, nonce = bodies.typed(body, "run", int), bodies.typed(body, "nonce", str)
        offset = bodies.typed(body, "offset", int)
        try:
            data = base64.b64decode(bodies.typed(body, "data", str), validate=True)
        except binascii.Error:
            raise Refused(400, "bad-request", "data is not base64.") from None
        with database.writing(self.engine) as db:
            instance = bodies.instance(db, instance_id)
            if (instance.run, instance.claim_nonce) != (run, nonce):
                raise Refused(409, "claim-refused", "Another supervisor runs this instance.")
            console.append(db, instance_id, run, offset=offset, data=data, now=datetime.now(UTC))
        return Response(status=204)

    def report_screenshot(self, instance_id: str) -> Response:
        """Take the picture of a display from the supervisor that has the run."""
        body = bodies.read()
        run, nonce = bodies.typed(body, "run", int), bodies.typed(body, "nonce", str)
        number = bodies.typed(body, "command", int)
        try:
            jpeg = pictures.to_jpeg(
                base64.b64decode(bodies.typed(body, "data", str), validate=True)
            )
        except binascii.Error:
            raise Refused(400, "bad-request", "data is not base64.") from None
        except pictures.PictureError as error:
            raise Refused(400, "bad-request", str(error)) from error
        with database.writing(self.engine) as db:
            instance = bodies.instance(db, instance_id)
            if (instance.run, instance.claim_nonce) != (run, nonce):
                raise Refused(409, "claim-refused", "Another supervisor runs this instance.")
            if not screenshots.update(db, number, instance_id, jpeg):
                raise Refused(404, "no-such-command", "Nobody waits for this picture.")
        return Response(status=204)

    def await_commands(self) -> Response:
        """Tell a node which of its instances have commands above a number; wait for some."""
        body = bodies.read()
        after, seconds = bodies.typed(body, "after", int), bodies.typed(body, "wait", int)
        # A node that is older than this caches nothing before it is needed, or does no errands.
        under_way = bodies.numbers(body, "prefetching") if "prefetching" in body else None
        doing = bodies.numbers(body, "errands") if "errands" in body else None
        node, now = g.node, datetime.now(UTC)
        if node.contacted_at is None or now - node.contacted_at > FRESH:
            with database.writing(self.engine) as db:
                nodes.update_contacted(db, node.name, now)
        self._note_under_way(node.name, under_way or [], doing or [], now)

        def look() -> _News | None:
            with database.reading(self.engine) as db:
                found = _News(
                    commands.select_of_node(db, node.name, after),
                    prefetches.wanted(db, node.name, under_way),
                    [] if doing is None else errands.wanted(db, node.name, doing),
                )
            return found if any(found) else None

        news = self.doorbell.wait(look, min(seconds, LONGEST_WAIT)) or _News([], [], [])
        last = max([after, *(number for number, _ in news.commands)])
        told: dict[str, Any] = {
            "last": last,
            "instances": sorted({name for _, name in news.commands}),
        }
        if under_way is not None:
            told["prefetch"] = [
                {"id": one.id, "image": image_document(image)} for one, image in news.images
            ]
        if doing is not None:
            told["errands"] = [errand_document(one) for one in news.errands]
        return jsonify(told)

    def prefetched(self, number: int) -> Response:
        """Write down how far a node is with an image that it shall cache."""
        body = bodies.read()
        state, done = bodies.typed(body, "state", str), bodies.typed(body, "bytes", int)
        message = bodies.typed(body, "message", str)[:LONGEST_MESSAGE]
        if state not in prefetches.TOLD:
            raise Refused(400, "bad-request", "state is not one that a node tells.")
        with database.writing(self.engine) as db:
            told = prefetches.Told(state, done, message or None)
            if not prefetches.tell(db, number, g.node.name, told, datetime.now(UTC)):
                raise Refused(404, "no-such-prefetch", f"Nobody waits for prefetch {number}.")
        return jsonify({})

    def _note_under_way(
        self, node: str, numbers: list[int], doing: list[int], now: datetime
    ) -> None:
        with database.reading(self.engine) as db:
            news = prefetches.not_taken(db, node, numbers) if numbers else []
            old = errands.unnoted(db, node, doing, now) if doing else []
        if news or old:
            with database.writing(self.engine) as db:
                prefetches.take(db, news, now)
                errands.note(db, old, now)

    def take_commands(self, instance_id: str) -> Response:
        """Forget the commands that a supervisor has taken; tell it those that it has not."""
        body = bodies.read()
        run, nonce = bodies.typed(body, "run", int), bodies.typed(body, "nonce", str)
        taken = bodies.numbers(body, "taken")
        with database.writing(self.engine) as db:
            instance = bodies.instance(db, instance_id)
            if (instance.run, instance.claim_nonce) != (run, nonce):
                raise Refused(409, "claim-refused", "Another supervisor runs this instance.")
            commands.delete_taken(db, instance_id, run, taken)
            metadata.taken(db, instance)
            found = commands.select(db, instance_id, run)
            told = metadata.document(db, self.settings, instance)
        listed = [{"id": c.id, "verb": c.verb, "grace": c.grace} for c in found]
        return jsonify({"commands": listed, "metadata": told})

    def settle_disk(self, instance_id: str) -> Response:
        """Tell a supervisor whose run ends whether the disk is kept."""
        body = bodies.read()
        run, nonce = bodies.typed(body, "run", int), bodies.typed(body, "nonce", str)
        how = bodies.typed(body, "code", str)
        with database.writing(self.engine) as db:
            instance = bodies.instance(db, instance_id)
            known = instance.claim_nonce == nonce or parking.is_settled(instance, nonce)
            if instance.run != run or not known:
                raise Refused(409, "claim-refused", "Another supervisor runs this instance.")
            kept = instance.state != "terminated" and ends.becomes(instance, how) == "stopped"
            kept = settle(db, instance, nonce, kept=kept)
        return jsonify({"disk": "keep" if kept else "remove"})

    def useless_disks(self) -> Response:
        """Tell a node which of the instances it names will never need a disk again."""
        names = bodies.typed(bodies.read(), "instances", list)
        if not all(isinstance(name, str) for name in names):
            raise Refused(400, "bad-request", "instances is not a list of ids.")
        with database.reading(self.engine) as db:
            found = ((name, instances.get(db, name)) for name in names)
            useless = [name for name, one in found if one is None or one.state == "terminated"]
        return jsonify({"useless": useless})

    def fetch_image(self, sha256: str) -> Response:
        """Send an image's bytes, or the range that is asked for."""
        with database.reading(self.engine) as db:
            known = _SHA256.fullmatch(sha256) and images.get_by_sha256(db, sha256)
        if not known:
            raise Refused(404, "no-such-image", f"There is no image with the bytes {sha256}.")
        return self._send(sha256)

    def fetch_disk(self, instance_id: str) -> Response:
        """Send the disk that the store has of an instance, to the node that is to start it."""
        return self._send(self.parkings.content(instance_id))

    def _send(self, sha256: str) -> Response:
        try:
            return delivery.send(self.store, sha256)
        except MissingError as error:
            raise Refused(404, "no-such-image", str(error)) from error
        except StoreError as error:
            # Not the node's fault and perhaps over soon: it asks again.
            raise Refused(503, "store-unavailable", str(error)) from error

    @cached_property
    def store(self) -> ImageStore:
        """Return the image store, opened in the process that serves from it."""
        return stores.of(self.settings)


def create_app(settings: Settings) -> Flask:
    """Return the node link as a WSGI application."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_REQUEST
    link = NodeLink(settings)
    app.extensions["doorbell"] = link.doorbell
    app.before_request(link.authenticate)
    app.post("/v1/instances/<instance_id>/claim")(link.claim)
    app.post("/v1/instances/<instance_id>/console")(link.report_console)
    app.post("/v1/instances/<instance_id>/screenshot")(link.report_screenshot)
    app.post("/v1/instances/<instance_id>/commands")(link.take_commands)
    app.post("/v1/instances/<instance_id>/disk")(link.settle_disk)
    app.post("/v1/disks")(link.useless_disks)
    app.post("/v1/commands")(link.await_commands)
    app.post("/v1/prefetches/<int:number>")(link.prefetched)
    app.get("/v1/images/<sha256>")(link.fetch_image)
    app.post("/v1/captures/<int:number>")(link.captures.report_capture)
    app.put("/v1/captures/<int:number>")(link.captures.take_capture)
    app.post("/v1/parkings/<int:number>")(link.parkings.report_parking)
    app.put("/v1/parkings/<int:number>")(link.parkings.take_parking)
    app.get("/v1/instances/<instance_id>/disk")(link.fetch_disk)
    app.post("/v1/instances/<instance_id>/disk-taken")(link.parkings.taken)
    app.register_error_handler(Refused, _refused)
    app.register_error_handler(HTTPException, _wrong)
    return app


def _refused(error: Refused) -> tuple[Response, int]:
    return jsonify({"error": error.slug, "message": error.message}), error.status


def _wrong(error: HTTPException) -> tuple[Response, int]:
    answer = {"error": "bad-request", "message": str(error.description)}
    return jsonify(answer), error.code or 500
