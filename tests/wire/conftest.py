# SPDX-License-Identifier: Apache-2.0
"""Random values for any shape of the model, from a seed."""

from __future__ import annotations

import random
import string
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from gateway.wire.model import ListShape, Shape, StructureShape

if TYPE_CHECKING:
    from collections.abc import Callable

# Everything that has tripped a form or an XML document, and planes of Unicode beyond the first.
ALPHABET = string.ascii_letters + string.digits + " \t\n\r&<>\"'+%=;.,/\\~*[]{}éß€漢😀\u2028\u00a0"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RandomValues:
    """Makes values that a shape allows; every container has something in it."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - values to test with

    def make(self, shape: Shape, depth: int = 0) -> Any:
        if isinstance(shape, StructureShape):
            return self._structure(shape, depth)
        if isinstance(shape, ListShape):
            size = 1 if depth > 4 else self._random.randint(1, 12)
            return [self.make(shape.member, depth + 1) for _ in range(size)]
        make: dict[str, Callable[[], Any]] = {
            "string": self._text,
            "integer": lambda: self._random.randint(-(2**31), 2**31 - 1),
            "long": lambda: self._random.randint(-(2**63), 2**63 - 1),
            "float": lambda: self._random.uniform(-1e9, 1e9),
            "double": lambda: self._random.uniform(-1e9, 1e9),
            "boolean": lambda: self._random.random() < 0.5,
            "timestamp": lambda: EPOCH + timedelta(milliseconds=self._random.randrange(4 * 10**12)),
            "blob": lambda: self._random.randbytes(self._random.randrange(60)),
        }
        return make[shape.type_name]()

    def _structure(self, shape: StructureShape, depth: int) -> dict[str, Any]:
        names = list(shape.members)
        wanted = max(1, int(len(names) * (0.6 if depth < 3 else 0.1)))
        chosen = set(self._random.sample(names, min(wanted, len(names))))
        chosen.update(shape.required_members)
        # In another order than the model's, which neither direction may depend on.
        order = self._random.sample(sorted(chosen), len(chosen))
        return {name: self.make(shape.members[name], depth + 1) for name in order}

    def _text(self) -> str:
        return "".join(self._random.choices(ALPHABET, k=self._random.randrange(12)))


@pytest.fixture(params=range(3))
def values(request: pytest.FixtureRequest) -> RandomValues:
    return RandomValues(request.param)
