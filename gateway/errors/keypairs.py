# SPDX-License-Identifier: Apache-2.0
"""Key pairs."""

from __future__ import annotations

from gateway.errors import base


class InvalidKeyPairNotFound(base.About):
    """Raised when the account has no key pair of that name or id."""

    code = "InvalidKeyPair.NotFound"
    sentence = "The key pair '{}' does not exist"


class InvalidKeyPairDuplicate(base.About):
    """Raised when the account already has a key pair of that name."""

    code = "InvalidKeyPair.Duplicate"
    sentence = "The keypair '{}' already exists."


class KeyPairLimitExceeded(base.About):
    """Raised when the account's limit of key pairs is reached."""

    sentence = (
        "You have reached your quota of {} for the number of key pairs allowed in this Region."
    )


class InvalidKeyFormat(base.Fixed):
    """Raised by ImportKeyPair for anything but a public key in a form that EC2 takes."""

    code = "InvalidKey.Format"
    sentence = "Key is not in valid OpenSSH public key format"
