# SPDX-License-Identifier: Apache-2.0
"""EC2's operations and shapes, as botocore describes them; the only importer of botocore.

The model is read once, on first use (0.2 s, 35 MB): a server calls :func:`load` before it forks
so that its workers share it. Shapes are built when they are asked for and then kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, cast

from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import ListShape, OperationNotFoundError, ServiceModel, Shape, StructureShape

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["API_VERSION", "ListShape", "Operation", "Shape", "StructureShape", "load", "operation"]

API_VERSION = "2016-11-15"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of EC2.

    ``name`` is the Action on the wire (``RunInstances``), ``python_name`` the function that
    answers it (``run_instances``). ``output`` is None where EC2 answers only ``<return>``.
    ``token_members`` are the input members that SDKs fill with an idempotency token by
    themselves (``ClientToken``); most operations have none.
    """

    name: str
    python_name: str
    input: StructureShape
    output: StructureShape | None
    token_members: tuple[str, ...]


@cache
def load() -> ServiceModel:
    """Return botocore's model of EC2, without any model file of the user's or environment's."""
    # Only what botocore itself ships: ~/.aws/models and AWS_DATA_PATH must not change our wire.
    loader = Loader(
        extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False
    )
    return ServiceModel(loader.load_service_model("ec2", "service-2", API_VERSION), "ec2")


def operation_names() -> Sequence[str]:
    """Return the names of all operations that EC2 has, about 830."""
    return load().operation_names


@cache
def _known_operation(name: str) -> Operation:
    model = load().operation_model(name)
    return Operation(
        name=name,
        python_name=xform_name(name),
        input=cast("StructureShape", model.input_shape),  # each has one; a test watches it
        output=model.output_shape,
        token_members=tuple(model.idempotent_members),
    )


def operation(name: str) -> Operation | None:
    """Return the operation of that exact name, or None: ``name`` may come from the wire."""
    try:
        return _known_operation(name)
    except OperationNotFoundError:
        return None
