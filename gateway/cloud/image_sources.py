# SPDX-License-Identifier: Apache-2.0
"""Which files of the gateway's machine a tenant may register as images.

The gateway may read much more than its tenants should: a tenant who could name any file could
boot ``/etc/shadow`` as a disk (docs/adr/0008).
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import NamedTuple


class ImageSources(NamedTuple):
    """The rule: files below the directories or, without any, those that everybody can read."""

    directories: tuple[Path, ...]

    @classmethod
    def of(cls, setting: str) -> ImageSources:
        """Read the setting ``image_sources``: directories joined by colons."""
        return cls(tuple(Path(name) for name in setting.split(":") if name))

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

    @property
    def sentence(self) -> str:
        """Say where image files may lie."""
        if self.directories:
            places = " or ".join(str(place) for place in self.directories)
            return f"is not below {places}, where image files may lie"
        return "is not a file that everybody on the gateway's machine can read"
