# SPDX-License-Identifier: Apache-2.0
"""What a front end's functions know beside the parameters of a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from gateway.cloud import flavors, quotas, zones
from gateway.cloud.image_sources import ImageSources
from gateway.store import database
from gateway.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from gateway.cloud.flavors import Flavor
    from gateway.cloud.zones import Zone
    from gateway.config import Settings

WRITERS = 6
"""Threads of a server's process that may write, or wait to; the others are left for readers."""


@dataclass(frozen=True)
class Gateway:
    """What all requests of a process share."""

    settings: Settings
    database: Engine
    flavors: Mapping[str, Flavor]
    throttle: Throttle

    @classmethod
    def of(cls, settings: Settings) -> Gateway:
        """Return what the settings say; the database must have been brought up to date.

        Raises :class:`gateway.cloud.flavors.FlavorsError` for a table of types that cannot be read.
        """
        return cls(
            settings,
            database.engine(settings.database, writers=WRITERS),
            flavors.load(settings.types_file),
            Throttle.of(settings),
        )

    @property
    def image_sources(self) -> ImageSources:
        """The files and objects that a tenant may name as images."""
        return ImageSources.of(self.settings.image_sources, self.settings.image_source_buckets)


@dataclass(frozen=True)
class Context:
    """One request: who asks, in which transaction, when; ``wakes`` are told after its commit."""

    gateway: Gateway
    db: Connection
    account_id: str
    now: datetime
    wakes: set[str] = field(default_factory=set, kw_only=True)

    @property
    def settings(self) -> Settings:
        """The gateway's settings."""
        return self.gateway.settings

    @cached_property
    def zones(self) -> list[Zone]:
        """The availability zones by name, as the account has them."""
        return zones.known(self.db, self.settings.availability_zone, self.account_id)

    @property
    def zone_names(self) -> list[str]:
        """Their names."""
        return [zone.name for zone in self.zones]

    @property
    def limits(self) -> Mapping[str, int]:
        """What the account may have; for a writing request, before it adds something."""
        return quotas.binding(self.db, self.account_id, self.settings)

    @property
    def terminated_after(self) -> datetime:
        """Instances that were terminated before this are not described any more."""
        return self.now - timedelta(seconds=self.settings.terminated_kept)
