# SPDX-License-Identifier: Apache-2.0
"""The demo guest boots in a real QEMU and does what the README and the other tests rely on.

QEMU comes from the cached Debian root; the image is built anew unless ``CONDOR_CLOUD_TEST_GUEST``
names one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.embedded.guest.build import build

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGIN = "ip-10-0-2-15 login:"
USER_DATA = "#!/bin/sh\necho the answer is $((6 * 7))\ntouch /data/written-by-user-data\n"
PATIENCE = 90.0
# QEMU's own network, made so large that the metadata service's address is in it; each connection
# there is answered by a process of its own.
NETWORK = "user,id=net,net=169.254.0.0/16,dhcpstart=169.254.2.15"
SERVICE = "guestfwd=tcp:169.254.169.254:80-cmd:python3 service.py"
ANSWERS = r"""
import sys
from pathlib import Path
lines = iter(sys.stdin.buffer.readline, b"")
method, path, _ = next(lines).decode().split()
headers = dict(
    line.decode().strip().lower().split(": ", 1) for line in iter(lines.__next__, b"\r\n")
)
name = path.strip("/").replace("/", "_")
content = None
if path == "/latest/api/token":
    if method == "PUT" and headers["x-aws-ec2-metadata-token-ttl-seconds"].isdigit():
        content = b"a-token"
elif headers.get("x-aws-ec2-metadata-token") == "a-token" and Path(name).exists():
    content = Path(name).read_bytes()
status = "404 Not Found" if content is None else "200 OK"
content = content or b""
head = f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\nConnection: close"
sys.stdout.buffer.write(head.encode() + b"\r\n\r\n" + content)
"""


@pytest.fixture(scope="module")
def qemu_root(debian_root: Path) -> Path:
    return debian_root


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = os.environ.get("CONDOR_CLOUD_TEST_GUEST")
    if named:
        return Path(named)
    work = tmp_path_factory.mktemp("guest")
    build(work / "guest.qcow2", work, lambda _done, _what: None)
    return work / "guest.qcow2"


class Machine:
    """One QEMU process with the image under it, its console and its monitor."""

    def __init__(self, root: Path, image: Path, place: Path, port: int, *, rng: bool) -> None:
        self.root, self.place, self.port = root, place, port
        self.console = ""
        shutil.copyfile(image, place / "base.qcow2")
        self._in_root(
            *("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2"),
            "disk.qcow2",
        ).check_returncode()
        self.process = subprocess.Popen(
            self._inside(
                *("qemu-system-x86_64", "-accel", "tcg", "-m", "512", "-smp", "1"),
                *("-nodefaults", "-display", "none", "-vga", "std", "-serial", "stdio"),
                *("-drive", "if=virtio,file=disk.qcow2,format=qcow2"),
                *("-netdev", f"{NETWORK},hostfwd=tcp:127.0.0.1:{port}-:22,{SERVICE}"),
                *("-device", "virtio-net-pci,netdev=net"),
                *(("-device", "virtio-rng-pci") if rng else ()),
                *("-qmp", "unix:qmp,server=on,wait=off"),
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def _inside(self, *command: str) -> list[str]:
        """Bring the test's directory into the root, for this command alone."""
        script = (
            'mount --bind "$1" "$0/mnt"; mount --bind /dev "$0/dev"; mount -t proc proc "$0/proc";'
            ' root=$0; shift; exec chroot "$root" sh -c \'cd /mnt && exec "$@"\' sh "$@"'
        )
        namespaces = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
        return [*namespaces, "sh", "-c", script, str(self.root), str(self.place), *command]

    def _in_root(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(self._inside(*command), check=False)

    def read_until(self, text: str) -> str:
        """Read the console until it has `text`; return what came since the last reading."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + PATIENCE
        new = ""
        while text not in new:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} is not on the console:\n{new}"
            if select.select([self.process.stdout], [], [], left)[0]:
                data = os.read(self.process.stdout.fileno(), 65536)
                assert data, f"QEMU ended before {text!r} was on the console:\n{new}"
                new += data.decode(errors="replace")
        self.console += new
        return new

    def monitor(self, command: str) -> None:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as qmp:
            qmp.settimeout(PATIENCE)
            qmp.connect(str(self.place / "qmp"))
            lines = qmp.makefile("rw")
            lines.readline()
            for execute in ("qmp_capabilities", command):
                lines.write(json.dumps({"execute": execute}) + "\n")
                lines.flush()
                while "return" not in (answer := json.loads(lines.readline())):
                    assert "error" not in answer, answer

    def ssh(
        self, user: str, *command: str, stdin: int = subprocess.DEVNULL
    ) -> subprocess.CompletedProcess[str]:
        known = self.place / "known_hosts"
        key = re.search(r"BEGIN SSH HOST KEY KEYS-----\s+(ssh-ed25519 \S+)", self.console)
        assert key, self.console
        known.write_text(f"[127.0.0.1]:{self.port} {key[1]}\n")
        return subprocess.run(
            [
                *("ssh", "-F", "none", "-i", str(self.place / "id"), "-p", str(self.port)),
                *("-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes"),
                *("-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"),
                *(f"{user}@127.0.0.1", *command),
            ],
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def end(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()


def _boot(root: Path, image: Path, place: Path, *, rng: bool) -> Machine:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a test's key", "-f", place / "id"],
        check=True,
    )
    public = (place / "id.pub").read_text().strip()
    told = {
        "meta-data/instance-id": "i-0123456789abcdef0",
        "meta-data/local-hostname": "ip-10-0-2-15",
        "meta-data/ami-id": "ami-0123456789abcdef0",
        "meta-data/instance-type": "small",
        "meta-data/public-keys/0/openssh-key": public,
        "user-data": USER_DATA,
    }
    for path, text in told.items():
        (place / f"latest/{path}".replace("/", "_")).write_text(text)
    (place / "service.py").write_text(ANSWERS)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Machine(root, image, place, port, rng=rng)


@pytest.fixture(scope="module")
def machine(
    qemu_root: Path, image: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    machine = _boot(qemu_root, image, tmp_path_factory.mktemp("machine"), rng=True)
    try:
        machine.read_until(LOGIN)
        if "user-data ended" not in machine.console:
            machine.read_until("user-data ended")
        yield machine
    finally:
        machine.end()


def test_the_console_tells_who_the_instance_is(machine: Machine) -> None:
    lines = machine.console.replace("\r", "").split("\n")
    said = {
        line.split(" ")[1]: line.split(" ", 2)[2]
        for line in lines
        if line.startswith("condor-cloud-guest: ")
    }
    assert said["instance-id"] == "i-0123456789abcdef0"
    assert said["image"] == "ami-0123456789abcdef0"
    assert said["type"] == "small"
    assert said["hostname"] == "ip-10-0-2-15"
    assert said["address"] == "169.254.2.15"


def test_user_data_that_is_a_script_runs_and_writes_to_the_console(machine: Machine) -> None:
    assert "the answer is 42" in machine.console
    assert "user-data ended with code 0" in machine.console


@pytest.mark.parametrize("user", ["root", "debian"])
def test_the_launch_s_key_opens_a_session_on_the_host_key_of_the_console(
    machine: Machine, user: str
) -> None:
    done = machine.ssh(user, "id -un; hostname; uname -s; ip -4 -o address show eth0; which wget")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:3] == [user, "ip-10-0-2-15", "Linux"]
    assert "169.254.2.15/16" in done.stdout
    assert "bin/wget" in done.stdout


def test_the_fingerprint_on_the_console_is_that_of_the_host_key(machine: Machine) -> None:
    key = re.search(r"BEGIN SSH HOST KEY KEYS-----\s+(ssh-ed25519 \S+)", machine.console)
    shown = re.search(r"BEGIN SSH HOST KEY FINGERPRINTS-----\s+256 (SHA256:\S+) ", machine.console)
    assert key
    assert shown
    told = subprocess.run(
        ["ssh-keygen", "-l", "-f", "-"], input=key[1], capture_output=True, text=True, check=True
    )
    assert told.stdout.split()[1] == shown[1]


def test_another_key_and_passwords_are_refused(machine: Machine) -> None:
    stranger = machine.place / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger], check=True)
    own = machine.place / "id"
    kept = own.rename(machine.place / "kept")
    try:
        stranger.rename(own)
        done = machine.ssh("root", "true")
    finally:
        kept.rename(own)
    assert done.returncode == 255
    assert "Permission denied (publickey)" in done.stderr


def test_a_session_has_a_terminal(machine: Machine) -> None:
    ours, theirs = os.openpty()
    try:
        done = machine.ssh("root", "-t", "tty", stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.stdout.startswith("/dev/pts/")


def test_a_reboot_keeps_the_host_key_and_data_and_does_not_run_user_data_again(
    qemu_root: Path, image: Path, tmp_path: Path
) -> None:
    machine = _boot(qemu_root, image, tmp_path, rng=False)
    try:
        first = machine.read_until(LOGIN)
        if "user-data ended" not in first:
            first += machine.read_until("user-data ended")
        machine.ssh("root", "reboot")
        second = machine.read_until(LOGIN)
        if "ran before" not in second:
            second += machine.read_until("ran before")
        assert "the answer is" not in second
        pattern = r"BEGIN SSH HOST KEY KEYS-----\s+(\S+ \S+)"
        assert re.findall(pattern, first) == re.findall(pattern, second)
        assert machine.ssh("root", "ls /data").stdout.split() == [
            "instances",
            "lost+found",
            "written-by-user-data",
        ]
        machine.monitor("system_powerdown")
        assert machine.process.wait(PATIENCE) == 0
    finally:
        machine.end()
