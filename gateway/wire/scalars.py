# SPDX-License-Identifier: Apache-2.0
"""The leaves of a request: a parameter's text to the Python value of the shape's type.

A reader raises ValueError with a sentence for the client: what was expected, never the value.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# What XML 1.0 cannot carry, not even escaped (its production Char, negated).
NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)
_ISO8601 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:?[0-9]{2})?",
    re.ASCII,
)
_HTTP_DATE = re.compile(
    r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_string(text: str) -> str:
    """Return the text itself; what could not be sent back in XML is refused."""
    if NOT_XML.search(text):
        raise ValueError("It contains a character that XML does not allow.")
    return text


def read_integer(text: str) -> int:
    """Read a 32-bit integer in decimal digits."""
    return _bounded(text, 31)


def read_long(text: str) -> int:
    """Read a 64-bit integer in decimal digits."""
    return _bounded(text, 63)


def _bounded(text: str, bits: int) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError("An integer is expected.")
    number = int(text)
    if not -(1 << bits) <= number < 1 << bits:
        raise ValueError(f"An integer of {bits + 1} bits is expected.")
    return number


def read_float(text: str) -> float:
    """Read a finite decimal number, with or without an exponent."""
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(number):
        raise ValueError("A number is expected.")
    return number


def read_boolean(text: str) -> bool:
    """Read ``true`` or ``false`` in any case; Python clients send ``True``."""
    value = {"true": True, "false": False}.get(text.lower())
    if value is None:
        raise ValueError("Either true or false is expected.")
    return value


def read_timestamp(text: str) -> datetime:
    """Read ISO 8601, epoch seconds or an HTTP date; return an aware datetime in UTC.

    ISO 8601 without a zone is UTC, as in EC2. Fractions are kept to the microsecond.
    """
    try:
        if match := _ISO8601.fullmatch(text):
            return _iso8601(match)
        if _HTTP_DATE.fullmatch(text):
            return parsedate_to_datetime(text).astimezone(UTC)
        if _NUMBER.fullmatch(text):
            return _EPOCH + timedelta(seconds=float(text))
    except (ValueError, OverflowError):
        pass  # a 31st of February, a year beyond 9999: said below
    raise ValueError("A date and time in the form 2016-11-15T12:00:00.000Z is expected.")


def _iso8601(match: re.Match[str]) -> datetime:
    *fields, fraction, zone = match.groups()
    microsecond = int((fraction or ".0")[1:7].ljust(6, "0"))
    year, month, day, hour, minute, second = map(int, fields)
    moment = datetime(year, month, day, hour, minute, second, microsecond, tzinfo=UTC)
    if zone is None or zone in "Zz":
        return moment
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
    return moment - offset if zone[0] == "+" else moment + offset


def read_blob(text: str) -> bytes:
    """Decode base64 in the standard alphabet; line ends are ignored (VM::EC2 and fog send them).

    A blank is refused, not ignored: it is what an unescaped ``+`` becomes in a form.
    """
    try:
        return base64.b64decode(text.replace("\r", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("Base64 is expected.") from None


READERS: Mapping[str, Callable[[str], Any]] = {
    "string": read_string,
    "integer": read_integer,
    "long": read_long,
    "float": read_float,
    "double": read_float,
    "boolean": read_boolean,
    "timestamp": read_timestamp,
    "blob": read_blob,
}
