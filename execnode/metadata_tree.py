# SPDX-License-Identifier: Apache-2.0
"""What an instance may read about itself, as a tree of files. Pure.

The categories, and the dated version that each came with, are EC2's:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-metadata.html. What has no truth
here (credentials, signatures) is not in the tree.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from execnode.metadata_facts import Facts
    from execnode.spec import Spec

VERSIONS = (
    *("1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01"),
    *("2008-09-01", "2009-04-04", "2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25"),
    *("2014-11-05", "2015-10-20", "2016-04-19", "2016-06-30", "2016-09-02", "2018-03-28"),
    *("2018-08-17", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03", "2021-03-23"),
    *("2021-07-15", "2022-09-24", "2024-04-11"),
)
LATEST = "latest"
TEXT = "text/plain"
BYTES = "application/octet-stream"
TAG_KEY = re.compile(r"(?!\.{1,2}$|_index$)[0-9a-zA-Z\-_+=,.@:]{1,255}")
"""What EC2 accepts as the key of a tag that is to be a file's name."""

_Tree = dict[str, "_Tree | _File"]


class _File(NamedTuple):
    content: bytes
    kind: str = TEXT


class Found(NamedTuple):
    """A file's bytes, or a directory's listing; kind is its media type."""

    content: bytes
    kind: str


class Tree:
    """Everything that one instance may read."""

    def __init__(self, spec: Spec, address: str, facts: Facts) -> None:
        files = list(_files(spec, address, facts))
        # A key's directory is listed as number and name, and read as the number.
        keys = enumerate(spec.ssh_keys)
        self._listed_as = {f"meta-data/public-keys/{i}": f"{i}={key.name}" for i, key in keys}
        # A version's tree has what had been there when it was new.
        self._roots = {version: _grow(files, version) for version in (*VERSIONS, LATEST)}

    def find(self, path: str) -> Found | None:
        """Return what is at a path that begins with a slash; one at its end does not matter."""
        names = path.strip("/").split("/")
        if names == [""]:
            return Found("\n".join(self._roots).encode(), TEXT)
        place: _Tree | _File | None = self._roots.get(names[0])
        for name in names[1:]:
            place = place.get(name) if isinstance(place, dict) else None
        if place is None:
            return None
        if isinstance(place, _File):
            return Found(*place)
        return Found(self._listing("/".join(names[1:]), place).encode(), TEXT)

    def _listing(self, path: str, directory: _Tree) -> str:
        lines = []
        for name, entry in sorted(directory.items()):
            slash = "/" if path and isinstance(entry, dict) else ""
            lines.append(self._listed_as.get(f"{path}/{name}", name + slash))
        return "\n".join(lines)


def _grow(files: list[tuple[str, str, _File]], version: str) -> _Tree:
    root: _Tree = {}
    for since, path, file in files:
        if version != LATEST and since > version:  # "1.0" is before every year
            continue
        *directories, name = path.split("/")
        place = root
        for directory in directories:
            inner = place.setdefault(directory, {})
            assert isinstance(inner, dict)  # noqa: S101 - no name is both
            place = inner
        place[name] = file
    return root


def _files(spec: Spec, address: str, facts: Facts) -> Iterator[tuple[str, str, _File]]:
    """Yield for each file the version that it came with, its path and itself."""
    if spec.user_data is not None:
        yield "1.0", "user-data", _File(spec.user_data, BYTES)
    document = _identity(spec, address, facts)
    yield "2009-04-04", "dynamic/instance-identity/document", _File(document.encode())
    for since, path, text in (*_own(spec, address, facts), *_of_network(spec, address, facts)):
        yield since, f"meta-data/{path}", _File(text.encode())
    for number, key in enumerate(spec.ssh_keys):
        path = f"meta-data/public-keys/{number}/openssh-key"
        yield "1.0", path, _File(key.key.encode())
    if facts.options.instance_tags:
        for name, value in facts.tags.items():
            if TAG_KEY.fullmatch(name):
                yield "2021-03-23", f"meta-data/tags/instance/{name}", _File(value.encode())


def _own(spec: Spec, address: str, facts: Facts) -> Iterator[tuple[str, str, str]]:
    yield "1.0", "ami-id", spec.image.id
    yield "1.0", "ami-launch-index", str(spec.launch_index)
    yield "1.0", "ami-manifest-path", "(unknown)"
    yield "2007-12-15", "block-device-mapping/ami", facts.root_device
    yield "2007-12-15", "block-device-mapping/root", facts.root_device
    yield "1.0", "hostname", spec.hostname
    yield "2008-09-01", "instance-action", "none"
    yield "1.0", "instance-id", spec.instance_id
    yield "2019-10-01", "instance-life-cycle", facts.life_cycle
    yield "2007-08-29", "instance-type", spec.instance_type
    yield "2007-01-19", "local-hostname", spec.hostname
    yield "1.0", "local-ipv4", address
    yield "2011-01-01", "mac", spec.mac
    yield "2008-02-01", "placement/availability-zone", spec.availability_zone
    yield "2019-10-01", "placement/region", spec.region
    yield "2008-09-01", "profile", "default-hvm"
    yield "1.0", "reservation-id", spec.reservation_id
    yield "1.0", "security-groups", "\n".join(facts.security_groups)
    yield "2014-02-25", "services/domain", "amazonaws.com"
    yield "2015-10-20", "services/partition", "aws"
    if facts.interruption is not None:
        action, time = facts.interruption
        notice = json.dumps({"action": action, "time": time})
        yield "2016-11-15", "spot/instance-action", notice
        if action == "terminate":
            yield "2014-11-05", "spot/termination-time", time


def _of_network(spec: Spec, address: str, facts: Facts) -> Iterator[tuple[str, str, str]]:
    card: Mapping[str, str] = {
        "device-number": "0",
        "local-hostname": spec.hostname,
        "local-ipv4s": address,
        "mac": spec.mac,
        "owner-id": spec.account_id,
        "security-groups": "\n".join(facts.security_groups),
        **facts.network,
    }
    for name, value in card.items():
        yield "2011-01-01", f"network/interfaces/macs/{spec.mac}/{name}", value


def _identity(spec: Spec, address: str, facts: Facts) -> str:
    document = {
        "accountId": spec.account_id,
        "architecture": spec.architecture,
        "availabilityZone": spec.availability_zone,
        "billingProducts": None,
        "devpayProductCodes": None,
        "marketplaceProductCodes": None,
        "imageId": spec.image.id,
        "instanceId": spec.instance_id,
        "instanceType": spec.instance_type,
        "kernelId": None,
        "pendingTime": facts.launched_at,
        "privateIp": address,
        "ramdiskId": None,
        "region": spec.region,
        "version": "2017-09-30",
    }
    return json.dumps(document, indent=2, separators=(",", " : "))
