# SPDX-License-Identifier: Apache-2.0
"""The files that make a plain Debian root into the pool's node.

Written into the upper layer of the pool's file system at every start, so that the cached root
stays as it was built and a changed setting takes effect at the next start.
"""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelFile

from gateway.config import ANY_ADDRESS
from gateway.nodelink import credentials

if TYPE_CHECKING:
    from gateway.config import Settings

HERE = Path(__file__).parent
PACKAGES = "usr/lib/python3/dist-packages"

# The pool's root has neither systemd nor virtlogd, and its namespaces take the place of the
# ones that QEMU would be given.
LIBVIRTD_CONF = """\
unix_sock_group = "libvirt"
unix_sock_rw_perms = "0770"
unix_sock_ro_perms = "0770"
auth_unix_ro = "none"
auth_unix_rw = "none"
# A supervisor that is stopped for a while must not lose its guest.
keepalive_interval = -1
"""
QEMU_CONF = """\
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
dynamic_ownership = 1
"""
NODE_TOML = """\
gateway = "https://{host}:{port}"
token_file = "/etc/condor-cloud/node.token"
ca_file = "/etc/condor-cloud/nodelink-ca.pem"
# Kept between the pool's starts; what the probe found is valid for one boot of the machine.
run_dir = "/var/lib/condor-cloud-node/run"
"""


class MissingFileError(Exception):
    """Something that the embedded pool is made of is not installed; the text names it."""


def write(settings: Settings, root: Path, kernel: Path, upper: Path) -> None:
    """Write every file below ``upper``; ``root`` tells the numbers of users.

    ``kernel`` is what the node boots to prove that KVM works.
    """
    files = {
        "etc/libvirt/libvirtd.conf": LIBVIRTD_CONF,
        "etc/libvirt/qemu.conf": QEMU_CONF,
        "etc/libvirt/network.conf": 'firewall_backend = "nftables"\n',
        "etc/condor-cloud/node.toml": NODE_TOML.format(
            host=_node_link_host(settings), port=settings.nodelink_port
        ),
        "etc/condor-cloud/nodelink-ca.pem": credentials.certificate(settings).read_text(),
        # Debian's own file would be read after the packaged defaults and undo some of them.
        "etc/condor/config.d/00-htcondor-9.0.config": "# see 50-condor-cloud-security.conf\n",
        "etc/condor/config.d/90-embedded-values.conf": _values(settings),
        "etc/hosts": "127.0.0.1 localhost condor-cloud\n",
        "etc/hostname": "condor-cloud\n",
    }
    for name, text in files.items():
        _put(upper / name, text)
    for source in sorted(condor_config().glob("*.conf")):
        packaged = source.stem.endswith("-defaults")
        folder = "usr/share/condor/config.d" if packaged else "etc/condor/config.d"
        _put(upper / folder / source.name, source.read_text())
    _put(upper / "usr/lib/condor-cloud/init.py", (HERE / "init.py").read_text())
    resolver = Path("/etc/resolv.conf")
    if resolver.exists():
        _put(upper / "etc/resolv.conf", resolver.read_text())
    (upper / "boot").mkdir()
    shutil.copyfile(kernel, upper / "boot" / "vmlinuz-probe")
    token = upper / "etc/condor-cloud/node.token"
    token.touch(mode=0o600)
    token.write_text(credentials.node_token(settings, "condor-cloud"))
    uid, gid = user(root, "condor-cloud")
    shutil.chown(token, uid, gid)
    install_wheel(node_wheel(settings), upper)


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _node_link_host(settings: Settings) -> str:
    """Return what the node calls; it has this machine's network."""
    host = ANY_ADDRESS.get(settings.nodelink_host, settings.nodelink_host)
    return f"[{host}]" if ":" in host else host


def _values(settings: Settings) -> str:
    lines = {
        "CONDOR_CLOUD_POOL_PORT": settings.pool_port,
        "CONDOR_CLOUD_CPU_OVERCOMMIT": settings.cpu_overcommit,
        "CONDOR_CLOUD_MEMORY_OVERCOMMIT": settings.memory_overcommit,
    }
    return "".join(f"{name} = {value}\n" for name, value in lines.items())


def condor_config() -> Path:
    """Return the folder with the packaged HTCondor configuration."""
    for folder in (HERE.parent.parent / "condor-config", _installed() / "condor-config"):
        if folder.is_dir():
            return folder
    raise MissingFileError("The condor-config files are not installed beside the gateway.")


def _installed() -> Path:
    """Return where the gateway's wheel puts what is not Python."""
    return Path(sysconfig.get_path("data")) / "share" / "condor-cloud"


def node_wheel(settings: Settings) -> Path:
    """Return the node side's wheel: the setting's, or the newest one beside the gateway."""
    if settings.node_wheel:
        wheel = Path(settings.node_wheel)
        if not wheel.is_file():
            raise MissingFileError(f"The node side's wheel {wheel} is not there (node_wheel).")
        return wheel
    folders = (HERE.parent.parent / ".build", _installed())
    wheels = [wheel for folder in folders for wheel in folder.glob("condor_cloud_node-*.whl")]
    if not wheels:
        raise MissingFileError(
            "The node side's wheel is missing: `make setup` builds it in a checkout; elsewhere"
            " name it in the setting node_wheel."
        )
    return max(wheels, key=lambda wheel: wheel.stat().st_mtime)


def install_wheel(wheel: Path, upper: Path) -> None:
    """Install ``wheel`` below ``upper`` for Debian's Python, scripts and all."""
    scheme = {
        "purelib": f"/{PACKAGES}",
        "platlib": f"/{PACKAGES}",
        "scripts": "/usr/bin",
        "data": "/usr",
        "headers": "/usr/include",
    }
    destination = SchemeDictionaryDestination(
        scheme, interpreter="/usr/bin/python3", script_kind="posix", destdir=str(upper)
    )
    with WheelFile.open(wheel) as source:
        install(source, destination, additional_metadata={"INSTALLER": b"condor-cloud"})


def user(root: Path, name: str) -> tuple[int, int]:
    """Return the user and group number that ``name`` has inside ``root``."""
    for line in (root / "etc/passwd").read_text().splitlines():
        fields = line.split(":")
        if fields[0] == name:
            return int(fields[2]), int(fields[3])
    raise MissingFileError(f"The pool's root has no user {name}; delete it to have it built again.")
