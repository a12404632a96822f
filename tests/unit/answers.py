# SPDX-License-Identifier: Apache-2.0
"""What tests look for in a client's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest
    from botocore.exceptions import ClientError


def code(caught: pytest.ExceptionInfo[ClientError]) -> str:
    return str(caught.value.response["Error"]["Code"])


def instance_ids(answer: Any) -> list[str]:
    return [
        instance["InstanceId"]
        for reservation in answer["Reservations"]
        for instance in reservation["Instances"]
    ]
