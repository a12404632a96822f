# SPDX-License-Identifier: Apache-2.0
"""Builds the demo guest's disk image from Debian packages.

The packages are unpacked, not installed: the tree that they make is both the guest's material
and the place where the tools run that lay out the disk.  Everything works on plain files,
without loop devices, and the same packages give the same bytes.

The disk is that of :mod:`gateway.embedded.guest.disk`: the first file system has all that the guest
runs from, the second partition is an ext4 called condor-data, the guest's /data.
"""

from __future__ import annotations

import fcntl
import gzip
import io
import lzma
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.embedded.guest import disk
from gateway.embedded.guest.cpio import Archive
from gateway.embedded.guest.disk import in_tree
from gateway.embedded.mirror import bootstrap

if TYPE_CHECKING:
    from collections.abc import Callable

    Progress = Callable[[float, str], None]

SUITE = "trixie"
PACKAGES = (
    "linux-image-cloud-amd64",
    "tiny-initramfs",  # the smallest package that satisfies the kernel's dependency
    "busybox-static",
    "dropbear-bin",
    # tools for the building
    "mtools",
    "syslinux",
    "syslinux-common",
    "e2fsprogs",
    "qemu-utils",
)

_DATA_SECTORS = 64 * disk.MIB
# Fixed so that the bytes are; nothing looks for it.
_DATA_ID = "636f6e64-6f72-4c6f-8564-646174610001"

_ROOTFS = Path(__file__).parent / "rootfs"
_SYSLINUX_CFG = Path(__file__).parent / "syslinux.cfg"
_DIRECTORIES = (
    *("data", "dev", "etc", "home", "mnt", "proc", "root", "run", "sys", "tmp", "usr", "var"),
    *("home/debian", "etc/dropbear", "usr/bin", "usr/lib", "usr/lib64", "usr/lib/modules"),
    *("var/log", "var/tmp"),
)
_PROGRAMS = ("usr/sbin/dropbear", "usr/bin/dropbearkey", "usr/bin/dbclient")
# Module groups, loaded by rootfs/usr/lib/condor-cloud/load when they are needed.
_MODULES = {
    "net": ("virtio-rng", "virtio_net"),
    "base": ("virtio_blk", "button", "evdev"),
    "disks": ("ahci", "ata_piix", "sd_mod", "virtio_scsi"),
    "watchdog": ("i6300esb",),
}


def build(target: Path, work_dir: Path, progress: Progress) -> None:
    """Build the guest as a qcow2 file `target`, which appears whole or not at all.

    `work_dir` holds what is needed meanwhile (about 200 MB); one build at a time uses it.
    `progress` gets a fraction from 0 to 1 and what is being done. Needs root. Raises
    :class:`~gateway.embedded.mirror.MirrorError` or :class:`.disk.GuestBuildError`.
    """
    tree = work_dir / "guest-tree"
    work_dir.mkdir(parents=True, exist_ok=True)
    with (work_dir / f"{tree.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel frees it, however this process ends
        bootstrap(tree, SUITE, PACKAGES, "extract", lambda done, what: progress(done * 0.8, what))
        try:
            assemble(tree, target, lambda done, what: progress(0.8 + done * 0.2, what))
        finally:
            shutil.rmtree(tree)
    progress(1.0, "the demo guest is ready")


def assemble(tree: Path, target: Path, progress: Progress) -> None:
    """Build the image from unpacked packages in `tree`; see :func:`build`."""
    _make_runnable(tree)
    bench = tree / "bench"
    shutil.rmtree(bench, ignore_errors=True)
    bench.mkdir()
    progress(0.0, "packing the guest's first file system")
    kernel = next((tree / "boot").glob("vmlinuz-*"))
    shutil.copyfile(kernel, bench / "linux")
    version = kernel.name.removeprefix("vmlinuz-")
    (bench / "initrd").write_bytes(_compressed(_first_file_system(tree, version)))
    shutil.copyfile(_SYSLINUX_CFG, bench / "syslinux.cfg")
    progress(0.5, "laying out the guest's disk")
    _lay_out_disk(tree, bench)
    progress(0.8, "writing the guest's image")
    convert = ("qemu-img", "convert", "-m", "1", "-f", "raw", "-O", "qcow2")
    in_tree(tree, *convert, "disk.raw", "disk.qcow2")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the image, for nodes that want to prove that KVM boots a kernel.
    shutil.copyfile(kernel, kernel_of(target))
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        shutil.copyfile(bench / "disk.qcow2", partial)
        partial.chmod(0o644)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)


def kernel_of(target: Path) -> Path:
    """Return where the kernel of the image ``target`` is kept beside it."""
    return target.with_suffix(".vmlinuz")


def _make_runnable(tree: Path) -> None:
    """Give the tree what installing would have: the merged directories' links, and a shell."""
    for name in ("bin", "sbin", "lib", "lib64"):
        link = tree / name
        if not link.is_symlink():
            link.symlink_to(f"usr/{name}")
    (tree / "proc").mkdir(exist_ok=True)
    shell = tree / "usr/bin/sh"
    if not shell.is_symlink():
        shell.symlink_to("busybox")


def _first_file_system(tree: Path, kernel_version: str) -> bytes:
    out = io.BytesIO()
    archive = Archive(out)
    for name in sorted(_DIRECTORIES):
        archive.directory(name, {"root": 0o700, "tmp": 0o1777, "var/tmp": 0o1777}.get(name, 0o755))
    archive.character_device("dev/console", 5, 1)
    for name in ("bin", "sbin", "lib", "lib64", "usr/sbin"):
        archive.symlink(name, "bin" if name == "usr/sbin" else f"usr/{name.replace('sbin', 'bin')}")
    archive.symlink("init", "usr/bin/busybox")
    archive.symlink("var/run", "/run")
    _add_rootfs(archive)
    _add_busybox(archive, tree)
    _add_programs(archive, tree)
    _add_modules(archive, tree, kernel_version)
    archive.close()
    return out.getvalue()


def _add_rootfs(archive: Archive) -> None:
    """Add our own files; those that begin as scripts do may be executed."""
    present = set(_DIRECTORIES)
    for path in sorted(_ROOTFS.rglob("*")):
        name = str(path.relative_to(_ROOTFS))
        if path.is_dir():
            if name not in present:
                archive.directory(name)
        else:
            data = path.read_bytes()
            archive.file(name, data, 0o755 if data.startswith(b"#!") else 0o644)
    for name in ("halt", "reboot"):
        archive.symlink(f"usr/bin/{name}", "poweroff")


def _add_busybox(archive: Archive, tree: Path) -> None:
    archive.file("usr/bin/busybox", (tree / "usr/bin/busybox").read_bytes(), 0o755)
    ours = {path.name for path in (_ROOTFS / "usr/bin").iterdir()} | {"halt", "reboot", "busybox"}
    for applet in sorted(set(in_tree(tree, "busybox", "--list").split()) - ours):
        archive.symlink(f"usr/bin/{applet}", "busybox")


def _add_programs(archive: Archive, tree: Path) -> None:
    libraries: set[str] = set()
    for program in _PROGRAMS:
        source = tree / program
        archive.file(f"usr/bin/{source.name}", source.read_bytes(), 0o755)
        listing = in_tree(tree, "/lib64/ld-linux-x86-64.so.2", "--list", f"/{program}")
        libraries |= {word for word in listing.split() if word.startswith("/")}
    archive.directory("usr/lib/x86_64-linux-gnu")
    for library in sorted(libraries):
        name = library.removeprefix("/")
        name = name if name.startswith("usr/") else f"usr/{name}"
        archive.file(name, (tree / name).resolve().read_bytes(), 0o755)


def _add_modules(archive: Archive, tree: Path, kernel_version: str) -> None:
    """Add the modules and, for each group, the list that `load` reads: dependencies first."""
    in_tree(tree, "depmod", kernel_version)
    root = tree / "usr/lib/modules" / kernel_version
    needs: dict[str, list[str]] = {}
    paths: dict[str, Path] = {}
    for line in (root / "modules.dep").read_text(encoding="ascii").splitlines():
        path, _, rest = line.partition(":")
        needs[_module_name(path)] = [_module_name(other) for other in reversed(rest.split())]
        paths[_module_name(path)] = root / path
    added: set[str] = set()
    for group, wanted in _MODULES.items():
        order: dict[str, None] = {}
        for module in wanted:
            name = module.replace("-", "_")
            order |= dict.fromkeys([*needs[name], name])
        for name in order:
            if name not in added:
                # Unpacked here once, where it is fast, rather than by each guest at boot.
                archive.file(
                    f"usr/lib/modules/{name}.ko", lzma.decompress(paths[name].read_bytes())
                )
        added |= order.keys()
        listing = "".join(f"{name}.ko\n" for name in order)
        archive.file(f"usr/lib/modules/{group}.list", listing.encode())


def _module_name(path: str) -> str:
    return Path(path).name.partition(".")[0].replace("-", "_")


def _compressed(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=9, mtime=0)


def _lay_out_disk(tree: Path, bench: Path) -> None:
    disk.lay_out(tree, bench, _DATA_SECTORS)
    in_tree(
        tree,
        *("mke2fs", "-q", "-F", "-t", "ext4", "-L", "condor-data", "-U", _DATA_ID, "-m", "0"),
        *("-E", f"offset={disk.MAIN_START * disk.SECTOR},hash_seed={_DATA_ID},lazy_itable_init=0"),
        *("-J", "size=4", "disk.raw", f"{_DATA_SECTORS * disk.SECTOR // 1024}k"),
    )
