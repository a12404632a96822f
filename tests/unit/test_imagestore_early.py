# SPDX-License-Identifier: Apache-2.0
"""What is refused by its first bytes is not copied to its end before."""

from __future__ import annotations

import io
import shutil
import subprocess
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import pytest
from imagestore_world import MIB, PATIENCE, Handler, Seen, World, served_by

from gateway.imagestore import conversion, sources
from gateway.imagestore.headers import RefusedError
from gateway.imagestore.store import DirectoryStore
from gateway.imagestore.taker import ImportFailedError, Taker, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    shutil.which("qemu-img") is None, reason="the program qemu-img is missing"
)
WHOLE = 256 * MIB
FIRST = 2 * MIB


class Slow(Handler):
    """Sends the first bytes of something large, and the rest when nobody waits for it."""

    first: ClassVar[bytes] = b""
    sent: ClassVar[threading.Event] = threading.Event()

    def do_GET(self) -> None:  # noqa: N802 - its name there
        self.send_response(200)
        self.send_header("Content-Length", str(WHOLE))
        self.end_headers()
        self.wfile.write(self.first.ljust(FIRST, b"x"))
        self.sent.wait(PATIENCE)


@pytest.fixture
def url() -> Iterator[str]:
    Slow.sent.clear()
    with served_by(Slow) as port:
        yield f"http://127.0.0.1:{port}/disk"
        Slow.sent.set()


def qcow2(place: Path, *options: str) -> bytes:
    """Return what `qemu-img create` makes with options."""
    image = place / "made"
    command = ("qemu-img", "create", "-u", "-f", "qcow2", *options, str(image), "1G")
    subprocess.run(command, check=True, capture_output=True)
    return image.read_bytes()


class Case(NamedTuple):
    """The first bytes, or the options that make them; what the import says of them; the reason."""

    first: bytes | tuple[str, ...]
    told: str
    converts: bool = False
    said: str | None = None


CASES = {
    "a web page": Case(b"<html>", "The image is neither qcow2 nor a raw disk with a boot sector"),
    "an archive": Case(b"\x1f\x8b", "The image is packed (gzip); unpack it first."),
    "another program's": Case(b"KDMV", "The image has the format vmdk; only qcow2 and raw"),
    "backed": Case(("-F", "raw", "-b", "/etc/passwd"), "The image has a backing file"),
    "too large": Case((), "The image's disk has 1073741824 bytes; 536870912 are allowed."),
    "tables that will not come": Case(
        b"QFI\xfb\0\0\0\3".ljust(20, b"\0")
        + b"\0\0\0\x10\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\0\1\0\0\0\x40".ljust(84, b"\0"),
        "The image is truncated: its tables lie behind its end.",
    ),
    "an imported archive": Case(b"BZh", "The image is packed (bzip2)", converts=True),
    "an import with a backing file": Case(
        ("-F", "raw", "-b", "/etc/passwd"), "The image has a backing file", converts=True
    ),
    "an import said to be another": Case(
        b"vhdxfile",
        "The image is said to be vmdk and has the format vhdx.",
        converts=True,
        said="vmdk",
    ),
    "an import of a web page said to be an OVA": Case(
        b"<html>",
        "The image is said to be ova and has the format raw.",
        converts=True,
        said="ova",
    ),
    "an import said to be an OVA": Case(
        b"QFI\xfb",
        "The image is said to be ova and has the format qcow2.",
        converts=True,
        said="ova",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_image_is_refused_when_its_beginning_is_here(
    tmp_path: Path, url: str, name: str
) -> None:
    case = CASES[name]
    Slow.first = case.first if isinstance(case.first, bytes) else qcow2(tmp_path, *case.first)
    world, seen = World(tmp_path), Seen()
    settings = replace(world.settings, image_size_limit=WHOLE * 2)
    wanted = Wanted(url, sources.ANYTHING, case.converts, case.said)
    taker = Taker(settings, DirectoryStore(settings.image_dir))
    with pytest.raises(ImportFailedError) as refused:
        taker.take(wanted, seen, lambda _: None)
    assert str(refused.value).startswith(case.told)
    assert max(seen.copies) <= (FIRST, WHOLE)
    assert world.files() == set()


def test_the_reason_is_told_while_the_server_still_sends(tmp_path: Path, url: str) -> None:
    Slow.first = b"<html>"
    world = World(tmp_path)
    image = world.register(url)
    world.import_all()
    assert not Slow.sent.is_set()
    assert world.image(image).state == "failed"
    assert "neither qcow2 nor a raw disk" in (world.image(image).state_reason or "")
    assert world.files() == set()


def test_a_server_that_does_not_say_how_much_comes_is_looked_at_as_well(tmp_path: Path) -> None:
    first = io.BytesIO(qcow2(tmp_path).ljust(FIRST, b"x"))
    conversion.look_early(first, None, converts=False, said=None, limit=2**30)
    with pytest.raises(RefusedError, match="are allowed"):
        conversion.look_early(first, None, converts=False, said=None, limit=2**29)


@pytest.mark.parametrize("said", [None, "vhd"])
def test_nothing_is_refused_that_may_be_known_by_its_end(said: str | None) -> None:
    first = io.BytesIO(bytes(FIRST))
    conversion.look_early(first, WHOLE, converts=True, said=said, limit=WHOLE)
    with pytest.raises(RefusedError):
        conversion.look_early(first, WHOLE, converts=False, said=None, limit=WHOLE)
