# SPDX-License-Identifier: Apache-2.0
"""``make cloud-image``: a Debian 12 with cloud-init as a disk image, from Debian's own packages.

Nothing in it is changed for this cloud: cloud-init finds its Ec2 datasource by itself. What an
installation would have decided is decided here: file system, boot loader, serial console.

The image is cached; its name holds a hash of what it is made from.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config import Settings
from gateway.embedded import cached
from gateway.embedded.guest import disk
from gateway.embedded.mirror import MirrorError, bootstrap

if TYPE_CHECKING:
    from collections.abc import Callable

    Progress = Callable[[float, str], None]

SUITE = "bookworm"
PACKAGES = (
    *("linux-image-cloud-amd64", "tiny-initramfs", "systemd-sysv", "udev", "dbus"),
    *("cloud-init", "cloud-guest-utils", "openssh-server", "sudo"),
    # holds the file systems while an image of the running machine begins
    "qemu-guest-agent",
    *("ifupdown", "iproute2", "e2fsprogs"),
    # the boot loader, and what lays it out
    *("syslinux", "syslinux-common", "mtools"),
)
# Written before the kernel is installed, which makes the first file system.
FIRST_FILE_SYSTEM = "AUTO_MODULES=no MICROCODE=no INCLUDE_MODULES=virtio_pci,virtio_blk"
HOOKS = (
    '--essential-hook=mkdir -p "$1/etc/tiny-initramfs"',
    f'--essential-hook=echo {FIRST_FILE_SYSTEM} >"$1/etc/tiny-initramfs/tiny-initramfs.conf"',
)
ROOT_MIB = 1024
"""Of the root file system; cloud-init grows it to the disk's size."""
# The serial console comes last: it is /dev/console. What follows `quiet` only saves time where the
# processor is emulated.
KERNEL_COMMAND = (
    "root=UUID={root} ro console=tty0 console=ttyS0,115200"
    " quiet mitigations=off no_timer_check tsc=reliable cryptomgr.notests"
)
BOOT = """DEFAULT debian
PROMPT 0
TIMEOUT 0
LABEL debian
  LINUX linux
  INITRD initrd
  APPEND {command}
"""
FILE_SYSTEMS = "UUID={root} / ext4 errors=remount-ro 0 1\n"
# What belongs to a machine and not to an image; cloud-init or systemd makes it anew.
OF_ONE_MACHINE = (
    *("etc/hostname", "etc/resolv.conf", "var/lib/dbus/machine-id", "var/lib/systemd/random-seed"),
    *("etc/ssh/ssh_host_*", "var/log/apt", "var/log/dpkg.log", "var/log/bootstrap.log"),
)


def path(cache_dir: Path) -> Path:
    """Return where the image of this recipe is, or will be."""
    recipe = Path(__file__).read_bytes() + Path(disk.__file__).read_bytes()
    return cache_dir / f"cloud-{SUITE}-{hashlib.sha256(recipe).hexdigest()[:12]}.qcow2"


def ensure(cache_dir: Path, progress: Progress) -> Path:
    """Return the image, built if it is not there yet (about a minute and 500 MB).

    `progress` gets a fraction from 0 to 1 and what is being done. Needs root, mke2fs and qemu-img.
    Raises :class:`~gateway.embedded.mirror.MirrorError` or
    :class:`~gateway.embedded.guest.disk.GuestBuildError`.
    """
    target = path(cache_dir)
    cache_dir.mkdir(parents=True, exist_ok=True)
    # Two builders at once: the second waits and finds it done. The kernel frees the lock.
    with cached.used(target), (cache_dir / f"cloud-{SUITE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for stale in cache_dir.glob(f".cloud-{SUITE}-*"):  # of a build that was killed
            shutil.rmtree(stale)
        if not target.exists():
            _build(target, progress)
    return target


def _build(target: Path, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}.") as name:
        work = Path(name)
        tree, bench = work / "tree", work / "tree" / "bench"
        bootstrap(
            *(tree, SUITE, PACKAGES, "minbase"),
            lambda done, what: progress(done * 0.85, what),
            extra=HOOKS,
        )
        progress(0.85, "laying out the disk")
        root = str(uuid.uuid4())
        bench.mkdir()
        _fill_bench(tree, bench, root)
        disk.lay_out(tree, bench, ROOT_MIB * disk.MIB)
        raw = (bench / "disk.raw").rename(work / "disk.raw")
        shutil.rmtree(bench)
        _make_nobodys(tree, root)
        progress(0.9, "writing the file system")
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
        start = f"offset={disk.MAIN_START * disk.SECTOR}"
        options = ("-F", "-t", "ext4", "-U", root, "-m", "1", "-E", start, "-d", str(tree))
        disk.run(("mke2fs", "-q", *options, str(raw), f"{ROOT_MIB}m"), environment)
        progress(0.95, "writing the image")
        whole = work / target.name
        # Each copy of it, into the store and to the nodes, has a third of the bytes.
        packed = ("-c", "-o", "compression_type=zstd", "-O", "qcow2")
        disk.run(("qemu-img", "convert", "-f", "raw", *packed, str(raw), str(whole)), environment)
        whole.chmod(0o644)
        whole.rename(target)
    progress(1.0, f"Debian {SUITE} with cloud-init is ready")


def _fill_bench(tree: Path, bench: Path, root: str) -> None:
    """Lay down what the boot loader starts."""
    kernel = next((tree / "boot").glob("vmlinuz-*"))
    shutil.copyfile(kernel, bench / "linux")
    shutil.copyfile(
        kernel.with_name(kernel.name.replace("vmlinuz", "initrd.img")), bench / "initrd"
    )
    command = KERNEL_COMMAND.format(root=root)
    (bench / "syslinux.cfg").write_text(BOOT.format(command=command))


def _make_nobodys(tree: Path, root: str) -> None:
    """Remove what each machine has of its own."""
    for pattern in OF_ONE_MACHINE:
        for found in tree.glob(pattern):
            if found.is_dir():
                shutil.rmtree(found)
            else:
                found.unlink()
    # Empty: systemd makes one, but does not enable the services that its own presets want.
    (tree / "etc/machine-id").write_text("")
    # Without it cloud-init would make a locale whose files are not there.
    (tree / "etc/default/locale").write_text("LANG=C.UTF-8\n")
    (tree / "etc/fstab").write_text(FILE_SYSTEMS.format(root=root))


def main() -> None:
    """Build it, tell how far it is, and print where it is."""
    if os.geteuid() != 0:
        sys.exit("make cloud-image: it needs root: use sudo make cloud-image.")
    said = [""]

    def tell(done: float, what: str) -> None:
        # One line for each kind of step where nobody watches a bar.
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{done:4.0%} {what}")
        elif (step := " ".join(what.split()[:2])) != said[0]:
            said[0] = step
            sys.stderr.write(f"{done:4.0%} {what}\n")

    try:
        image = ensure(Settings().cache_dir, tell)
    except (MirrorError, disk.GuestBuildError) as error:
        sys.exit(f"make cloud-image: {error}")
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    sys.stdout.write(f"{image}\n")


if __name__ == "__main__":
    main()
