# SPDX-License-Identifier: Apache-2.0
"""Every setting of the gateway: declared once, with its default and its reason.

A setting comes from, strongest first: the environment (``CONDOR_CLOUD_`` and the name in
capitals), the settings file (TOML, ``/etc/condor-cloud/gateway.toml`` or ``$CONDOR_CLOUD_CONFIG``),
the default here. The reference page and ``condor-cloud settings`` are made from this table.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import tomllib
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cloud.image_sources import ImageSources

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_FILE = Path("/etc/condor-cloud/gateway.toml")
ENVIRONMENT_PREFIX = "CONDOR_CLOUD_"
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - and how they are reached here
LOCAL_NAMES = ("127.0.0.1", "::1", "localhost")
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - only connected to
"""What stands for all addresses of a machine, and what it reaches itself by."""

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


class SettingsError(Exception):
    """A settings file or variable that cannot be understood; the text is one sentence."""


def _setting(default: Any, description: str) -> Any:
    return field(default=default, metadata={"help": description})


@dataclass(frozen=True)
class Settings:
    """The gateway's settings; see :func:`load`."""

    state_dir: Path = _setting(
        Path("/var/lib/condor-cloud"), "database, images, keys and logs live below this directory"
    )
    cache_dir: Path = _setting(
        Path("/var/cache/condor-cloud"),
        "what can be built again: the embedded pool's root, the demo guest, `make cloud-image`'s"
        " image; those that no start has used for 14 days are removed",
    )
    host: str = _setting("127.0.0.1", "address of the EC2 endpoint; loopback by default")
    port: int = _setting(8773, "port of the EC2 endpoint")
    deltacloud_port: int = _setting(
        3001, "port of the Deltacloud API, on the EC2 endpoint's address; 0: there is none"
    )
    nodelink_host: str = _setting("127.0.0.1", "address of the node link (HTTPS)")
    nodelink_names: str = _setting(
        "",
        "further names and addresses, joined by commas, for the node link's certificate; what"
        " nodes call must be among them when nodelink_host is 0.0.0.0 or ::",
    )
    nodelink_port: int = _setting(8774, "port of the node link")
    metrics_host: str = _setting("127.0.0.1", "address of the metrics for operators (HTTP)")
    metrics_port: int = _setting(8775, "port of the metrics; 0: there are none")
    metrics_token_file: str = _setting(
        "",
        "file with the token that whoever reads the metrics has to show (Authorization: Bearer);"
        " needed where metrics_host is not loopback",
    )
    workers: int = _setting(2, "gunicorn workers of the EC2 endpoint")
    region: str = _setting("condor", "the region's name, as clients see it")
    availability_zone: str = _setting(
        "condor-a", "availability zone of the nodes that name none (CONDOR_CLOUD_ZONE)"
    )
    database_url: str = _setting("", "SQLAlchemy URL; empty: SQLite in the state directory")
    instance_limit: int = _setting(10_000, "instances of an account that are not terminated")
    vcpu_limit: int = _setting(100_000, "vCPUs of an account's pending and running instances")
    image_limit: int = _setting(50_000, "registered images of an account; EC2's own number")
    image_bytes_limit: int = _setting(10 * 2**40, "bytes of an account's images in the store")
    key_pair_limit: int = _setting(5000, "key pairs of an account; EC2's own number")
    describe_rate: float = _setting(
        500.0, "describing requests of an account in a second, in the long run; 0: no limit"
    )
    describe_burst: int = _setting(5000, "describing requests of an account at once, after a rest")
    change_rate: float = _setting(
        200.0, "changing requests of an account in a second, in the long run; 0: no limit"
    )
    change_burst: int = _setting(2000, "changing requests of an account at once, after a rest")
    launch_rate: float = _setting(
        100.0, "instances that an account launches in a second, in the long run; 0: no limit"
    )
    launch_burst: int = _setting(10_000, "instances that an account launches at once, after a rest")
    image_store: str = _setting(
        "",
        "where images are kept: a directory, or a URL (s3://bucket/prefix; https://host/path, which"
        " is only read); empty: the directory images in state_dir",
    )
    image_store_options: str = _setting(
        "",
        "TOML file with what the store needs: endpoint, region, access_key_id, secret_access_key;"
        " nobody else should be able to read it",
    )
    stopped_disks: str = _setting(
        "node",
        "where disks of stopped instances are kept: node, where they are, as safe as that node is;"
        " store, sent to the image store after each stop, so that any node can start the instance",
    )
    image_sources: str = _setting(
        "",
        "directories, joined by colons, in which tenants may name image files; empty: any file"
        " that everybody on the machine can read",
    )
    image_source_buckets: str = _setting(
        "",
        "S3 buckets, or bucket/prefix, joined by commas, from which tenants may have images taken"
        " in; empty: none",
    )
    image_source_options: str = _setting(
        "",
        "TOML file with what reading those buckets needs, as image_store_options; nobody else"
        " should be able to read it",
    )
    image_source_networks: str = _setting(
        "",
        "networks, joined by commas, from which tenants may have images fetched besides public"
        " addresses; empty: loopback, as long as the EC2 endpoint is on loopback itself",
    )
    types_file: str = _setting("", "TOML file with more instance types; see flavors.toml")
    pool: str = _setting("", "an existing pool's collector (host:port); empty: the embedded pool")
    token_dir: str = _setting("", "directory with the IDTOKEN for that pool")
    event_log: str = _setting("", "the schedd's EVENT_LOG; empty: the embedded pool's")
    schedd_name: str = _setting("", "name of the schedd; empty: the first that the pool has")
    pool_port: int = _setting(9618, "port of the embedded pool's collector, on loopback")
    pool_network: str = _setting("10.77.0.0/24", "addresses of the embedded pool's guests")
    pool_bridge: str = _setting("condorcloud0", "bridge of the embedded pool's guests")
    guest_network: str = _setting(
        "",
        "network that the guests' addresses are in, as DescribeVpcs tells it; where nodes have"
        " several, one that holds them all; empty: pool_network",
    )
    cpu_overcommit: int = _setting(4, "CPUs that a node offers for each one it has")
    memory_overcommit: float = _setting(1.0, "memory that a node offers for what it has")
    node_wheel: str = _setting(
        "", "wheel of the node side for the embedded pool; empty: the one that came with this"
    )
    supervisor: str = _setting(
        "/usr/bin/condor-cloud-supervisor", "the supervisor's path on the nodes"
    )
    call_limit: float = _setting(20.0, "seconds that one call to HTCondor may take")
    reconcile_interval: float = _setting(30.0, "seconds between full looks at the queue")
    shutdown_grace: float = _setting(
        60.0,
        "seconds that a guest has to shut down when it is stopped or rebooted, before it is forced",
    )
    capacity_patience: float = _setting(
        900.0,
        "seconds that an instance waits for a node with room; then a launch ends, and a start is"
        " given up, with Server.InsufficientInstanceCapacity",
    )
    screenshot_wait: float = _setting(
        8.0, "seconds that GetConsoleScreenshot waits for the guest's node"
    )
    spot_notice: float = _setting(
        120.0,
        "seconds between the notice that a spot instance reads in its metadata and its end, when"
        " its room is needed",
    )
    terminated_kept: float = _setting(3600.0, "seconds that a terminated instance is described")
    image_size_limit: int = _setting(64 * 2**30, "bytes an image may have, real or virtual")

    @property
    def database(self) -> str:
        """The SQLAlchemy URL of the database."""
        return self.database_url or f"sqlite:///{self.state_dir / 'condor-cloud.db'}"

    @property
    def source_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Where images may be fetched from besides public addresses (docs/adr/0009)."""
        given = self.image_source_networks
        if not given and _is_loopback(self.host):
            given = "127.0.0.0/8,::1/128"
        return tuple(ip_network(part.strip()) for part in given.split(",") if part.strip())

    @property
    def guests(self) -> IPv4Network:
        """The network that the guests' addresses are in."""
        return IPv4Network(self.guest_network or self.pool_network)

    @property
    def certificate_names(self) -> tuple[str, ...]:
        """What the node link's certificate must be good for: names and addresses."""
        given = (part.strip() for part in f"{self.nodelink_host},{self.nodelink_names}".split(","))
        names = (*LOCAL_NAMES, *(name for name in given if name and name not in ANY_ADDRESS))
        return tuple(dict.fromkeys(names))

    @property
    def image_dir(self) -> Path:
        """Where images are on their way into the store, and stay without the setting for it."""
        return self.state_dir / "images"

    @property
    def arrival_dir(self) -> Path:
        """What nodes send, until it is in the image store."""
        return self.state_dir / "arrivals"

    @property
    def run_dir(self) -> Path:
        """Sockets and locks of the running gateway."""
        return self.state_dir / "run"

    @property
    def pool_dir(self) -> Path:
        """Everything of the embedded pool that is not in its cached root."""
        return self.state_dir / "pool"

    @property
    def collector(self) -> str:
        """The collector's address: the existing pool's or the embedded one's."""
        return self.pool or f"127.0.0.1:{self.pool_port}"

    @property
    def tokens(self) -> str:
        """Directory of the gateway's IDTOKEN; empty: HTCondor's usual ones."""
        return self.token_dir or ("" if self.pool else str(self.pool_dir / "share" / "tokens"))

    @property
    def event_log_file(self) -> Path:
        """The schedd's EVENT_LOG."""
        return Path(self.event_log) if self.event_log else self.pool_dir / "log" / "EventLog"

    @property
    def endpoint(self) -> str:
        """The EC2 endpoint's URL, as this machine reaches it."""
        return f"http://{_connectable(self.host)}:{self.port}"

    @property
    def deltacloud(self) -> str:
        """The Deltacloud API's URL, as this machine reaches it."""
        return f"http://{_connectable(self.host)}:{self.deltacloud_port}/api"


def _connectable(host: str) -> str:
    """Return an address to listen on as a URL has it: one to connect to, IPv6 in brackets."""
    reached = ANYWHERE.get(host, host)
    return f"[{reached}]" if ":" in reached else reached


def load(file: Path | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; raise :class:`SettingsError` for an unknown name or a wrong type."""
    named = file or (
        Path(environment["CONDOR_CLOUD_CONFIG"]) if "CONDOR_CLOUD_CONFIG" in environment else None
    )
    path = named or DEFAULT_FILE
    given: dict[str, Any] = {}
    if named is not None or path.exists():
        try:
            given.update(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"Settings file {path}: {error}") from error
    fields = {f.name: f for f in dataclasses.fields(Settings)}
    for name in fields:
        variable = ENVIRONMENT_PREFIX + name.upper()
        if variable in environment:
            given[name] = environment[variable]
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in fields:
            raise SettingsError(f"Settings file {path}: there is no setting named {name}.")
        values[name] = _converted(name, value, type(fields[name].default))
    settings = Settings(**values)
    _check(settings)
    return settings


def _check_sources(settings: Settings) -> None:
    try:
        _ = settings.source_networks
    except ValueError as error:
        raise SettingsError(f"Setting image_source_networks: {error}.") from None
    try:
        ImageSources.of("", settings.image_source_buckets)
    except ValueError as error:
        raise SettingsError(f"Setting image_source_buckets: {error}.") from None


def _check(settings: Settings) -> None:
    """Refuse what the types allow and the meaning does not."""
    _check_sources(settings)
    for name in ("pool_network", "guest_network"):
        try:
            IPv4Network(getattr(settings, name) or settings.pool_network)
        except ValueError as error:
            raise SettingsError(f"Setting {name}: {error}.") from None
    for kind in ("describe", "change", "launch"):
        rate, burst = getattr(settings, f"{kind}_rate"), getattr(settings, f"{kind}_burst")
        if not (math.isfinite(rate) and rate >= 0) or burst < 1:
            raise SettingsError(
                f"Settings {kind}_rate and {kind}_burst: a rate is 0 or more, a burst 1 or more."
            )
    if (
        settings.metrics_port
        and not settings.metrics_token_file
        and not _is_loopback(settings.metrics_host)
    ):
        raise SettingsError(
            "Setting metrics_host: beyond loopback the metrics need a metrics_token_file."
        )
    if settings.stopped_disks not in {"node", "store"}:
        raise SettingsError("Setting stopped_disks: it is node or store.")
    for name in settings.certificate_names:
        if not (_is_address(name) or _HOST_NAME.fullmatch(name)):
            raise SettingsError(
                f"Settings nodelink_host and nodelink_names: {name!r} is neither a host name nor"
                " an address."
            )


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _converted(name: str, value: object, kind: type) -> Any:
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise SettingsError(
            f"Setting {name}: {value!r} is not of the kind {kind.__name__}."
        ) from None
