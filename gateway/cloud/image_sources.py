# SPDX-License-Identifier: Apache-2.0
"""Which files of the gateway's machine, and which objects, a tenant may register as images.

The gateway may read much more than its tenants should: a tenant who could name any file could
boot ``/etc/shadow`` as a disk (docs/adr/0008), and one who could name any bucket the images of
others, or whatever else the gateway's keys open (docs/adr/0021).
"""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import NamedTuple

BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""A bucket's name (Amazon S3 User Guide, "General purpose bucket naming rules")."""


class ImageSources(NamedTuple):
    """The rule: files below the directories or, without any, those that everybody can read.

    Objects are in one of the ``buckets``, below the prefix that each may have: ``bucket/prefix``.
    """

    directories: tuple[Path, ...]
    buckets: tuple[str, ...] = ()

    @classmethod
    def of(cls, directories: str, buckets: str = "") -> ImageSources:
        """Read the settings ``image_sources``, joined by colons, and ``image_source_buckets``.

        Raises ValueError for what is no bucket.
        """
        named = tuple(name.strip().rstrip("/") for name in buckets.split(",") if name.strip())
        for name in named:
            if not BUCKET.fullmatch(name.partition("/")[0]):
                raise ValueError(f"{name} is not the name of a bucket")
        return cls(tuple(Path(name) for name in directories.split(":") if name), named)

    def allows(self, file: Path) -> bool:
        """Return whether a tenant may name ``file``, whose links have been followed.

        A file that does not exist is not allowed: a tenant learns nothing about other files.
        """
        if self.directories:
            return any(file.is_relative_to(place.resolve()) for place in self.directories)
        try:
            mode = file.stat().st_mode
            reachable = all(parent.stat().st_mode & stat.S_IXOTH for parent in file.parents)
        except OSError:
            return False
        return bool(reachable and mode & stat.S_IROTH)

    def allows_object(self, bucket: str, key: str) -> bool:
        """Return whether a tenant may name an object of a bucket."""
        return any(f"{bucket}/{key}".startswith(f"{place}/") for place in self.buckets)

    @property
    def sentence(self) -> str:
        """Say where image files may lie."""
        if self.directories:
            places = " or ".join(str(place) for place in self.directories)
            return f"is not below {places}, where image files may lie"
        return "is not a file that everybody on the gateway's machine can read"
