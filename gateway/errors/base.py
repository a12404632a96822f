# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N818 - they are the last words of a class name that is a code
"""What the error classes of all families are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


class EC2Error(Exception):
    """The base: a code, an HTTP status and a sentence for the client; never a secret."""

    code: ClassVar[str] = "InternalError"
    status: ClassVar[int] = 400

    def __init_subclass__(cls) -> None:
        """Take the class name for the code where the code has no dot."""
        super().__init_subclass__()
        if "code" not in vars(cls):
            cls.code = cls.__name__

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Fixed(EC2Error):
    """An error with only one sentence."""

    sentence: ClassVar[str]

    def __init__(self) -> None:
        super().__init__(self.sentence)


class About(EC2Error):
    """An error whose sentence names one id, value or limit, in the place of ``{}``."""

    sentence: ClassVar[str]

    def __init__(self, subject: str | int) -> None:
        super().__init__(self.sentence.format(subject))


class Absent(EC2Error):
    """An error that names one or more ids in its sentence."""

    one: ClassVar[str]
    many: ClassVar[str]

    def __init__(self, ids: Sequence[str] | str) -> None:
        ids = [ids] if isinstance(ids, str) else ids
        super().__init__((self.one if len(ids) == 1 else self.many).format(", ".join(ids)))
