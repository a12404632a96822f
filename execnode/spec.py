# SPDX-License-Identifier: Apache-2.0
"""What the gateway answers to a claim: the instance as this node is to build it.

Everything is checked here once, so that the rest of the package may rely on it: what becomes a
file name or a domain name has no surprising characters.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, NamedTuple

from execnode import metadata_facts
from execnode.metadata_facts import Facts

INSTANCE_ID = re.compile(r"i-[0-9a-f]{8}(?:[0-9a-f]{9})?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_HOSTNAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?")
_WORD = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LINE = re.compile(r"[^\x00-\x1f\x7f]{1,16384}")
_EXBIBYTE = 2**60
_MOST_NVRAM = 16 * 1024**2  # bytes; they are read into memory, and another node has sent them
LEGACY, UEFI = "legacy-bios", "uefi"


class SpecError(ValueError):
    """The gateway's answer is not one that this version understands; names the member."""


class Image(NamedTuple):
    """The base disk: sha256 in hex, sizes in bytes, format ``raw`` or ``qcow2``."""

    id: str
    sha256: str
    size: int
    format: str
    virtual_size: int
    path: str


class Parked(NamedTuple):
    """A disk that the store has: sha256 in hex, bytes, the last of which are the variables'."""

    sha256: str
    size: int
    nvram_bytes: int
    path: str


class Errand(NamedTuple):
    """What is to be done with a stopped instance's disk, and the image that it stands on."""

    kind: str
    instance: str
    image: Image


class SshKey(NamedTuple):
    """A public key in OpenSSH's one-line form, and its name."""

    name: str
    key: str


class Spec(NamedTuple):
    """One run of one instance. Memory is in MiB, sizes in bytes; user_data is None or raw bytes.

    disk is ``new`` in the first run alone; later ones have the ``kept`` one, or none and fail, or
    fetch the one that is ``parked``. private_ip is the address of the run before.
    """

    instance_id: str
    run: int
    account_id: str
    reservation_id: str
    launch_index: int
    instance_type: str
    vcpus: int
    memory_mib: int
    disk_bytes: int
    architecture: str
    disk: str
    mac: str
    private_ip: str | None
    hostname: str
    availability_zone: str
    region: str
    user_data: bytes | None
    ssh_keys: tuple[SshKey, ...]
    image: Image
    metadata: Facts = Facts()
    boot_mode: str = LEGACY
    parked: Parked | None = None


def read(document: object) -> Spec:
    """Turn the answer's JSON into a Spec, or raise SpecError naming the offending member."""
    whole = _Members(document, "")
    if whole.number("v", 1, 1) != 1:
        raise SpecError("v")
    image = read_image(whole.get("image"))
    disk = image.virtual_size
    if whole.get("disk_bytes") is not None:
        disk = whole.number("disk_bytes", image.virtual_size, _EXBIBYTE)
    return Spec(
        instance_id=whole.text("instance_id", INSTANCE_ID),
        run=whole.number("run", 1, 2**31),
        account_id=whole.text("account_id", _WORD),
        reservation_id=whole.text("reservation_id", _WORD),
        launch_index=whole.number("launch_index", 0, 2**31),
        instance_type=whole.text("instance_type", _WORD),
        vcpus=whole.number("vcpus", 1, 1024),
        memory_mib=whole.number("memory_mib", 1, 2**24),
        disk_bytes=disk,
        architecture=whole.choice("architecture", "x86_64", "i386"),
        disk=whole.choice("disk", "new", "kept", "parked"),
        mac=whole.text("mac", _MAC),
        private_ip=None if whole.get("private_ip") is None else whole.text("private_ip", _IPV4),
        hostname=whole.text("hostname", _HOSTNAME),
        availability_zone=whole.text("availability_zone", _WORD),
        region=whole.text("region", _WORD),
        user_data=_user_data(whole.get("user_data")),
        ssh_keys=_keys(whole.get("ssh_keys")),
        image=image,
        metadata=_metadata(document),
        boot_mode=_boot_mode(whole),
        parked=_parked(whole) if whole.get("disk") == "parked" else None,
    )


def _parked(whole: _Members) -> Parked:
    members = _Members(whole.get("parked"), "parked.")
    size = members.number("size", 1, _EXBIBYTE)
    parked = Parked(
        sha256=members.text("sha256", _SHA256),
        size=size,
        nvram_bytes=members.number("nvram_bytes", 0, min(size - 1, _MOST_NVRAM)),
        path=members.text("path", _LINE),
    )
    if parked.path != f"/v1/instances/{whole.get('instance_id')}/disk":
        raise SpecError("parked.path")
    return parked


def _boot_mode(whole: _Members) -> str:
    if not whole.has("boot_mode"):
        return LEGACY  # the gateway is older than this node
    mode = whole.choice("boot_mode", LEGACY, UEFI)
    if mode == UEFI and whole.get("architecture") != "x86_64":
        raise SpecError("boot_mode")  # there is no such firmware
    return mode


def _metadata(document: object) -> Facts:
    try:
        # A gateway that is older than this node has no such member.
        return metadata_facts.read(document.get("metadata") if isinstance(document, dict) else None)
    except metadata_facts.FactsError as error:
        raise SpecError(f"metadata.{error}") from None


def read_image(document: object) -> Image:
    """Turn an image's JSON into an Image, or raise SpecError naming the offending member."""
    members = _Members(document, "image.")
    image = Image(
        id=members.text("id", _WORD),
        sha256=members.text("sha256", _SHA256),
        size=members.number("size", 0, _EXBIBYTE),
        format=members.choice("format", "raw", "qcow2"),
        virtual_size=members.number("virtual_size", 0, _EXBIBYTE),
        path=members.text("path", _LINE),
    )
    if image.path != f"/v1/images/{image.sha256}":
        raise SpecError("image.path")
    return image


def read_errand(document: object, kinds: tuple[str, ...]) -> Errand:
    """Turn an errand's JSON into an Errand, or raise SpecError naming the offending member."""
    members = _Members(document, "errand.")
    return Errand(
        kind=members.choice("kind", *kinds),
        instance=members.text("instance", INSTANCE_ID),
        image=read_image(members.get("image")),
    )


def _keys(value: object) -> tuple[SshKey, ...]:
    if not isinstance(value, list):
        raise SpecError("ssh_keys")
    entries = [_Members(entry, f"ssh_keys[{i}].") for i, entry in enumerate(value)]
    return tuple(SshKey(e.text("name", _LINE), e.text("key", _LINE)) for e in entries)


def _user_data(value: object) -> bytes | None:
    if value is None:
        return None
    try:
        return base64.b64decode(str(value), validate=True)
    except (binascii.Error, ValueError):
        raise SpecError("user_data") from None


class _Members:
    """The members of one JSON object, read with their types."""

    def __init__(self, document: object, prefix: str) -> None:
        if not isinstance(document, dict):
            raise SpecError(prefix.rstrip(".") or "the document")
        self._document: dict[str, Any] = document
        self._prefix = prefix

    def has(self, name: str) -> bool:
        return name in self._document

    def get(self, name: str) -> Any:
        if name not in self._document:
            raise SpecError(self._prefix + name)
        return self._document[name]

    def text(self, name: str, pattern: re.Pattern[str]) -> str:
        value = self.get(name)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise SpecError(self._prefix + name)
        return value

    def number(self, name: str, least: int, most: int) -> int:
        value = self.get(name)
        if type(value) is not int or not least <= value <= most:
            raise SpecError(self._prefix + name)
        return value

    def choice(self, name: str, *allowed: str) -> str:
        value = self.get(name)
        if value not in allowed:
            raise SpecError(self._prefix + name)
        return str(value)
