# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N818 - a refusal is named by what is the matter
"""Why something was refused. A front end translates these once, into its protocol's errors.

Refused
├─ NotFound        the account has nothing of that kind under these ids
├─ Malformed       a text that cannot be an id of that kind
├─ Invalid         a value outside its rule
├─ Taken           a name that is in use
├─ NotReady        it exists and cannot be used in its state
├─ WrongState      it exists and its state does not allow what is asked
├─ NotStopped      what is asked is possible only while it is stopped
├─ NotRunning      what is asked is possible while it runs or while a node has its disk
├─ InUse           something else needs it
├─ Protected       its owner has forbidden what is asked
├─ NotOwner        it may be used, and is another account's
├─ LimitReached    the account may not have more
└─ TokenReused     a client token came again with another request

``kind`` is one of: account, access key, flavor, node, zone, the kinds of ``gateway.cloud.ids``, and
resource for an id of whatever kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Refused(Exception):
    """The base of all refusals; its text is a sentence."""


class NotFound(Refused):
    """The account has nothing of that kind under these ids; another account may."""

    def __init__(self, kind: str, *ids: str) -> None:
        super().__init__(f"There is no {kind} {', '.join(ids)}.")
        self.kind = kind
        self.ids = ids


class Malformed(Refused):
    """A text that cannot be an id of that kind."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{text!r} is not the id of an {kind}.")
        self.kind = kind
        self.text = text


class Invalid(Refused):
    """A value outside its rule; ``what`` says of what, ``sentence`` says the rule.

    ``what`` is one of: account name, architecture, block device, block devices, boot mode, client
    token, count, deprecation, description, disk format, image location, image name, interruption
    behavior, key format, key name, key type, launch permission userId, launch permission group,
    metadata option, platform, public key, quota, root device, shutdown behavior, spot instance,
    spot price, spot type, tag, tagged resource, user data, valid from, valid until.
    """

    def __init__(self, what: str, value: str, sentence: str) -> None:
        super().__init__(sentence)
        self.what = what
        self.value = value
        self.sentence = sentence


class Taken(Refused):
    """A name that is in use by ``holder`` (an id)."""

    def __init__(self, kind: str, name: str, holder: str) -> None:
        article = "an" if kind[0] in "aeiou" else "a"
        super().__init__(f"There is {article} {kind} named {name} already: {holder}.")
        self.kind = kind
        self.name = name
        self.holder = holder


class NotReady(Refused):
    """It exists and cannot be used in its state."""

    def __init__(self, kind: str, name: str, state: str) -> None:
        super().__init__(f"The {kind} {name} is {state}.")
        self.kind = kind
        self.name = name
        self.state = state


class WrongState(Refused):
    """Its state does not allow what is asked; ``done`` is a participle, such as "rebooted"."""

    def __init__(self, kind: str, name: str, done: str) -> None:
        super().__init__(f"The {kind} {name} is not in a state from which it can be {done}.")
        self.kind = kind
        self.name = name
        self.done = done


class NotStopped(Refused):
    """What is asked is possible only while it is stopped."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"The {kind} {name} is not stopped.")
        self.kind = kind
        self.name = name


class NotRunning(Refused):
    """What is asked is possible while it runs, and it is stopped and on no node."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"The {kind} {name} is stopped and no node has its disk; start it first.")
        self.kind = kind
        self.name = name


class InUse(Refused):
    """Something else, ``user`` (an id), needs it."""

    def __init__(self, kind: str, name: str, user: str) -> None:
        super().__init__(f"The {kind} {name} is needed by {user}.")
        self.kind = kind
        self.name = name
        self.user = user


class Protected(Refused):
    """Its owner has forbidden what is asked; ``done`` is a participle, such as "terminated"."""

    def __init__(self, kind: str, name: str, done: str) -> None:
        super().__init__(f"The {kind} {name} may not be {done}.")
        self.kind = kind
        self.name = name
        self.done = done


class NotOwner(Refused):
    """The account may use it and not change it, because it is another account's."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"The {kind} {name} is another account's.")
        self.kind = kind
        self.name = name


class LimitReached(Refused):
    """There may be ``limit`` of that kind; ``asked`` more than the ``used`` would exceed it."""

    def __init__(self, kind: str, asked: int, limit: int, used: int = 0) -> None:
        super().__init__(
            f"{asked} {kind}s more than the {used} that there are would exceed the limit of"
            f" {limit}."
        )
        self.kind = kind
        self.asked = asked
        self.limit = limit
        self.used = used


class TokenReused(Refused):
    """A client token came again with another request."""

    def __init__(self, token: str) -> None:
        super().__init__(f"The client token {token} belongs to another request.")


class TokenSpent(Refused):
    """A client token came again whose instances are all terminated."""

    def __init__(self, token: str) -> None:
        super().__init__(f"The instances of the client token {token} are terminated.")


def unknown(asked: Sequence[str], found: Sequence[str]) -> list[str]:
    """Return what was asked for and not found, each once and in the order of asking."""
    return [text for text in dict.fromkeys(asked) if text not in set(found)]
