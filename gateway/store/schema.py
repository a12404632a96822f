# SPDX-License-Identifier: Apache-2.0
"""The tables. Migrations must produce exactly these; a test compares the two.

Longer than 400 lines: all tables stand here, one after the other, and nothing else.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from gateway.store.instant import Instant

REVISION = "0021"
"""The newest migration, so that an up-to-date database is recognised without Alembic."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
)

access_keys = Table(
    "access_keys",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("secret", String(128), nullable=False),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("description", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("revoked_at", Instant),
)

quotas = Table(
    "quotas",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

key_pairs = Table(
    "key_pairs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("name", String(255), nullable=False),
    Column("key_type", String(16), nullable=False),
    Column("fingerprint", String(128), nullable=False),
    Column("public_key", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("account_id", "name"),
)

images = Table(
    "images",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("name", String(128), nullable=False),
    Column("description", Text, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("state_reason", Text),
    Column("architecture", String(16), nullable=False),
    Column("location", Text, nullable=False),
    Column("sha256", String(64), index=True),
    Column("size", BigInteger),
    Column("virtual_size", BigInteger),
    Column("format", String(16)),
    Column("created_at", Instant, nullable=False),
    Column("public", Boolean, nullable=False),
    Column("registered", Boolean, nullable=False),
    Column("root_device_name", String(32), nullable=False, server_default="/dev/vda"),
    Column("disk_bytes", BigInteger),
    Column("deprecated_at", Instant),
    Column("source_image_id", String(32)),
    Column("boot_mode", String(16)),
    Column("source_instance_id", String(32)),
    # A name is free again once its image is deregistered, though the row stays for its instances.
    Index(
        "uq_images_registered_name",
        "account_id",
        "name",
        unique=True,
        sqlite_where=text("registered"),
        postgresql_where=text("registered"),
    ),
)

# The snapshots of images that were deregistered, for those who delete them afterwards.
gone_snapshots = Table(
    "gone_snapshots",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("gone_at", Instant, nullable=False, index=True),
)

launch_permissions = Table(
    "launch_permissions",
    metadata,
    Column("image_id", ForeignKey("images.id"), primary_key=True),
    # Any account's, also one that is made later: no foreign key.
    Column("account_id", String(12), primary_key=True, index=True),
)

import_tasks = Table(
    "import_tasks",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    # The image may be gone before its task is: no foreign key.
    Column("image_id", String(32), nullable=False, index=True),
    Column("description", Text, nullable=False),
    Column("disk_description", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("format", String(16)),
    Column("platform", String(16)),
    Column("state", String(16), nullable=False, index=True),
    Column("status_message", Text),
    Column("progress", Integer, nullable=False),
    Column("size", BigInteger),
    Column("created_at", Instant, nullable=False),
    Column("ended_at", Instant),
)

# With which token what was made, and what identifies the request; see ``gateway.cloud.tokens``.
client_tokens = Table(
    "client_tokens",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("token", String(64), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    # What was made may be gone before its token is: no foreign key.
    Column("resource_id", String(32), nullable=False),
    Column("created_at", Instant, nullable=False, index=True),
)

reservations = Table(
    "reservations",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("client_token", String(64)),
    Column("created_at", Instant, nullable=False, index=True),
    UniqueConstraint("account_id", "client_token"),
)

instances = Table(
    "instances",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("reservation_id", ForeignKey("reservations.id"), nullable=False, index=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("launch_index", Integer, nullable=False),
    Column("image_id", ForeignKey("images.id"), nullable=False, index=True),
    Column("instance_type", String(64), nullable=False),
    Column("vcpus", Integer, nullable=False),
    Column("memory_mib", Integer, nullable=False),
    Column("disk_bytes", BigInteger),
    Column("volume_type", String(16), nullable=False, server_default="standard"),
    Column("key_name", String(255)),
    Column("public_key", Text),
    Column("user_data", LargeBinary),
    Column("mac", String(17), nullable=False, unique=True),
    Column("launched_at", Instant, nullable=False),
    Column("wanted", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("state_changed_at", Instant, nullable=False),
    Column("reason_code", String(64)),
    Column("reason_message", Text),
    Column("transition_reason", Text),
    Column("run", Integer, nullable=False),
    # How many runs in a row, up to this one, were lost before a node claimed them.
    Column("lost_runs", Integer, nullable=False, server_default="0"),
    Column("submit_state", String(16), nullable=False, index=True),
    Column("cluster", Integer),
    Column("proc", Integer),
    Column("node", String(255)),
    Column("private_ip", String(45)),
    Column("vnc_port", Integer),
    Column("virt_type", String(16)),
    # The latest run whose guest was heard on the network.
    Column("heard_run", Integer),
    Column("claim_nonce", String(64)),
    Column("claimed_at", Instant),
    # The node whose token came with the claim (nodes.name).
    Column("claimed_by", String(255)),
    # The latest start; launched_at is where the instance stands among the others.
    Column("started_at", Instant),
    # The host that keeps the disk; known from the first stop on, unless the store has it.
    Column("home", String(255)),
    Column("parked", Boolean, nullable=False, server_default=false()),
    Column("shutdown_behavior", String(16), nullable=False),
    Column("disable_api_termination", Boolean, nullable=False),
    Column("disable_api_stop", Boolean, nullable=False),
    Column("monitoring", Boolean, nullable=False),
    Column("source_dest_check", Boolean, nullable=False),
    Column("availability_zone", String(64), nullable=False),
    # Whether the zone was asked for; else it is where the instance is, or is expected.
    Column("zone_required", Boolean, nullable=False, server_default=false()),
    # The request that a spot instance is of. It may be forgotten first: no foreign key.
    Column("spot_request_id", String(32)),
    Column("metadata_endpoint", String(8), nullable=False, server_default="enabled"),
    Column("metadata_tokens", String(8), nullable=False, server_default="optional"),
    Column("metadata_hop_limit", Integer, nullable=False, server_default="1"),
    Column("metadata_tags", String(8), nullable=False, server_default="disabled"),
    # Whether the instance's supervisor has not heard of a change yet.
    Column("metadata_pending", Boolean, nullable=False, server_default=false()),
    # The order in which instances are described and paged.
    Index("ix_instances_described", "account_id", "launched_at", "reservation_id", "launch_index"),
    Index("ix_instances_wanted_state", "wanted", "state"),
    Index("ix_instances_job", "cluster", "proc"),
    Index("ix_instances_zones", "account_id", "availability_zone"),
    # What an account has, counted without reading the rows.
    Index("ix_instances_counted", "account_id", "state", "vcpus"),
)

spot_requests = Table(
    "spot_requests",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("created_at", Instant, nullable=False),
    # The first of the requests that were made together, and its place among them.
    Column("made_with", String(32), nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("type", String(16), nullable=False),
    Column("interruption_behavior", String(16), nullable=False),
    Column("max_price", String(32)),
    Column("valid_from", Instant),
    Column("valid_until", Instant),
    # Whether it was made to wait for room, rather than with an instance.
    Column("waits", Boolean, nullable=False),
    # What is launched, as JSON.
    Column("launch", Text, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("status_code", String(64), nullable=False),
    Column("status_at", Instant, nullable=False),
    # The latest instance, which may be forgotten first: no foreign key.
    Column("instance_id", String(32), index=True),
    # When that instance is to be interrupted, once it has had its notice.
    Column("interrupt_at", Instant),
    Index("ix_spot_requests_described", "account_id", "created_at", "id"),
)

tags = Table(
    "tags",
    metadata,
    Column("resource_id", String(32), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("value", String(256), nullable=False),
)

console = Table(
    "console",
    metadata,
    Column("instance_id", ForeignKey("instances.id"), primary_key=True),
    Column("run", Integer, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("updated_at", Instant, nullable=False),
)

nodes = Table(
    "nodes",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("token_sha256", String(64), nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("revoked_at", Instant),
    Column("contacted_at", Instant),
)

# The pool's nodes, by what HTCondor calls them.
machines = Table(
    "machines",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("host", String(255)),
    Column("zone", String(64)),
    Column("up", Boolean, nullable=False),
    Column("seen_at", Instant, nullable=False),
    # Since when it is being drained, when its guests will be ended, and why.
    Column("drained_since", Instant),
    Column("drained_by", Instant),
    Column("drain_reason", String(255)),
)

# What a running guest shall do; a row goes when its supervisor has taken it.
commands = Table(
    "commands",
    metadata,
    # Counts upwards and never backwards: nodes ask for what is new since a number.
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("instance_id", ForeignKey("instances.id"), nullable=False, index=True),
    Column("run", Integer, nullable=False),
    Column("verb", String(16), nullable=False),
    Column("grace", Float, nullable=False),
    Column("created_at", Instant, nullable=False),
    sqlite_autoincrement=True,
)

# Pictures of displays that somebody has asked for; without one until the node has sent it.
screenshots = Table(
    "screenshots",
    metadata,
    # The number of the command, which is gone by then.
    Column("command_id", Integer, primary_key=True, autoincrement=False),
    Column("instance_id", ForeignKey("instances.id"), nullable=False, index=True),
    Column("jpeg", LargeBinary),
    Column("created_at", Instant, nullable=False),
)

# Images that nodes shall have in their caches before anybody launches from them.
prefetches = Table(
    "prefetches",
    metadata,
    # Counts upwards and never backwards: nodes name what they are at by it.
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("node", ForeignKey("nodes.name"), nullable=False, index=True),
    # The image may go meanwhile.
    Column("image_id", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("message", Text),
    Column("created_at", Instant, nullable=False),
    Column("told_at", Instant, nullable=False),
    sqlite_autoincrement=True,
)

# Images that are made of instances, until the importer has what their nodes send.
captures = Table(
    "captures",
    metadata,
    # A number of the commands': of the one that asks for it, where the instance runs.
    Column("command_id", Integer, primary_key=True, autoincrement=False),
    # Image and instance may be gone before: no foreign keys.
    Column("image_id", String(32), nullable=False, unique=True),
    Column("instance_id", String(32), nullable=False),
    Column("run", Integer, nullable=False),
    # How its file systems were, in a word of the node link's.
    Column("how", String(16)),
    # What the whole file is: its size when it is copied, both when it is here.
    Column("size", BigInteger),
    Column("sha256", String(64)),
    Column("heard_at", Instant, nullable=False),
    # Whether the instance is stopped, so that its node's listener is asked.
    Column("stopped", Boolean, nullable=False, server_default=false()),
    # What a guest sees of a disk that the store has; nothing for one that its node sends.
    Column("disk_bytes", BigInteger),
)

# Disks of stopped instances on their way into the store, there, and left on nodes meanwhile.
parkings = Table(
    "parkings",
    metadata,
    # A number of the commands'.
    Column("number", Integer, primary_key=True, autoincrement=False),
    # The instance may be gone before: no foreign key.
    Column("instance_id", String(32), nullable=False, index=True),
    # The run that left the disk, and the node that has it, as its token names it.
    Column("run", Integer, nullable=False),
    Column("node", String(255), nullable=False),
    Column("state", String(16), nullable=False),
    # What comes is the disk and, in its last bytes, the firmware's variables.
    Column("size", BigInteger),
    Column("nvram_bytes", BigInteger),
    Column("sha256", String(64)),
    Column("reason", Text),
)

cursors = Table(
    "cursors",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
