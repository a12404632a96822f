# SPDX-License-Identifier: Apache-2.0
"""What a node sends as the picture of a display, made a JPEG; the only user of Pillow.

A node is not believed: only two formats are tried, and a size is looked at before any of the
picture is unpacked.
"""

from __future__ import annotations

import io

from PIL import Image

FORMATS = ("PNG", "PPM")
"""What QEMU writes."""

LARGEST = 4096 * 2304
"""Pixels; more than any display here can have."""

QUALITY = 85


class PictureError(ValueError):
    """It is no picture that is taken here; the text is one sentence."""


def to_jpeg(data: bytes) -> bytes:
    """Return a picture as a JPEG of the same width and height."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            fits = width * height <= LARGEST
            flat = picture.convert("RGB") if fits else None
    # Whatever Pillow raises for a broken picture, and it is much, the sender is to blame.
    except Exception as error:
        raise PictureError(f"The data is no picture: {type(error).__name__}.") from error
    if flat is None:
        raise PictureError(f"A picture of {width} by {height} pixels is too large.")
    made = io.BytesIO()
    flat.save(made, "JPEG", quality=QUALITY)
    return made.getvalue()
