# SPDX-License-Identifier: Apache-2.0
"""Accounts and the access keys that their clients sign with."""

from __future__ import annotations

import secrets
import string
from typing import TYPE_CHECKING

from gateway.cloud.errors import Invalid, NotFound, Taken
from gateway.store import access_keys, accounts
from gateway.store.access_keys import AccessKey
from gateway.store.accounts import Account

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

DEFAULT_ACCOUNT = "default"
MAX_NAME = 255

_KEY_ID_LETTERS = string.ascii_uppercase + "234567"
_SECRET_LETTERS = string.ascii_letters + string.digits + "+/"


def ensure_account(db: Connection, name: str, now: datetime) -> Account:
    """Return the account of that name, made if there is none."""
    found = accounts.get_by_name(db, name)
    if found is not None:
        return found
    return create_account(db, name, now)


def create_account(db: Connection, name: str, now: datetime) -> Account:
    """Make an account; raise :class:`Taken`, or :class:`Invalid` for what cannot be a name."""
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
        raise Invalid("account name", name, f"Account names have 1 to {MAX_NAME} characters.")
    existing = accounts.get_by_name(db, name)
    if existing is not None:
        raise Taken("account", name, existing.id)
    account = Account(f"{secrets.randbelow(10**12):012}", name, now)
    accounts.insert(db, account)
    return account


def create_access_key(
    db: Connection, account_id: str, description: str, now: datetime
) -> AccessKey:
    """Make an access key; raise :class:`NotFound` for an unknown account.

    Its secret stays readable in the database because verifying a signature needs it.
    """
    if accounts.get(db, account_id) is None:
        raise NotFound("account", account_id)
    key = AccessKey(
        id="AKIA" + "".join(secrets.choice(_KEY_ID_LETTERS) for _ in range(16)),
        secret="".join(secrets.choice(_SECRET_LETTERS) for _ in range(40)),
        account_id=account_id,
        description=description,
        created_at=now,
        revoked_at=None,
    )
    access_keys.insert(db, key)
    return key


def list_access_keys(db: Connection, account_id: str) -> list[AccessKey]:
    """Return an account's access keys, oldest first, revoked ones too."""
    return access_keys.select(db, account_id)


def revoke_access_key(db: Connection, key_id: str, now: datetime) -> AccessKey:
    """Accept the key no longer; return it as it was. Revoking it again changes nothing."""
    key = access_keys.get(db, key_id)
    if key is None:
        raise NotFound("access key", key_id)
    if key.revoked_at is None:
        access_keys.update_revoked(db, key_id, now)
    return key


def find_valid_key(db: Connection, key_id: str) -> AccessKey | None:
    """Return the access key if it exists and is not revoked."""
    key = access_keys.get(db, key_id)
    return None if key is None or key.revoked_at is not None else key
