# SPDX-License-Identifier: Apache-2.0
"""A guest of one boot sector: says a sentence on the serial port, then does one thing."""

from __future__ import annotations

SENTENCE = b"hello from the boot sector\r\n"
_LOAD = 0x7C00
_SPEAK = bytes.fromhex(
    "31c0 8ed8"  # xor ax,ax; mov ds,ax
    "be0000"  # mov si,sentence (patched)
    "ac 84c0 7406"  # next: lodsb; test al,al; jz done
    "baf803 ee"  # mov dx,0x3f8; out dx,al
    "ebf5"  # jmp next
)
_WAIT = bytes.fromhex("f4 ebfd")  # hlt; jmp to it
_POWER_OFF = bytes.fromhex("ba0406 b80020 ef")  # mov dx,PM1a control; mov ax,sleep S5; out dx,ax
_FILL = bytes.fromhex(
    "b80043 b280 be807d cd13"  # again: mov ax,4300; mov dl,80; mov si,packet; int 13
    "66 8106 887d 80000000"  # add dword [packet + 8],128: the next cluster of the overlay
    "ebeb"  # jmp again
)
_PACKET_PLACE = 0x180
_PACKET = bytes.fromhex("1000 4000 0000 0010 0008000000000000")  # 64 sectors from 1000:0 to 2048


def disk(*, power_off: bool = False, fill: bool = False) -> bytes:
    """Return a raw disk image of 1 MiB; one that fills writes behind it, for ever."""
    code = _SPEAK + (_POWER_OFF if power_off else b"") + (_FILL if fill else b"") + _WAIT
    code = code[:5] + (_LOAD + len(code)).to_bytes(2, "little") + code[7:]
    sector = (code + SENTENCE + b"\0").ljust(_PACKET_PLACE, b"\0") + _PACKET
    sector = sector.ljust(510, b"\0") + b"\x55\xaa"
    return sector.ljust(1024 * 1024, b"\0")
