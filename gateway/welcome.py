# SPDX-License-Identifier: Apache-2.0
"""What makes a new gateway usable at once: an account with its keys, and a demo image.

All of it is made at the first start and found again at every later one.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gateway.cloud import accounts, keypairs
from gateway.cloud import images as image_rules
from gateway.embedded import cached
from gateway.embedded.guest import build as guest
from gateway.store import database, images, key_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

    from gateway.config import Settings
    from gateway.store.access_keys import AccessKey
    from gateway.store.images import Image

    Progress = Callable[[float, str], None]

DEMO = "demo"
IMPORT_LIMIT = 120.0


class WelcomeError(Exception):
    """The demo image could not be taken in; the text says why."""


class Welcome(NamedTuple):
    """What a user needs to begin. ``ssh_key`` is the private key's file of the key pair demo."""

    access_key: AccessKey
    image: Image
    ssh_key: Path


def demo_file(settings: Settings, progress: Progress) -> Path:
    """Return the demo image's file, built if there is none for this recipe."""
    target = settings.cache_dir / f"demo-{_recipe()}.qcow2"
    target.parent.mkdir(parents=True, exist_ok=True)
    with cached.used(target):
        if not (target.exists() and guest.kernel_of(target).exists()):
            guest.build(target, settings.cache_dir, progress)
    return target


def prepare(
    settings: Settings, engine: Engine, demo: Path, meanwhile: Callable[[], object]
) -> Welcome:
    """Make what is missing, wait until the demo image can be launched, write the ``env`` file.

    ``meanwhile`` is called now and then during the wait. Raises :class:`WelcomeError`.
    """
    now = datetime.now(UTC)
    ssh_key = settings.state_dir / "demo.pem"
    with database.writing(engine) as db:
        account = accounts.ensure_account(db, accounts.DEFAULT_ACCOUNT, now)
        access_key = _access_key(db, account.id, now)
        _demo_key_pair(db, account.id, ssh_key, now)
        image = _register(db, account.id, demo, now)
    limit = time.monotonic() + IMPORT_LIMIT
    while image.state == "pending" and time.monotonic() < limit:
        meanwhile()
        time.sleep(0.05)
        with database.reading(engine) as db:
            image = images.get(db, image.id) or image
    if image.state != "available":
        why = image.state_reason or "not taken in yet"
        raise WelcomeError(f"The demo image {image.id} is {image.state}: {why}.")
    made = Welcome(access_key, image, ssh_key)
    _write_secret(settings.state_dir / "env", _environment(settings, made))
    return made


def _access_key(db: Connection, account_id: str, now: datetime) -> AccessKey:
    keys = accounts.list_access_keys(db, account_id)
    valid = [key for key in keys if key.revoked_at is None]
    return valid[0] if valid else accounts.create_access_key(db, account_id, "first", now)


def _demo_key_pair(db: Connection, account_id: str, file: Path, now: datetime) -> None:
    # The private key is nowhere but in its file: with the file lost, the pair is useless.
    if file.exists() and key_pairs.get(db, account_id, DEMO) is not None:
        return
    keypairs.delete(db, account_id, name=DEMO)
    _, private_key = keypairs.create(db, account_id, DEMO, "ed25519", tagged={}, now=now)
    _write_secret(file, private_key)


def _register(db: Connection, account_id: str, file: Path, now: datetime) -> Image:
    name = f"condor-cloud-{file.stem}"
    image = images.get_by_name(db, account_id, name)
    if image is not None and image.state != "failed":
        return image
    if image is not None:
        image_rules.deregister(db, account_id, image.id)
    # Without symbolic links in its name: the importer opens exactly what is named.
    new = image_rules.NewImage(name, str(file.resolve()), "Condor Cloud's demo guest", public=True)
    return image_rules.register(db, account_id, new, tagged={}, now=now, sources=None)


def _recipe() -> str:
    digest = hashlib.sha256()
    folder = Path(guest.__file__).parent
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _environment(settings: Settings, made: Welcome) -> str:
    values = {
        "AWS_ENDPOINT_URL": settings.endpoint,
        "AWS_ACCESS_KEY_ID": made.access_key.id,
        "AWS_SECRET_ACCESS_KEY": made.access_key.secret,
        # The CLI and boto3 read the one, the other SDKs the other.
        "AWS_DEFAULT_REGION": settings.region,
        "AWS_REGION": settings.region,
        "DEMO_AMI": made.image.id,
    }
    if settings.deltacloud_port:
        values["DELTACLOUD_URL"] = settings.deltacloud
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())


def _write_secret(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.rename(path)
