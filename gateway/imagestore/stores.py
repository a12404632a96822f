# SPDX-License-Identifier: Apache-2.0
"""The image store that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.imagestore.store import DirectoryStore, StoreError

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.imagestore.store import ImageStore


def directory(settings: Settings) -> Path:
    """Return where on this machine files come in: the store itself, or on their way to it."""
    parts = urlsplit(settings.image_store)
    if settings.image_store and parts.scheme in ("", "file") and not parts.netloc:
        return Path(parts.path)
    return settings.image_dir


def of(settings: Settings) -> ImageStore:
    """Return the store; raise :class:`StoreError` where the settings name none that there is."""
    url = settings.image_store
    if not url:
        return DirectoryStore(settings.image_dir)
    parts = urlsplit(url)
    if parts.scheme in ("", "file") and not parts.netloc and parts.path.startswith("/"):
        return DirectoryStore(Path(parts.path))
    # Imported here: a directory needs none of it.
    from gateway.imagestore import objects  # noqa: PLC0415

    if parts.scheme not in objects.SCHEMES or not parts.netloc:
        raise StoreError(
            f"The setting image_store is {url}: neither a directory nor a URL that begins with"
            " s3://, https:// or http://."
        )
    return objects.ObjectStore(url, settings.image_store_options, settings.image_dir)
