# SPDX-License-Identifier: Apache-2.0
"""Writes the archive that Linux unpacks as its first file system.

The format is "newc", in the kernel's Documentation/driver-api/early-userspace/buffer-format.
Written here because device nodes then need no privilege, and the same files give the same bytes.
"""

from __future__ import annotations

import stat
from typing import BinaryIO


class Archive:
    """An archive under construction; names are relative to the root, parents come first."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._inode = 0

    def directory(self, name: str, mode: int = 0o755) -> None:
        """Add an empty directory."""
        self._add(name, stat.S_IFDIR | mode)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._add(name, stat.S_IFREG | mode, data)

    def symlink(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, name: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Add a character device."""
        self._add(name, stat.S_IFCHR | mode, device=(major, minor))

    def close(self) -> None:
        """Write the end mark; the underlying file stays open."""
        self._add("TRAILER!!!", 0)

    def _add(
        self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        self._inode += 1
        encoded = name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        # inode mode uid gid links mtime size, the device's numbers, the node's, name, no checksum
        fields = (self._inode, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(encoded), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        self._out.write(_padded(header + encoded))
        self._out.write(_padded(data))


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
