# SPDX-License-Identifier: Apache-2.0
"""The node link's requests about disks that the store keeps: sent, removed, fetched, taken."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flask import Response, g, jsonify

from gateway import wake
from gateway.cloud import parking
from gateway.imagestore import arrivals
from gateway.imagestore.store import StoreFullError
from gateway.nodelink import bodies
from gateway.nodelink.bodies import Refused
from gateway.nodelink.captures import read_piece
from gateway.store import database

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from gateway.config import Settings
    from gateway.store.instances import Instance

# Of a firmware's variables; OVMF's are 528 KiB.
MOST_NVRAM = 16 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ParkingRequests:
    """The requests about parkings; one object for each process that serves them."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        """Serve from the settings' arrivals and ``engine``'s database."""
        self.settings = settings
        self.engine = engine

    def report_parking(self, number: int) -> Response:
        """Hear that all of a disk was sent, why it will not be, or that what is left is removed."""
        body = bodies.read()
        if "removes" in body:
            return self._remove(number, over=bodies.typed(body, "removes", str) == "done")
        self._check_expected(number)
        if "error" in body:
            self._fail(number, bodies.typed(body, "error", str))
            return jsonify({"bytes": 0})
        here = arrivals.size(self.settings, number)
        if "sha256" in body and here == bodies.typed(body, "size", int):
            what = parking.Arrived(
                here, bodies.typed(body, "nvram_bytes", int), bodies.typed(body, "sha256", str)
            )
            nvram = what.nvram_bytes < what.size and what.nvram_bytes <= MOST_NVRAM
            if not _SHA256.fullmatch(what.sha256) or not nvram:
                raise Refused(400, "bad-request", "sha256 or nvram_bytes is not what it can be.")
            with database.writing(self.engine) as db:
                found = parking.expected(db, number, g.node.name)
                if found is None:
                    raise _nobody(number)
                parking.arrived(db, found, what)
            wake.notify(self.settings, "importer")
        return jsonify({"bytes": here})

    def take_parking(self, number: int) -> Response:
        """Write a piece of a disk; tell how much of it is here."""
        begin, data, whole = read_piece()
        self._check_expected(number)
        try:
            here = arrivals.put(self.settings, number, begin, data, whole)
        except StoreFullError as error:
            self._fail(number, str(error))
            raise Refused(404, "no-such-parking", str(error)) from error
        return jsonify({"bytes": here})

    def taken(self, instance_id: str) -> Response:
        """Hear from the supervisor of a run that its node has the whole disk."""
        body = bodies.read()
        run, nonce = bodies.typed(body, "run", int), bodies.typed(body, "nonce", str)
        # The guest writes to that disk from this answer on, and the store forgets its own.
        with database.writing(self.engine, durably=True) as db:
            instance = bodies.instance(db, instance_id)
            if (instance.run, instance.claim_nonce) != (run, nonce):
                raise Refused(409, "claim-refused", "Another supervisor runs this instance.")
            if not parking.taken(db, instance):
                raise Refused(409, "claim-refused", "The run is over.")
        wake.notify(self.settings, "importer")
        return jsonify({})

    def content(self, instance_id: str) -> str:
        """Return the SHA-256 of the disk that an instance's node may fetch."""
        with database.reading(self.engine) as db:
            instance = bodies.instance(db, instance_id)
            found = parking.get(db, instance)
        if found is None or found.sha256 is None or instance.claimed_by != g.node.name:
            raise Refused(404, "no-such-disk", f"The store has no disk of {instance_id} for you.")
        return found.sha256

    def _remove(self, number: int, *, over: bool) -> Response:
        with database.writing(self.engine) as db:
            if not parking.may_remove(db, number, g.node.name):
                raise _nobody(number)
            if over:
                parking.removed(db, number)
        return jsonify({"bytes": 0})

    def _fail(self, number: int, reason: str) -> None:
        with database.writing(self.engine) as db:
            parking.fail(db, number, reason)
        arrivals.remove(self.settings, number)

    def _check_expected(self, number: int) -> None:
        with database.reading(self.engine) as db:
            if parking.expected(db, number, g.node.name) is None:
                raise _nobody(number)


def settle(db: Connection, instance: Instance, nonce: str, *, kept: bool) -> bool:
    """Return whether the disk of a run that ends is kept on its node.

    One that the store has as well is not; after that word the run cannot take it any more.
    """
    if kept and instance.parked:
        parking.settled(db, instance._replace(claim_nonce=nonce))
    return kept and not instance.parked


def _nobody(number: int) -> Refused:
    return Refused(404, "no-such-parking", f"Nobody waits for the disk {number}.")
