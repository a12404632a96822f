# SPDX-License-Identifier: Apache-2.0
"""Runs inside the pool's root: prints the time of every reset of a domain that libvirt tells of.

usage: resets.py NAME     prints "ready", then seconds of CLOCK_MONOTONIC, until its input ends
"""

from __future__ import annotations

import os
import sys
import threading
import time

import libvirt


def await_end() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    libvirt.virEventRegisterDefaultImpl()
    connection = libvirt.openReadOnly("qemu:///system")
    connection.domainEventRegisterAny(
        connection.lookupByName(sys.argv[1]),
        libvirt.VIR_DOMAIN_EVENT_ID_REBOOT,
        lambda *_: print(time.monotonic(), flush=True),
        None,
    )
    threading.Thread(target=await_end, daemon=True).start()
    print("ready", flush=True)
    while True:
        libvirt.virEventRunDefaultImpl()


main()
