# SPDX-License-Identifier: Apache-2.0
"""A node with a stopped instance, whose listener is turned by the test."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from execnode_gateway import INSTANCE, Gateway, eventually, specification

from execnode import cache, config, disk, spec
from execnode.errands import Errands
from execnode.link import NodeLink
from execnode.listen import Listener, Work
from execnode.prefetch import Prefetches
from execnode.workspace import OVERLAY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMAGE = os.urandom(1024) * 1024
WRITTEN = b"written by the guest"
PATIENCE = 60.0
NUMBER = 7


class Node:
    """A node with a stopped instance; its listener is turned by the test."""

    def __init__(self, place: Path) -> None:
        self.gateway = Gateway(place)
        self.gateway.image = IMAGE
        self.gateway.spec = specification(IMAGE)
        (place / "token").write_text(self.gateway.token)
        for name in ("cache", "instances"):
            (place / name).mkdir()
        self.file = place / "node.toml"
        self.file.write_text(
            f'gateway = "{self.gateway.url}"\ntoken_file = "{place}/token"\n'
            f'ca_file = "{self.gateway.certificate}"\nstate_dir = "{place}"\n'
            'qemu_group = "no-such-group"\n'
        )
        self.settings = config.load(self.file)
        self.image = spec.read_image(self.gateway.spec["image"])
        self.link = NodeLink(self.settings)
        self.work = Work(Prefetches(self.file), Errands(self.file))
        self.listener = Listener(self.settings, self.link, self.work)
        self.directory = self.settings.instances_dir / INSTANCE
        self.stop()

    def stop(self) -> None:
        """Leave what a supervisor leaves of an instance that was stopped."""
        entry = cache.entry(self.settings.cache_dir, self.image)
        entry.write_bytes(IMAGE)
        self.directory.mkdir()
        made = spec.read(self.gateway.spec)
        disk.prepare(self.directory / OVERLAY, entry, made)
        if shutil.which("qemu-img"):
            write(self.directory / OVERLAY, WRITTEN)

    @property
    def errand(self) -> dict[str, Any]:
        image = self.gateway.spec["image"]
        return {"id": NUMBER, "kind": "capture", "instance": INSTANCE, "image": image}

    def want(self, kind: str = "capture") -> None:
        self.gateway.errands = [self.errand | {"kind": kind}]

    def until(self, condition: Callable[[], object]) -> None:
        def turned() -> object:
            self.listener.turn(0)
            return condition()

        eventually(turned, PATIENCE)

    def ended(self) -> bool:
        return not self.gateway.errands and not self.work.errands.known

    def child(self) -> subprocess.Popen[bytes]:
        [(_, process)] = self.work.errands._running.values()
        return process

    @property
    def last(self) -> dict[str, Any]:
        return self.gateway.capture_reports[-1]

    @property
    def left(self) -> set[str]:
        return {path.name for path in self.directory.iterdir()}

    def close(self) -> None:
        self.work.close()
        self.link.close()
        self.gateway.close()


def write(overlay: Path, data: bytes) -> None:
    """Write to the beginning of a disk, as its guest does."""
    source = overlay.with_name("written")
    source.write_bytes(data.ljust(512, b"\0"))
    io = ["qemu-io", "-f", "qcow2", "-c", f"write -q -s {source} 0 512", str(overlay)]
    subprocess.run(io, check=True, stdout=subprocess.DEVNULL)
    source.unlink()
