# SPDX-License-Identifier: Apache-2.0
"""The libvirt domain of an instance, as XML. Pure: nothing here touches the machine.

The device list is short on purpose: every device costs QEMU start-up and firmware time, and an
emulated CPU pays for it most. Elements: https://libvirt.org/formatdomain.html
"""

from __future__ import annotations

import hashlib
import uuid
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, NamedTuple

from execnode.spec import UEFI

if TYPE_CHECKING:
    from pathlib import Path

    from execnode.spec import Spec

METADATA_URI = "urn:condor-cloud:instance:1"
"""Namespace of the element that marks a domain as one of ours."""

MACHINE = "pc"
"""QEMU's name for the newest ``pc-i440fx-VERSION``."""

ROOT_DISK = "vda"
"""The disk that the guest boots from."""

AGENT = "org.qemu.guest_agent.0"

ET.register_namespace("condor-cloud", METADATA_URI)


class Paths(NamedTuple):
    """The files that a guest's devices are made of."""

    base: Path
    overlay: Path
    console: Path
    nvram: Path


class Plug(NamedTuple):
    """Where the guest's network card goes: libvirt's network, and the device's name there."""

    network: str
    port: str


def build(spec: Spec, paths: Paths, virt_type: str, plug: Plug) -> str:
    """Return the domain's XML; virt_type is ``kvm`` or ``qemu`` (emulation)."""
    root = ET.Element("domain", type=virt_type)
    _text(root, "name", spec.instance_id)
    machine = system_uuid(spec.instance_id)
    _text(root, "uuid", machine)
    metadata = ET.SubElement(root, "metadata")
    mark = ET.SubElement(metadata, f"{{{METADATA_URI}}}instance")
    mark.set("id", spec.instance_id)
    mark.set("run", str(spec.run))
    _text(root, "memory", str(spec.memory_mib)).set("unit", "MiB")
    _text(root, "vcpu", str(spec.vcpus))
    _identity(root, machine, spec.instance_type)
    _firmware(root, spec, paths.nvram)
    _processor(root, virt_type)
    ET.SubElement(root, "clock", offset="utc")
    # An instance that stops is over: the supervisor sees the event and gives the reason.
    _text(root, "on_poweroff", "destroy")
    _text(root, "on_reboot", "restart")
    _text(root, "on_crash", "destroy")
    devices = ET.SubElement(root, "devices")
    _disk(devices, spec, paths)
    _interface(devices, spec.mac, plug)
    _console(devices, paths.console)
    _agent(devices)
    _display(devices)
    _extras(devices)
    return ET.tostring(root, encoding="unicode")


def _text(parent: ET.Element, name: str, value: str) -> ET.Element:
    child = ET.SubElement(parent, name)
    child.text = value
    return child


def system_uuid(instance_id: str) -> str:
    """Return the machine's UUID: like EC2's it begins with ec2, and stays the instance's."""
    digits = "ec2" + hashlib.sha256(instance_id.encode()).hexdigest()[:29]
    return str(uuid.UUID(digits))


def _identity(root: ET.Element, machine: str, instance_type: str) -> None:
    # What tells a guest, cloud-init for one, that the metadata service is there: a UUID like
    # EC2's that is the serial number too.
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/identify_ec2_instances.html
    system = ET.SubElement(ET.SubElement(root, "sysinfo", type="smbios"), "system")
    entries = {"manufacturer": "Condor Cloud", "product": instance_type}
    for name, value in (entries | {"serial": machine, "uuid": machine}).items():
        _text(system, "entry", value).set("name", name)


def _firmware(root: ET.Element, spec: Spec, nvram: Path) -> None:
    system = ET.SubElement(root, "os")
    kind = _text(system, "type", "hvm")
    kind.set("arch", "i686" if spec.architecture == "i386" else spec.architecture)
    kind.set("machine", MACHINE)
    if spec.boot_mode == UEFI:
        # libvirt chooses the file among those that execnode/firmware.py looks for.
        system.set("firmware", "efi")
        chosen = ET.SubElement(system, "firmware")
        for feature in ("enrolled-keys", "secure-boot"):
            ET.SubElement(chosen, "feature", enabled="no", name=feature)
        # libvirt makes it at the first start; what the guest writes there stays with its disk.
        _text(system, "nvram", str(nvram))
    ET.SubElement(system, "boot", dev="hd")
    ET.SubElement(system, "smbios", mode="sysinfo")
    if spec.boot_mode != UEFI:
        # The firmware speaks on the serial console too, as UEFI's does unasked: a disk that does
        # not boot says so.
        ET.SubElement(system, "bios", useserial="yes")
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")


def _processor(root: ET.Element, virt_type: str) -> None:
    if virt_type == "kvm":
        ET.SubElement(root, "cpu", mode="host-passthrough")
    else:
        ET.SubElement(root, "cpu", mode="maximum")


def _disk(devices: ET.Element, spec: Spec, paths: Paths) -> None:
    disk = ET.SubElement(devices, "disk", type="file", device="disk")
    driver = ET.SubElement(disk, "driver", name="qemu", type="qcow2", discard="unmap")
    # A write that finds the node's disk full stops the guest, and the supervisor decides; of other
    # trouble the guest is told as a disk tells it.
    driver.set("error_policy", "enospace")
    _file(disk, paths.overlay)
    # The chain is spelled out to its end, so that neither libvirt nor QEMU probes a tenant's file.
    backing = ET.SubElement(disk, "backingStore", type="file")
    ET.SubElement(backing, "format", type=spec.image.format)
    _file(backing, paths.base)
    ET.SubElement(backing, "backingStore")
    ET.SubElement(disk, "target", dev=ROOT_DISK, bus="virtio")


def _file(parent: ET.Element, path: Path) -> None:
    source = ET.SubElement(parent, "source", file=str(path))
    _keep_owner(source)


def _keep_owner(source: ET.Element) -> None:
    # The files' group lets QEMU in. libvirt must not chown them: a base is shared by many guests,
    # and the rest is removed by the supervisor, which is not root.
    ET.SubElement(source, "seclabel", model="dac", relabel="no")


def _interface(devices: ET.Element, mac: str, plug: Plug) -> None:
    interface = ET.SubElement(devices, "interface", type="network")
    ET.SubElement(interface, "mac", address=mac)
    ET.SubElement(interface, "source", network=plug.network)
    ET.SubElement(interface, "target", dev=plug.port)
    ET.SubElement(interface, "model", type="virtio")
    ET.SubElement(interface, "rom", enabled="no")  # no network boot: saves the ROM's time


def _console(devices: ET.Element, path: Path) -> None:
    # The supervisor listens and QEMU connects before the guest's first instruction.
    serial = ET.SubElement(devices, "serial", type="unix")
    source = ET.SubElement(serial, "source", mode="connect", path=str(path))
    _keep_owner(source)
    ET.SubElement(serial, "target", type="isa-serial", port="0")


def _agent(devices: ET.Element) -> None:
    # A guest that has QEMU's agent lets its file systems be frozen while a copy begins.
    channel = ET.SubElement(devices, "channel", type="unix")
    ET.SubElement(channel, "target", type="virtio", name=AGENT)


def _display(devices: ET.Element) -> None:
    graphics = ET.SubElement(
        devices, "graphics", type="vnc", port="-1", autoport="yes", listen="127.0.0.1"
    )
    ET.SubElement(graphics, "listen", type="address", address="127.0.0.1")
    video = ET.SubElement(devices, "video")
    ET.SubElement(video, "model", type="vga")


def _extras(devices: ET.Element) -> None:
    rng = ET.SubElement(devices, "rng", model="virtio")
    backend = ET.SubElement(rng, "backend", model="random")
    backend.text = "/dev/urandom"
    ET.SubElement(devices, "panic", model="isa")
    # Asleep until the guest's own driver starts it; then a guest that hangs boots anew.
    ET.SubElement(devices, "watchdog", model="i6300esb", action="reset")
    ET.SubElement(devices, "controller", type="usb", model="none")
    ET.SubElement(devices, "memballoon", model="none")


def vnc_port(xml: str) -> int | None:
    """Return the TCP port of a running domain's display, from its XML."""
    graphics = ET.fromstring(xml).find("devices/graphics")  # noqa: S314 - libvirtd's own text
    port = -1 if graphics is None else int(graphics.get("port", "-1"))
    return port if port > 0 else None
