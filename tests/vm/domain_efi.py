# SPDX-License-Identifier: Apache-2.0
"""A guest that only UEFI boots: a FAT file system with one program, which speaks and remembers.

The program says on the serial port whether a variable of its own is in the firmware's NVRAM, and
puts it there. Formats: Microsoft's PE and FAT specifications; calls: UEFI specification, chapter 8.
"""

from __future__ import annotations

import struct

SENTENCE = b"hello from the EFI program\r\n"
FORGOT = b"its variable is not there\r\n"
REMEMBERED = b"its variable is there\r\n"

_SECTOR = 512
_VENDOR = bytes(range(16))
_LEA = {"rax": "488d05", "rcx": "488d0d", "rdx": "488d15", "rsi": "488d35"}
# Bytes, a label, or an instruction that ends with the distance to a label.
_Part = bytes | str | tuple[bytes, str]


def disk(*, power_off: bool = False) -> bytes:
    """Return a raw disk image of 1 MiB whose boot sector is nothing that a BIOS starts."""
    program = _executable(_program(power_off=power_off))
    size = len(program)
    assert size == 2 * _SECTOR
    parameters = struct.pack(
        "<3s8sHBHBHHBHHHII", b"\xeb\xfe\x90", b"TEST", 512, 1, 1, 1, 16, 2048, 0xF8, 6, 32, 2, 0, 0
    )
    parameters += struct.pack("<BBBI11s8s", 0x80, 0, 0x29, 1, b"TEST".ljust(11), b"FAT12".ljust(8))
    # Clusters 2 and 3 are the directories, 4 and 5 the program.
    links = [0xFF8, 0xFFF, 0xFFF, 0xFFF, 5, 0xFFF]
    table = b"".join(
        (one | two << 12).to_bytes(3, "little")
        for one, two in zip(links[::2], links[1::2], strict=True)
    )
    sectors = [
        parameters.ljust(510, b"\0") + b"\x55\xaa",
        table.ljust(6 * _SECTOR, b"\0"),
        _entry("EFI", 2),
        _entry(".", 2) + _entry("..", 0) + _entry("BOOT", 3),
        _entry(".", 3) + _entry("..", 2) + _entry("BOOTX64 EFI", 4, size),
        program,
    ]
    whole = b"".join(one.ljust(_SECTOR, b"\0") for one in sectors)
    return whole.ljust(1024 * 1024, b"\0")


def _entry(name: str, cluster: int, size: int = 0) -> bytes:
    """Return a directory's entry of a file, or of a directory where it has no size."""
    kind = 0x20 if size else 0x10
    return struct.pack("<11sB14xHI", name.ljust(11).encode(), kind, cluster, size)


def _executable(code: bytes) -> bytes:
    """Return an EFI application, PE32+ for x86-64, of one section that may lie anywhere."""
    head = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64)
    head += b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 240, 0x22)
    head += struct.pack("<HBBIIIII", 0x20B, 0, 0, _SECTOR, 0, 0, 0x1000, 0x1000)
    head += struct.pack("<QII16xIIIHH", 0, 0x1000, _SECTOR, 0x2000, _SECTOR, 0, 10, 0)
    head += struct.pack("<32xII128x", 0, 16)
    sizes = (_SECTOR, 0x1000, _SECTOR, _SECTOR)
    head += struct.pack("<8sIIII12xI", b".text", *sizes, 0x60000020)
    assert len(code) <= _SECTOR
    return head.ljust(_SECTOR, b"\0") + code.ljust(_SECTOR, b"\0")


def _program(*, power_off: bool) -> bytes:
    def lea(register: str, label: str) -> _Part:
        return bytes.fromhex(_LEA[register]), label

    call_speak: _Part = b"\xe8", "speak"
    leave = bytes.fromhex(
        "488b4358 b902000000 31d2 4531c0 4531c9 ff5068"  # services.ResetSystem(shutdown, 0, 0, 0)
    )
    return _assembled(
        [
            bytes.fromhex("4889d3 4883ec48"),  # mov rbx,rdx (the system table); sub rsp,72
            *(lea("rsi", "sentence"), call_speak),
            *(lea("rcx", "name"), lea("rdx", "vendor")),
            # services.GetVariable(name, vendor, 0, size = 1, data)
            bytes.fromhex("4531c0 4c8d4c2438 49c70101000000 488d442430 4889442420 488b4358 ff5048"),
            lea("rsi", "remembered"),
            bytes.fromhex("85c0"),  # test eax,eax
            (bytes.fromhex("0f84"), "told"),  # jz told
            # services.SetVariable(name, vendor, kept and for all, 1, vendor)
            *(lea("rcx", "name"), lea("rdx", "vendor")),
            *(bytes.fromhex("41b807000000 41b901000000"), lea("rax", "vendor")),
            bytes.fromhex("4889442420 488b4358 ff5058"),
            lea("rsi", "forgot"),
            *("told", call_speak),
            leave if power_off else b"",
            bytes.fromhex("f4 ebfd"),  # hlt; jmp to it
            # lodsb; test al,al; jz to ret; mov dx,3f8; out dx,al; jmp to lodsb; ret
            *("speak", bytes.fromhex("ac 84c0 7407 66baf803 ee ebf4 c3")),
            *("sentence", SENTENCE + b"\0", "forgot", FORGOT + b"\0"),
            *("remembered", REMEMBERED + b"\0", "vendor", _VENDOR),
            *("name", "Remembered\0".encode("utf-16-le")),
        ]
    )


def _assembled(parts: list[_Part]) -> bytes:
    places: dict[str, int] = {}
    place = 0
    for part in parts:
        if isinstance(part, str):
            places[part] = place
        else:
            place += len(part) if isinstance(part, bytes) else len(part[0]) + 4
    code = b""
    for part in parts:
        if isinstance(part, bytes):
            code += part
        elif isinstance(part, tuple):
            start, label = part
            end = len(code) + len(start) + 4
            code += start + (places[label] - end).to_bytes(4, "little", signed=True)
    return code
