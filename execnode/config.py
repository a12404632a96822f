# SPDX-License-Identifier: Apache-2.0
"""The node's settings, read from a TOML file (/etc/condor-cloud/node.toml).

A NamedTuple rather than a dataclass: every supervisor starts by reading this, and the import of
``dataclasses`` alone takes as long as its claim does.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, NamedTuple

DEFAULT_FILE = Path("/etc/condor-cloud/node.toml")


class ConfigError(Exception):
    """A configuration that cannot be used; the text is one sentence."""


class NodeConfig(NamedTuple):
    """The settings of a node; the first three have no default in a file."""

    gateway: str
    """URL of the node link; always https."""
    token_file: Path
    """file holding the node's credential; readable by the supervisors' user alone"""
    ca_file: Path
    """PEM certificate that the gateway's certificate is checked against"""
    state_dir: Path = Path("/var/lib/condor-cloud-node")
    """cache/ and instances/ live below this directory"""
    run_dir: Path = Path("/run/condor-cloud-node")
    """what a reboot invalidates: the result of the KVM probe"""
    libvirt_uri: str = "qemu:///system"
    """libvirt's connection URI"""
    network: str = "condor-cloud"
    """name of the libvirt network that guests are plugged into"""
    cache_bytes: int = 0
    """what the image cache may hold; 0: half of the disk that it is on"""
    probe_kernel: str = "/boot/vmlinuz*"
    """Linux kernel (a glob, the last match) that the KVM probe boots"""
    qemu_group: str = "libvirt-qemu"
    """group that QEMU runs as: it may enter an instance's directory"""

    @property
    def cache_dir(self) -> Path:
        """Where base images are kept."""
        return self.state_dir / "cache"

    @property
    def instances_dir(self) -> Path:
        """Where each instance that lives on this node has its directory."""
        return self.state_dir / "instances"


_PATHS = ("token_file", "ca_file", "state_dir", "run_dir")


def load(file: Path = DEFAULT_FILE) -> NodeConfig:
    """Read and check a configuration file; a ConfigError says what is wrong with it."""
    try:
        document = tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}.") from error
    return from_document(document, str(file))


def from_document(document: dict[str, Any], source: str = "configuration") -> NodeConfig:
    """Check the parsed document; source names it in complaints."""
    for key, value in document.items():
        if key not in NodeConfig._fields:
            raise ConfigError(f"{source}: there is no setting named {key}.")
        kind = int if key == "cache_bytes" else str
        if type(value) is not kind:
            raise ConfigError(f"{source}: {key} must be of type {kind.__name__}.")
    if document.get("cache_bytes", 0) < 0:
        raise ConfigError(f"{source}: cache_bytes must not be negative.")
    for key in ("gateway", "token_file", "ca_file"):
        if not document.get(key):
            raise ConfigError(f"{source}: {key} is missing.")
    if not document["gateway"].startswith("https://"):
        raise ConfigError(f"{source}: gateway must be an https:// URL: the token travels there.")
    typed: dict[str, Any] = {k: Path(v) if k in _PATHS else v for k, v in document.items()}
    for key in _PATHS:
        if key in typed and not typed[key].is_absolute():
            raise ConfigError(f"{source}: {key} must be an absolute path.")
    return NodeConfig(**typed)
